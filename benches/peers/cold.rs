//! Copies of cold memory: through the CPU engine, and by the bare loops on the same buffers.
//!
//! Source and destination are together at least four times as long as the last cache. Every block is copied once, both
//! sides in random order, so that nearly none is in a cache when its turn comes.

use std::{hint::black_box, iter};

use dmaring::Idle;
use dmaring_benches::{
    loops::Loop,
    pinning,
    record::{Chunks, Measuring, Unit},
    spin::block_on,
};

use crate::{
    Outcome, Setup,
    memory::{Blocks, Pair},
    short::Copies,
};

/// Sizes in bytes, and how many copies are in flight.
const WORKS: &[(u64, usize)] = &[(4 << 10, 32), (64 << 10, 8), (256 << 10, 8), (1 << 20, 8)];

pub(crate) fn measure(setup: &Setup) -> Outcome {
    let mut pair = Pair::new(setup.area)?;
    for &(size, depth) in WORKS {
        let blocks = Blocks::new(setup, size, setup.area);
        let work = format!("cold-{size}-{depth}");
        let mut sides: Vec<_> = iter::once(None).chain(Loop::available().map(Some)).collect();
        if !setup.round.is_multiple_of(2) {
            sides.reverse();
        }
        for side in sides {
            match side {
                None => through_engine(setup, &mut pair, &blocks, (&work, depth))?,
                Some(bare) => alone(setup, (bare, &work), &mut pair, &blocks)?,
            }
        }
    }
    Ok(())
}

fn through_engine(
    setup: &Setup,
    pair: &mut Pair,
    blocks: &Blocks,
    (work, depth): (&str, usize),
) -> Outcome {
    let runtime = setup.runtime(Idle::Spin)?;
    let (source, destination) = pair.regions(&runtime)?;
    let copies = Copies { blocks, source: &source, destination: &destination };
    // The poller is on its core when it has answered once.
    block_on(copies.copy(0))?;
    let measuring = Measuring::begin("dmaring", work)?;
    let chunks = copies.in_flight(blocks.count(), depth, |copy| block_on(copy))?;
    let record = measuring.end(Unit::BytesPerS, chunks.rates(blocks.size))?;
    drop((source, destination, runtime));
    Ok(record.print(pair.verify(blocks)?)?)
}

fn alone(setup: &Setup, (bare, work): (Loop, &str), pair: &mut Pair, blocks: &Blocks) -> Outcome {
    let (source, destination) = pair.slices()?;
    let size = blocks.size as usize;
    pinning::pin(setup.poller_core)?;
    let measuring = Measuring::begin(bare.name(), work)?;
    let mut chunks = Chunks::of(blocks.count());
    for number in 0..blocks.count() {
        let (from, to) = blocks.copy(number);
        bare.copy(&mut destination[to as usize..][..size], &source[from as usize..][..size]);
        chunks.ended(number + 1);
    }
    black_box(destination);
    let record = measuring.end(Unit::BytesPerS, chunks.rates(blocks.size))?;
    pinning::pin(setup.app_core)?;
    Ok(record.print(pair.verify(blocks)?)?)
}
