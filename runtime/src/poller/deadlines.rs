//! The deadlines of the operations the poller has: a binary heap that knows where each stands.
//!
//! An operation that ends leaves at once, wherever in the heap it stands, so the heap holds no more than there are
//! operations and never allocates after it was made. `place[op]` is where the operation stands in `heap`, or
//! [`NOWHERE`]; every move of an entry writes both.

const NOWHERE: u32 = u32::MAX;

#[derive(Debug)]
pub(super) struct Deadlines {
    /// Deadline and operation; each is no earlier than its parent, at half its place.
    heap: Vec<(u64, u32)>,
    place: Vec<u32>,
}

impl Deadlines {
    /// For operations with indices below `operations`, and above where captives have made the table of operations grow.
    pub(super) fn new(operations: usize) -> Self {
        Self { heap: Vec::with_capacity(operations), place: vec![NOWHERE; operations] }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }

    /// Enters an operation that is not in.
    pub(super) fn enter(&mut self, op: usize, deadline: u64) {
        if op >= self.place.len() {
            self.place.resize(op + 1, NOWHERE);
        }
        let Some(NOWHERE) = self.place.get(op).copied() else { return };
        let Ok(op) = u32::try_from(op) else { return };
        self.heap.push((deadline, op));
        self.sift_up(self.heap.len() - 1);
    }

    /// Takes an operation out, if it is in.
    pub(super) fn leave(&mut self, op: usize) {
        let Some(place) = self.place.get_mut(op) else { return };
        let at = std::mem::replace(place, NOWHERE) as usize;
        if at >= self.heap.len() {
            return;
        }
        self.heap.swap_remove(at);
        if at < self.heap.len() {
            let at = self.sift_up(at);
            self.sift_down(at);
        }
    }

    /// Takes out the operation with the earliest deadline, if that is not after `now`.
    pub(super) fn next_expired(&mut self, now: u64) -> Option<usize> {
        let &(deadline, op) = self.heap.first()?;
        if deadline > now {
            return None;
        }
        self.leave(op as usize);
        Some(op as usize)
    }

    /// Moves the entry at `at` towards the front, and says where it stands now.
    fn sift_up(&mut self, mut at: usize) -> usize {
        while at > 0 {
            let parent = (at - 1) / 2;
            if self.deadline(parent) <= self.deadline(at) {
                break;
            }
            self.swap(parent, at);
            at = parent;
        }
        self.note(at);
        at
    }

    fn sift_down(&mut self, mut at: usize) {
        loop {
            let (left, right) = (2 * at + 1, 2 * at + 2);
            let child = if self.deadline(right) < self.deadline(left) { right } else { left };
            if self.deadline(child) >= self.deadline(at) {
                break;
            }
            self.swap(child, at);
            at = child;
        }
        self.note(at);
    }

    /// The deadline of an entry; none is the latest of all.
    fn deadline(&self, at: usize) -> u64 {
        self.heap.get(at).map_or(u64::MAX, |&(deadline, _)| deadline)
    }

    fn swap(&mut self, a: usize, b: usize) {
        self.heap.swap(a, b);
        self.note(a);
        self.note(b);
    }

    fn note(&mut self, at: usize) {
        if let Some(&(_, op)) = self.heap.get(at)
            && let (Some(place), Ok(at)) = (self.place.get_mut(op as usize), u32::try_from(at))
        {
            *place = at;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_expire_in_order_and_not_before_their_time() {
        let mut deadlines = Deadlines::new(8);
        for (op, deadline) in [(0, 50), (1, 10), (2, 30), (3, 10), (7, 20)] {
            deadlines.enter(op, deadline);
        }
        assert_eq!(deadlines.next_expired(9), None);
        let mut first = [deadlines.next_expired(10), deadlines.next_expired(10)];
        first.sort();
        assert_eq!(first, [Some(1), Some(3)]);
        assert_eq!(deadlines.next_expired(19), None);
        deadlines.leave(2);
        assert_eq!(deadlines.next_expired(49), Some(7));
        assert_eq!(deadlines.next_expired(49), None, "2 has left");
        assert_eq!(deadlines.next_expired(u64::MAX), Some(0));
        assert!(deadlines.is_empty());
    }

    #[test]
    fn it_is_a_sorted_list_whatever_enters_and_leaves() {
        let mut deadlines = Deadlines::new(64);
        let mut model: Vec<(u64, usize)> = Vec::new();
        let mut random = 1u64;
        let mut next = |below: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (random >> 33) % below
        };
        for _ in 0..if cfg!(miri) { 150 } else { 4000 } {
            let op = next(64) as usize;
            if next(3) == 0 {
                deadlines.leave(op);
                model.retain(|&(_, known)| known != op);
            } else if model.iter().all(|&(_, known)| known != op) {
                let deadline = next(1000);
                deadlines.enter(op, deadline);
                model.push((deadline, op));
            }
            if next(8) == 0 {
                let earliest = model.iter().map(|&(deadline, _)| deadline).min();
                let now = next(1000);
                match deadlines.next_expired(now) {
                    Some(expired) => {
                        let place = model.iter().position(|&(_, op)| op == expired).unwrap();
                        assert_eq!(Some(model.remove(place).0), earliest);
                    }
                    None => assert!(earliest.is_none_or(|earliest| earliest > now)),
                }
            }
        }
        assert!(deadlines.heap.capacity() >= 64);
        while deadlines.next_expired(u64::MAX).is_some() {}
        assert!(deadlines.place.iter().all(|&place| place == NOWHERE));
    }
}
