//! Which block comes next.

/// Names blocks out of `count` for ever, in an order that no prefetcher follows: each once, then again in the same order.
///
/// Knuth's generator modulo a power of two, which goes through all numbers below it; those from `count` on are left out.
#[derive(Clone, Copy, Debug)]
pub struct Shuffled {
    count: u64,
    mask: u64,
    step: u64,
    last: u64,
}

impl Shuffled {
    /// Blocks from 0 to `count` - 1; of none, block 0. Another `seed` gives another order.
    #[must_use]
    pub fn new(count: u64, seed: u64) -> Self {
        let count = count.max(1);
        // Every odd step reaches all numbers.
        Self { count, mask: count.next_power_of_two() - 1, step: INCREMENT + 2 * seed, last: seed }
    }
}

impl Iterator for Shuffled {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        loop {
            self.last = self.last.wrapping_mul(MULTIPLIER).wrapping_add(self.step) & self.mask;
            if self.last < self.count {
                return Some(self.last);
            }
        }
    }
}

/// Every block from 0 to `count` - 1 once, in an order that follows from `seed`: Fisher and Yates' shuffle.
///
/// The program beside `xtask/src/peers/mod.rs` makes the same order of the same seed.
#[must_use]
pub fn permutation(count: u32, seed: u64) -> Vec<u32> {
    let mut order: Vec<u32> = (0..count).collect();
    let mut random = Random(seed);
    for index in (1..order.len()).rev() {
        let other = random.below(index as u64 + 1);
        order.swap(index, other as usize);
    }
    order
}

const MULTIPLIER: u64 = 6_364_136_223_846_793_005;
const INCREMENT: u64 = 1_442_695_040_888_963_407;

/// Knuth's 64-bit linear congruential generator (MMIX); its high bits are the random ones.
#[derive(Clone, Copy, Debug)]
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(MULTIPLIER).wrapping_add(INCREMENT);
        (self.0 >> 33) % end
    }
}

#[cfg(test)]
mod tests {
    use super::{Shuffled, permutation};

    #[test]
    fn every_block_comes_up_once_before_any_does_again() {
        for count in [1, 2, 18, 64, 1000] {
            let first: Vec<_> = Shuffled::new(count, 1).take(count as usize).collect();
            let again = Shuffled::new(count, 1).skip(count as usize).take(count as usize);
            assert!(again.eq(first.iter().copied()));
            let other: Vec<_> = Shuffled::new(count, 2).take(count as usize).collect();
            assert!(count < 18 || first != other && !first.is_sorted());
            let mut sorted = first;
            sorted.sort_unstable();
            assert!(sorted.into_iter().eq(0..count));
        }
    }

    #[test]
    fn a_permutation_has_every_block_once_and_follows_from_its_seed() {
        let mut order = permutation(1000, 7);
        assert_eq!(order, permutation(1000, 7));
        assert_ne!(order, permutation(1000, 8));
        assert!(!order.is_sorted());
        order.sort_unstable();
        assert!(order.into_iter().eq(0..1000));
        assert!(permutation(0, 1).is_empty());
        // As the other program has it.
        assert_eq!(permutation(8, 7), [7, 0, 2, 1, 5, 3, 4, 6]);
    }
}
