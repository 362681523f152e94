//! What the engine is compared with: plain copies between two buffers of ordinary memory.

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use super::{pattern, plan::Plan};
use crate::failure::Failure;

/// The longest buffer, in bytes: larger copies go round it.
const LONGEST: u64 = 256 << 20;

/// How long each of the two buffers is for a copy of `size` bytes.
pub(crate) fn buffer_length(size: u64) -> u64 {
    size.min(LONGEST)
}

/// The two buffers.
#[derive(Debug)]
pub(crate) struct Buffers {
    source: Vec<u8>,
    destination: Vec<u8>,
}

impl Buffers {
    /// Allocates them, of [`buffer_length`] bytes each.
    pub(crate) fn new(size: u64) -> Result<Self, Failure> {
        let length = usize::try_from(buffer_length(size)).unwrap_or(usize::MAX);
        let allocate = || {
            let mut buffer = Vec::new();
            buffer.try_reserve_exact(length).map_err(|error| {
                Failure::Refused(format!("cannot allocate {length} bytes for memcpy: {error}"))
            })?;
            buffer.resize(length, 0);
            Ok(buffer)
        };
        Ok(Self { source: allocate()?, destination: allocate()? })
    }

    /// Copies as many bytes as the plan does, in the same blocks, and returns the time it took. Both buffers are
    /// written to before that, as the regions were.
    pub(crate) fn copy(&mut self, plan: &Plan) -> Duration {
        let Self { source, destination } = self;
        pattern::overwrite_plain(destination);
        pattern::write_plain(source);
        let begin = Instant::now();
        let (mut left, mut at) = (plan.size, 0);
        while left > 0 {
            let part = plan.block.min(left).min((source.len() - at) as u64);
            let end = at + usize::try_from(part).unwrap_or(usize::MAX);
            black_box(&mut destination[at..end]).copy_from_slice(black_box(&source[at..end]));
            left -= part;
            at = if end == source.len() { 0 } else { end };
        }
        begin.elapsed()
    }
}

#[cfg(test)]
mod tests {
    use super::{Buffers, LONGEST, buffer_length};
    use crate::copy::plan::{Change, Plan};

    #[test]
    fn every_byte_is_copied_whatever_the_blocks() {
        for (size, block) in [(1, 1), (10_001, 1000), (10_001, 10_001), (4096, 4095)] {
            let plan = Plan {
                source_offset: 0,
                destination_offset: 0,
                size,
                block,
                depth: 1,
                change: Change::None,
                durable: false,
            };
            let mut buffers = Buffers::new(size).unwrap();
            buffers.copy(&plan);
            assert_eq!(buffers.destination.len() as u64, size);
            assert!(buffers.destination == buffers.source);
        }
        assert_eq!(buffer_length(LONGEST + 1), LONGEST);
    }
}
