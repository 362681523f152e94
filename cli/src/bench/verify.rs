//! Whether a destination holds what was copied to it, and nothing else.
//!
//! Before a point every byte of a destination is [`UNTOUCHED`], which no source has. After it each block is either equal
//! to its source or untouched, as a whole, and as many are equal as were copied to: each block that a thread visits is
//! one of its own. What was copied to is then made untouched again.

use dmaring::Region;
use thiserror::Error;

use super::areas::{Blocks, UNTOUCHED, fill};

/// How much is read at a time, in bytes.
const CHUNK: u64 = 1 << 20;

/// What a destination holds that it should not.
#[derive(Debug, Error)]
pub(super) enum Mismatch {
    #[error("the destination differs from the source in the {size} bytes at offset {offset}")]
    Different { offset: u64, size: u64 },
    #[error("{expected} blocks were copied by thread {thread}, and {found} are in its destination")]
    Count { thread: usize, expected: u64, found: u64 },
    #[error("the destination cannot be read back: {0}")]
    Unreadable(#[from] dmaring::Error),
}

/// A destination as the check needs it.
pub(super) trait Destination {
    /// Copies out what is at `offset`.
    fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<(), dmaring::Error>;
    /// Copies in what is to be at `offset`.
    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), dmaring::Error>;
}

impl Destination for &Region {
    fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<(), dmaring::Error> {
        self.read_at(offset, buffer)
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), dmaring::Error> {
        self.write_at(offset, bytes)
    }
}

impl Destination for &mut [u8] {
    fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<(), dmaring::Error> {
        let offset = offset as usize;
        buffer.copy_from_slice(&self[offset..offset + buffer.len()]);
        Ok(())
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), dmaring::Error> {
        let offset = offset as usize;
        self[offset..offset + bytes.len()].copy_from_slice(bytes);
        Ok(())
    }
}

/// Checks the destination of a point in which each thread began so many `copies`.
///
/// No source is read: it would be in the caches of whoever copies from it next.
pub(super) fn check(
    mut destination: impl Destination,
    blocks: &Blocks,
    copies: &[u64],
) -> Result<(), Mismatch> {
    let untouched = vec![UNTOUCHED; CHUNK as usize];
    let mut buffer = vec![0; CHUNK as usize];
    let mut source = vec![0; CHUNK as usize];
    for (thread, copies) in copies.iter().enumerate() {
        let begin = thread as u64 * blocks.stride;
        let end = begin + blocks.count * blocks.size;
        let (mut at, mut found, mut is_copied) = (begin, 0, false);
        while at < end {
            let into_block = (at - begin) % blocks.size;
            // Whole blocks, or a piece of one.
            let piece = if blocks.size <= CHUNK {
                (CHUNK - CHUNK % blocks.size).min(end - at)
            } else {
                CHUNK.min(blocks.size - into_block)
            };
            let read = &mut buffer[..piece as usize];
            destination.read(at, read)?;
            let expected = &mut source[..piece as usize];
            fill(at, expected);
            let (mut offset, mut any) = (at, false);
            let step = blocks.size.min(piece) as usize;
            for (block, expected) in read.chunks(step).zip(expected.chunks(step)) {
                let equal = block == expected;
                let first = into_block == 0;
                let different = !equal && block != &untouched[..block.len()];
                if different || (!first && equal != is_copied) {
                    return Err(Mismatch::Different { offset, size: block.len() as u64 });
                }
                (is_copied, any) = (equal, any || equal);
                found += u64::from(first && equal);
                offset += block.len() as u64;
            }
            if any {
                destination.write(at, &untouched[..piece as usize])?;
            }
            at += piece;
        }
        let expected = blocks.count.min(*copies);
        if found != expected {
            return Err(Mismatch::Count { thread, expected, found });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{CHUNK, Mismatch, check};
    use crate::bench::areas::{Areas, Blocks, UNTOUCHED};

    /// Two threads with three blocks each and a little left, of which the first block of the first thread and the last
    /// two of the second were copied.
    fn copied(size: u64) -> (Areas, Blocks) {
        let blocks = Blocks { size, threads: 2, stride: 3 * size + 5, count: 3 };
        let mut areas = Areas::new(2 * blocks.stride).unwrap();
        for block in [0, blocks.stride + size, blocks.stride + 2 * size] {
            let range = block as usize..(block + size) as usize;
            let Areas { source, destination } = &mut areas;
            destination[range.clone()].copy_from_slice(&source[range]);
        }
        (areas, blocks)
    }

    fn outcome(areas: &mut Areas, blocks: &Blocks, copies: [u64; 2]) -> Result<(), Mismatch> {
        check(&mut areas.destination[..], blocks, &copies)
    }

    const SIZES: [u64; 5] = [1, 64, CHUNK - 1, CHUNK, 2 * CHUNK + 3];

    #[test]
    fn what_was_copied_is_found_and_made_untouched_again() {
        for size in SIZES {
            let (mut areas, blocks) = copied(size);
            outcome(&mut areas, &blocks, [1, 2]).unwrap();
            assert!(areas.destination.iter().all(|byte| *byte == UNTOUCHED));
            outcome(&mut areas, &blocks, [0, 0]).unwrap();
        }
    }

    #[test]
    fn more_copies_than_blocks_are_all_blocks() {
        let (mut areas, blocks) = copied(64);
        let Areas { source, destination } = &mut areas;
        destination.copy_from_slice(source);
        outcome(&mut areas, &blocks, [3, 1000]).unwrap();
    }

    #[test]
    fn a_block_that_is_missing_or_too_many_is_told() {
        for (copies, found) in [([2, 2], 1), ([1, 1], 2), ([0, 2], 1)] {
            let (mut areas, blocks) = copied(4096);
            let error = outcome(&mut areas, &blocks, copies).unwrap_err();
            assert!(
                matches!(error, Mismatch::Count { found: told, .. } if told == found),
                "{error}"
            );
        }
    }

    #[test]
    fn one_wrong_byte_is_told_wherever_it_is() {
        for size in SIZES {
            for at in [0, size - 1, size / 2, size, 3 * size + 5] {
                let (mut areas, blocks) = copied(size);
                areas.destination[at as usize] = UNTOUCHED ^ 1;
                let error = outcome(&mut areas, &blocks, [1, 2]).unwrap_err();
                let Mismatch::Different { offset, size } = error else { panic!("{error}") };
                assert!((offset..offset + size).contains(&at));
            }
        }
    }

    #[test]
    fn a_long_block_that_is_copied_in_part_is_told() {
        let size = 2 * CHUNK + 3;
        let (mut areas, blocks) = copied(size);
        areas.destination[CHUNK as usize..size as usize].fill(UNTOUCHED);
        let error = outcome(&mut areas, &blocks, [1, 2]).unwrap_err();
        assert!(matches!(error, Mismatch::Different { offset: CHUNK, .. }), "{error}");
    }
}
