//! Which block comes next.

/// Names blocks out of `count` for ever, in an order that no prefetcher follows.
#[derive(Clone, Copy, Debug)]
pub struct Shuffled {
    count: u64,
    random: Random,
}

impl Shuffled {
    /// Blocks from 0 to `count` - 1; of none, block 0.
    #[must_use]
    pub fn new(count: u64) -> Self {
        Self { count: count.max(1), random: Random(0) }
    }
}

impl Iterator for Shuffled {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        Some(self.random.below(self.count))
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

/// Knuth's 64-bit linear congruential generator (MMIX); its high bits are the random ones.
#[derive(Clone, Copy, Debug)]
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

#[cfg(test)]
mod tests {
    use super::{Shuffled, permutation};

    #[test]
    fn every_block_comes_up() {
        let mut seen = [false; 64];
        for block in Shuffled::new(64).take(64 * 20) {
            seen[usize::try_from(block).unwrap()] = true;
        }
        assert!(seen.iter().all(|&seen| seen));
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
