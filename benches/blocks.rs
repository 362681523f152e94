//! What the benchmarks share: which block comes next.

/// Names blocks out of `count` for ever, in an order that no prefetcher follows.
#[derive(Clone, Copy, Debug)]
pub struct Shuffled {
    count: u64,
    next: u64,
}

impl Shuffled {
    /// Blocks from 0 to `count` - 1; of none, block 0.
    #[must_use]
    pub fn new(count: u64) -> Self {
        Self { count: count.max(1), next: 0 }
    }
}

impl Iterator for Shuffled {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        // Knuth's 64-bit linear congruential generator (MMIX); its high bits are the random ones.
        self.next = self
            .next
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        Some((self.next >> 33) % self.count)
    }
}

#[cfg(test)]
mod tests {
    use super::Shuffled;

    #[test]
    fn every_block_comes_up() {
        let mut seen = [false; 64];
        for block in Shuffled::new(64).take(64 * 20) {
            seen[usize::try_from(block).unwrap()] = true;
        }
        assert!(seen.iter().all(|&seen| seen));
    }
}
