//! Which block comes next: every one of them once, in an order that no prefetcher follows, then all again.
//!
//! A number below a power of two is mixed by steps that can each be undone (an odd factor, a shift to the right by half
//! of its bits), so no two are mixed into one; what comes out beyond the count is mixed once more, until it is below.
//! Nothing is stored, so that the order itself is no memory traffic.

/// Odd factors with well-spread bits (the constants of splitmix64's finaliser).
const FACTORS: [u64; 2] = [0xbf58_476d_1ce4_e5b9, 0x94d0_49bb_1331_11eb];

/// An order of the blocks below a count.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shuffle {
    count: u64,
    mask: u64,
    shift: u32,
}

impl Shuffle {
    /// An order of `count` blocks; of none, as if there was one.
    pub(super) fn new(count: u64) -> Self {
        let count = count.max(1);
        // All ones up to the highest bit of the last block.
        let bits = u64::BITS - (count - 1).leading_zeros();
        let mask = u64::MAX.checked_shr(u64::BITS - bits).unwrap_or(0);
        Self { count, mask, shift: bits.div_ceil(2).max(1) }
    }

    /// The block of the `turn`th turn.
    pub(super) fn block(&self, turn: u64) -> u64 {
        let mut block = self.mix(turn % self.count);
        while block >= self.count {
            block = self.mix(block);
        }
        block
    }

    fn mix(&self, number: u64) -> u64 {
        FACTORS.iter().fold(number ^ (0x9e37_79b9 & self.mask), |number, factor| {
            let number = number.wrapping_mul(*factor) & self.mask;
            number ^ (number >> self.shift)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Shuffle;

    #[test]
    fn every_block_comes_once_in_a_round() {
        for count in (1..70).chain([255, 256, 257, 1000, 8191]) {
            let shuffle = Shuffle::new(count);
            let mut seen = vec![0; usize::try_from(count).unwrap()];
            for turn in 0..2 * count {
                seen[usize::try_from(shuffle.block(turn)).unwrap()] += 1;
            }
            assert!(seen.iter().all(|times| *times == 2), "{count}: {seen:?}");
        }
        assert_eq!(Shuffle::new(0).block(7), 0);
    }

    #[test]
    fn neighbours_seldom_follow_each_other() {
        let shuffle = Shuffle::new(100_000);
        let steps =
            (0..99_999).filter(|turn| shuffle.block(*turn).abs_diff(shuffle.block(turn + 1)) <= 16);
        // By chance, 32 in 100,000 steps.
        let count = steps.count();
        assert!(count < 200, "{count}");
    }
}
