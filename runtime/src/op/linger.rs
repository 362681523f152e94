//! Looking for a completion a moment longer before a future is left pending.
//!
//! A short copy by a poller that does not sleep ends within a microsecond. A future that is left pending for it costs much more: its
//! task is put to sleep, the poller has to call its waker, and where the executor has nothing else to do both enter the kernel,
//! for 5 to 50 µs. So the first poll of a short operation that is alone in flight looks for its end for a moment. With others
//! in flight it looks once: their ends come without waiting for them one by one, and one wake-up serves many.
//!
//! If the moment passes in vain, it is tried less and less often, until it succeeds again.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use crate::hint;

/// The longest operation that is lingered for, in bytes.
const LONGEST: u64 = 4096;
/// At most one in so many operations is lingered for while it is in vain.
const RAREST: u32 = 64;

/// How often it is looked before the first look at the clock. Most ends come by then, so these looks follow each other closely; between
/// later ones others may have the core's other thread.
const CLOSE_LOOKS: u64 = 32;
/// And between two looks at the clock, which take longer than a look.
const LOOKS_PER_TIME: u64 = 16;

/// How long unless the builder is told otherwise.
pub(crate) const DEFAULT: Duration = Duration::from_micros(1);

#[derive(Debug)]
pub(crate) struct Linger {
    limit: Duration,
    /// For how many operations it is not tried.
    skip: AtomicU32,
    /// For how many it will not be after the next vain attempt.
    next: AtomicU32,
}

impl Linger {
    /// For at most `limit`; zero: never.
    pub(crate) fn new(limit: Duration) -> Self {
        Self { limit, skip: AtomicU32::new(0), next: AtomicU32::new(1) }
    }

    /// Whether it is tried for an operation of so many bytes.
    #[inline]
    pub(crate) fn is_tried(&self, length: u64) -> bool {
        length <= LONGEST && !self.limit.is_zero() && self.skip.load(Ordering::Relaxed) == 0
    }

    /// What `look` finds within the moment, for an operation of so many bytes. Threads that do this at the same time may lose each
    /// other's notes: it is tried once too often or too seldom then. In place: what is found is not laid down in between.
    #[inline(always)]
    pub(crate) fn wait<T>(&self, length: u64, mut look: impl FnMut() -> Option<T>) -> Option<T> {
        if length > LONGEST || self.limit.is_zero() {
            return None;
        }
        let skip = self.skip.load(Ordering::Relaxed);
        if skip > 0 {
            self.skip.store(skip - 1, Ordering::Relaxed);
            return None;
        }
        let mut begin = None;
        for turn in 1_u64.. {
            if let Some(found) = look() {
                if self.next.load(Ordering::Relaxed) != 1 {
                    self.next.store(1, Ordering::Relaxed);
                }
                return Some(found);
            }
            if turn < CLOSE_LOOKS {
                hint::look_again();
                continue;
            }
            if turn.is_multiple_of(LOOKS_PER_TIME)
                && begin.get_or_insert_with(Instant::now).elapsed() >= self.limit
            {
                break;
            }
            std::hint::spin_loop();
        }
        let next = self.next.load(Ordering::Relaxed);
        self.skip.store(next, Ordering::Relaxed);
        self.next.store((2 * next).min(RAREST), Ordering::Relaxed);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(3600);

    #[test]
    fn it_looks_until_there_is_something() {
        let linger = Linger::new(LONG);
        let mut looks = 0;
        let found = linger.wait(64, || {
            looks += 1;
            (looks == 3).then_some("end")
        });
        assert_eq!((found, looks), (Some("end"), 3));
    }

    #[test]
    fn long_operations_and_a_limit_of_nothing_are_not_looked_for() {
        let never = || -> Option<()> { unreachable!("it is not looked for") };
        assert_eq!(Linger::new(LONG).wait(LONGEST + 1, never), None);
        assert_eq!(Linger::new(Duration::ZERO).wait(64, never), None);
    }

    #[test]
    fn in_vain_it_is_tried_less_and_less() {
        let linger = Linger::new(Duration::from_nanos(1));
        let tried = |answer: Option<()>| {
            let mut looks = 0;
            linger.wait(64, || {
                looks += 1;
                answer
            });
            looks > 0
        };
        let operations = if cfg!(miri) { 200 } else { 1000 };
        let tries: Vec<_> = (0..operations).filter(|_| tried(None)).collect();
        assert_eq!(tries[..6], [0, 2, 5, 10, 19, 36], "twice as far apart each time");
        assert!(tries.windows(2).all(|pair| pair[1] - pair[0] <= RAREST as usize + 1));
        while !tried(Some(())) {}
        assert!(tried(None), "a success is followed by a try");
        assert!(!tried(None));
        assert!(tried(None));
    }
}
