//! Copies of cold memory: through the CPU engine, and by the bare loops on the same buffers.
//!
//! Source and destination are together at least four times as long as the last cache. Every block is copied once before any is
//! again, both sides in random order, so that nearly none is in a cache when its turn comes.

use std::{error::Error, hint::black_box, iter};

use dmaring::Idle;
use dmaring_benches::{
    loops::Loop,
    pinning,
    record::{Chunks, Measuring, Record, Unit},
    spin::block_on,
};

use crate::{
    Outcome, Setup, limits,
    memory::{Blocks, Pair},
    short::Copies,
    together,
};

/// Sizes in bytes, and how many copies are in flight.
const WORKS: &[(u64, usize)] = &[(4 << 10, 32), (64 << 10, 8), (256 << 10, 8), (1 << 20, 8)];
/// Of copies of so many bytes and more the bounds are measured.
const BOUNDED: u64 = 64 << 10;
/// So many copies at least: where there are fewer blocks they are copied again, in the same order.
pub(crate) const COPIES: u64 = 512;

pub(crate) fn measure(setup: &Setup) -> Outcome {
    let mut pair = Pair::new(setup.area)?;
    for &(size, depth) in WORKS {
        let blocks = Blocks::new(setup, size, setup.area);
        let work = format!("cold-{size}-{depth}");
        let loops = Loop::available().map(Side::Loop);
        let bounds = (size >= BOUNDED).then_some(Side::Bounds);
        let mut sides: Vec<_> = iter::once(Side::Engine).chain(loops).chain(bounds).collect();
        if !setup.round.is_multiple_of(2) {
            sides.reverse();
        }
        for side in sides {
            match side {
                Side::Engine => through_engine(setup, &mut pair, &blocks, (&work, depth))?,
                Side::Loop(bare) => {
                    let names = (bare.name(), work.as_str());
                    let record = alone(setup, names, &mut pair, &blocks, |to, from, _| {
                        bare.copy(to, from);
                    })?;
                    record.print(pair.verify(&blocks)?)?;
                }
                Side::Bounds => limits::measure(setup, &mut pair, &blocks, &work)?,
            }
        }
    }
    Ok(())
}

/// Who copies.
#[derive(Clone, Copy, Debug)]
enum Side {
    Engine,
    Loop(Loop),
    /// Those that show what a copy could be at best.
    Bounds,
}

fn through_engine(
    setup: &Setup,
    pair: &mut Pair,
    blocks: &Blocks,
    (work, depth): (&str, usize),
) -> Outcome {
    // Which takes long, before the cores are brought together.
    pair.clear()?;
    let runtime = setup.runtime(Idle::Spin)?;
    let (source, destination) = pair.lent(&runtime)?;
    let copies = Copies { blocks, source: &source, destination: &destination };
    // The poller is on its core when it has answered once.
    block_on(copies.copy(0))?;
    let measuring = Measuring::begin("dmaring", work)?;
    let chunks = copies.in_flight(blocks.copies(COPIES), depth, |copy| block_on(copy))?;
    let record = measuring.end(Unit::BytesPerS, chunks.rates(blocks.size))?;
    drop((source, destination, runtime));
    Ok(record.print(pair.verify(blocks)?)?)
}

/// By one thread on the poller's core: `copy` has a block's destination and source, and the source of the block that comes next. It is
/// still to be verified.
pub(crate) fn alone<'a>(
    setup: &Setup,
    (side, work): (&'a str, &'a str),
    pair: &mut Pair,
    blocks: &Blocks,
    mut copy: impl FnMut(&mut [u8], &[u8], &[u8]),
) -> Result<Record<'a>, Box<dyn Error>> {
    let (source, destination) = pair.slices()?;
    let size = blocks.size as usize;
    let block = |at: u64| at as usize..at as usize + size;
    together::bring(setup.poller_core)?;
    pinning::pin(setup.poller_core)?;
    let measuring = Measuring::begin(side, work)?;
    let count = blocks.copies(COPIES);
    let mut chunks = Chunks::of(count);
    for number in 0..count {
        let ((from, to), (next, _)) = (blocks.copy(number), blocks.copy(number + 1));
        copy(&mut destination[block(to)], &source[block(from)], &source[block(next)]);
        chunks.ended(number + 1);
    }
    black_box(destination);
    let record = measuring.end(Unit::BytesPerS, chunks.rates(blocks.size))?;
    pinning::pin(setup.app_core)?;
    Ok(record)
}
