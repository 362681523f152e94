//! Whether a core is shared: how long a loop takes that does as much at a time as the core can.
//!
//! Two hyperthreads of a core take turns. What runs on the other one, in a virtual machine often somebody else's, is not to be seen
//! from here but by this: such a loop takes up to twice as long meanwhile. Code of many instructions does, too, and code that mostly
//! waits for lines of another core does not.

use std::{
    hint::black_box,
    sync::atomic::{AtomicU64, Ordering},
    time::Instant,
};

/// Some ten microseconds of them.
const TURNS: u32 = 10_000;

/// So many looks are taken together, of which the first half are to wake the core up: after a sleep the loop is slower for a while.
const LOOKS: usize = 400;

/// What was found last, of both cores.
static FOUND: [AtomicU64; 2] = [const { AtomicU64::new(0) }; 2];

/// How long the loop takes now on this thread's core, in nanoseconds.
fn look() -> u64 {
    let begin = Instant::now();
    // No word waits for another. The distances differ: the instructions that this is built with move no two words by two of them.
    let [mut a, mut b, mut c, mut d, mut e, mut f] = black_box([1_u64, 2, 3, 4, 5, 6]);
    for _ in 0..TURNS {
        a = a.rotate_left(1) ^ 0x55;
        b = b.rotate_left(3) ^ 0x56;
        c = c.rotate_left(5) ^ 0x57;
        d = d.rotate_left(7) ^ 0x58;
        e = e.rotate_left(9) ^ 0x59;
        f = f.rotate_left(11) ^ 0x5a;
    }
    black_box([a, b, c, d, e, f]);
    begin.elapsed().as_nanos() as u64
}

/// The median of looks of some milliseconds.
#[must_use]
pub fn look_long() -> u64 {
    let mut awake: Vec<_> = (0..LOOKS).map(|_| look()).skip(LOOKS / 2).collect();
    awake.sort_unstable();
    awake[awake.len() / 2]
}

/// Notes what was found of the two cores of the works that follow.
pub fn note(found: [u64; 2]) {
    for (place, found) in FOUND.iter().zip(found) {
        place.store(found, Ordering::Relaxed);
    }
}

/// What was found last; zeroes where nobody has looked.
#[must_use]
pub fn found() -> [u64; 2] {
    FOUND.each_ref().map(|place| place.load(Ordering::Relaxed))
}

#[cfg(test)]
mod tests {
    use super::{TURNS, look};

    /// No processor does twelve instructions in a tenth of a nanosecond: who finds the loop gone measures nothing.
    #[test]
    fn the_loop_is_there() {
        assert!((0..100).all(|_| look() > u64::from(TURNS / 10)));
    }
}
