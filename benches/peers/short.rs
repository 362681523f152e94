//! Copies of 64 bytes within the caches: one after the other, and 32 in flight.

use dmaring::{Batch, Copy, Error, Idle, Region, Runtime};
use dmaring_benches::{
    nops::Nops,
    record::{Chunks, Latencies, Measuring, Unit},
    spin::{block_on, windowed},
};

use crate::{
    Outcome, Setup, executors, floor,
    memory::{Blocks, Pair},
};

/// How many blocks there are, of 64 bytes.
pub(crate) const BLOCKS: usize = 1024;
/// How many copies are timed one by one.
pub(crate) const LATENCIES: u64 = 200_000;
/// The same where each takes microseconds.
pub(crate) const SLOW_LATENCIES: u64 = 20_000;
/// How many copies a rate is taken of.
pub(crate) const COPIES: u64 = 2_000_000;
/// How many are in flight then.
pub(crate) const DEPTH: usize = 32;
/// How many operations one batch has: two are in flight.
pub(crate) const BATCH: usize = DEPTH / 2;

pub(crate) fn measure(setup: &Setup) -> Outcome {
    let mut pair = Pair::new(BLOCKS * 64)?;
    let blocks = Blocks::new(setup, 64, BLOCKS * 64);
    latency(&setup.runtime(Idle::Spin)?, &mut pair, &blocks)?;
    under_tokio(&setup.runtime(Idle::Spin)?, &mut pair, &blocks)?;
    futures_in_flight(&setup.runtime(Idle::Spin)?, &mut pair, &blocks)?;
    for (work, batch) in [("copy64-32-batch", BATCH), ("copy64-32-batch-of-32", DEPTH)] {
        batches(&setup.runtime(Idle::Spin)?, &mut pair, &blocks, (work, batch))?;
    }
    executors::measure(setup)?;
    floor::measure(setup, &mut pair, &blocks)?;
    nops()
}

/// One awaited after the other by an executor that spins.
fn latency(runtime: &Runtime, pair: &mut Pair, blocks: &Blocks) -> Outcome {
    let (source, destination) = pair.regions(runtime)?;
    let copies = Copies { blocks, source: &source, destination: &destination };
    let mut latencies = Latencies::new();
    let mut measure = |count| -> Result<(), Error> {
        latencies.reset();
        for number in 0..count {
            block_on(copies.copy(number))?;
            latencies.tick();
        }
        Ok(())
    };
    measure(LATENCIES / 10)?;
    let measuring = Measuring::begin("dmaring", "copy64-1")?;
    measure(LATENCIES)?;
    let record = measuring.end(Unit::Ns, latencies.samples())?;
    drop((source, destination));
    Ok(record.print(pair.verify(blocks)?)?)
}

/// One awaited after the other by tokio's current-thread runtime.
fn under_tokio(runtime: &Runtime, pair: &mut Pair, blocks: &Blocks) -> Outcome {
    let (source, destination) = pair.regions(runtime)?;
    let copies = Copies { blocks, source: &source, destination: &destination };
    let executor = tokio::runtime::Builder::new_current_thread().build()?;
    let mut latencies = Latencies::new();
    let mut measure = |count| {
        latencies.reset();
        executor.block_on(async {
            for number in 0..count {
                copies.copy(number).await?;
                latencies.tick();
            }
            Ok::<_, Error>(())
        })
    };
    measure(SLOW_LATENCIES / 10)?;
    let measuring = Measuring::begin("dmaring", "copy64-1-tokio")?;
    measure(SLOW_LATENCIES)?;
    let record = measuring.end(Unit::Ns, latencies.samples())?;
    drop((source, destination));
    Ok(record.print(pair.verify(blocks)?)?)
}

/// As futures, the oldest awaited before the next is begun.
fn futures_in_flight(runtime: &Runtime, pair: &mut Pair, blocks: &Blocks) -> Outcome {
    let (source, destination) = pair.regions(runtime)?;
    let copies = Copies { blocks, source: &source, destination: &destination };
    let run = |count| copies.in_flight(count, DEPTH, |copy| block_on(copy));
    run(COPIES / 10)?;
    let measuring = Measuring::begin("dmaring", "copy64-32")?;
    let chunks = run(COPIES)?;
    let record = measuring.end(Unit::PerS, chunks.rates(1))?;
    drop((source, destination));
    Ok(record.print(pair.verify(blocks)?)?)
}

/// In batches, as many in flight as make 32 operations.
fn batches(
    runtime: &Runtime,
    pair: &mut Pair,
    blocks: &Blocks,
    (work, batch): (&str, usize),
) -> Outcome {
    let (source, destination) = pair.regions(runtime)?;
    let copies = Copies { blocks, source: &source, destination: &destination };
    let begin = |number: u64| {
        let mut operations = runtime.batch();
        for index in 0..batch as u64 {
            copies.put(&mut operations, number * batch as u64 + index);
        }
        operations.submit().all()
    };
    let run = |count: u64| {
        let mut chunks = Chunks::of(count);
        let mut failure = Ok(0);
        let ended = |number: u64, outcome: Result<u64, Error>| {
            chunks.ended((number + 1) * batch as u64);
            if outcome.is_err() {
                failure = outcome;
            }
        };
        windowed((count / batch as u64, DEPTH / batch), |all| block_on(all), begin, ended);
        failure.map(|_| chunks)
    };
    run(COPIES / 10)?;
    let measuring = Measuring::begin("dmaring", work)?;
    let chunks = run(COPIES)?;
    let record = measuring.end(Unit::PerS, chunks.rates(1))?;
    drop((source, destination));
    Ok(record.print(pair.verify(blocks)?)?)
}

/// What the kernel's rings do when nothing is asked of them.
fn nops() -> Outcome {
    let mut nops = match Nops::new(DEPTH as u32) {
        Ok(nops) => nops,
        Err(error) => {
            let message = format!(
                "io_uring cannot be had: {error}: /proc/sys/kernel/io_uring_disabled must be 0"
            );
            return Err(message.into());
        }
    };
    let measuring = Measuring::begin("io_uring", "nop-32")?;
    let (mut ended, mut chunks) = (0, Chunks::of(COPIES));
    while ended < COPIES {
        ended += nops.round()?;
        chunks.ended(ended);
    }
    // There are no bytes to verify: each round counted its completions.
    Ok(measuring.end(Unit::PerS, chunks.rates(1))?.print(true)?)
}

/// Copies of one runtime, by number.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Copies<'a> {
    pub(crate) blocks: &'a Blocks,
    pub(crate) source: &'a Region,
    pub(crate) destination: &'a Region,
}

impl Copies<'_> {
    pub(crate) fn copy(&self, number: u64) -> Copy {
        let (from, to) = self.blocks.copy(number);
        self.source.copy_to(from, self.destination, to, self.blocks.size)
    }

    /// Puts one to a batch.
    fn put(&self, operations: &mut Batch, number: u64) {
        let (from, to) = self.blocks.copy(number);
        operations.copy(self.source, from, self.destination, to, self.blocks.size);
    }

    /// Makes `count` copies, `depth` in flight, and tells when each part of them was over.
    pub(crate) fn in_flight(
        &self,
        count: u64,
        depth: usize,
        executor: impl Fn(&mut Copy) -> Result<u64, Error>,
    ) -> Result<Chunks, Error> {
        let mut chunks = Chunks::of(count);
        let mut failure = Ok(0);
        let begin = |number| self.copy(number).submit();
        let ended = |number, outcome: Result<u64, Error>| {
            chunks.ended(number + 1);
            if outcome.is_err() {
                failure = outcome;
            }
        };
        windowed((count, depth), executor, begin, ended);
        failure.map(|_| chunks)
    }
}
