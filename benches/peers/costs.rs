//! What many regions and many submitting threads cost: 64-byte copies, 32 in flight.

use std::{error::Error, sync::Barrier, thread};

use dmaring::{Copy, Idle, Region, Runtime};
use dmaring_benches::{
    area::Area,
    pinning,
    record::{Chunks, Measuring, Unit},
    spin::{block_on, windowed},
};

use crate::{
    Outcome, Setup, floor,
    memory::{Blocks, Pair},
    short::{BLOCKS, COPIES, Copies, DEPTH},
};

const REGIONS: u32 = 10_000;
/// How long each of them is, in bytes: a page. A block of its first half is read, one of its second written.
const PAGE: u64 = 4096;
/// Blocks in half a page. Pages use them in turn: if all used the first, they would share few sets of the caches.
const BLOCKS_OF_A_HALF: u64 = PAGE / 2 / 64;
/// How many threads submit at most.
const THREADS: usize = 8;

pub(crate) fn measure(setup: &Setup) -> Outcome {
    let mut pair = Pair::new(BLOCKS * 64)?;
    let blocks = Blocks::new(setup, 64, BLOCKS * 64);
    let mut area = Area::new(REGIONS as usize * PAGE as usize)?;
    let order = Blocks::new(setup, PAGE, REGIONS as usize * PAGE as usize);

    // The same two blocks of memory, with nothing else registered and with 10,000 other regions, in odd rounds the other way round.
    let counts = [1, REGIONS];
    for count in if setup.round.is_multiple_of(2) { counts } else { [REGIONS, 1] } {
        let runtime = setup.runtime(Idle::Spin)?;
        let work = format!("regions-{count}");
        if count == 1 {
            one_pair(&runtime, &mut pair, &blocks, &work)?;
        }
        let regions = pages(&runtime, &mut area, count)?;
        if count > 1 {
            one_pair(&runtime, &mut pair, &blocks, &work)?;
        }
        scattered(&regions, &order, &format!("{work}-scattered"))?;
    }
    for count in [1, THREADS] {
        let runtime = setup.runtime(Idle::Spin)?;
        threads(setup, &runtime, &mut pair, (&blocks, count))?;
    }
    // Its poller sleeps: there is nothing for it to do.
    let runtime = setup.runtime(Idle::default())?;
    for count in counts {
        let regions = pages(&runtime, &mut area, count)?;
        let work = format!("regions-{count}-scattered");
        floor::handles(setup, &work, |number| copy_of(&order, &regions, number))?;
    }
    Ok(())
}

/// All pages, the same ones, as so many regions: one, or one each. Those of before are waited for: they must be dropped.
fn pages(runtime: &Runtime, area: &mut Area, regions: u32) -> Result<Vec<Region>, Box<dyn Error>> {
    area.slice()?;
    let length = area.len() / regions as usize;
    let parts = (0..regions as usize).map(|index| index * length..(index + 1) * length);
    parts.map(|part| Ok(runtime.register(area.lend_part(part)?)?)).collect()
}

fn one_pair(runtime: &Runtime, pair: &mut Pair, blocks: &Blocks, work: &str) -> Outcome {
    let (source, destination) = pair.regions(runtime)?;
    let copies = Copies { blocks, source: &source, destination: &destination };
    copies.in_flight(COPIES / 10, DEPTH, |copy| block_on(copy))?;
    let measuring = Measuring::begin("dmaring", work)?;
    let chunks = copies.in_flight(COPIES / 2, DEPTH, |copy| block_on(copy))?;
    let record = measuring.end(Unit::PerS, chunks.rates(1))?;
    drop((source, destination));
    Ok(record.print(pair.verify(blocks)?)?)
}

/// From the first half of one page to the second half of another, all pages in random order: pages of one region, or
/// regions of one page each.
fn scattered(regions: &[Region], order: &Blocks, work: &str) -> Outcome {
    for page in 0..REGIONS {
        let (region, offset) = place(regions, page);
        region.write_at(offset + first_half(page), &content(page))?;
        region.write_at(offset + second_half(page), &[0; 64])?;
    }
    let begin = |number| copy_of(order, regions, number).submit();
    let run = |count| {
        let (mut chunks, mut failure) = (Chunks::of(count), Ok(0));
        let ended = |number, outcome: Result<u64, dmaring::Error>| {
            chunks.ended(number + 1);
            if outcome.is_err() {
                failure = outcome;
            }
        };
        windowed((count, DEPTH), |copy| block_on(copy), begin, ended);
        failure.map(|_| chunks)
    };
    run(REGIONS.into())?;
    let measuring = Measuring::begin("dmaring", work)?;
    let chunks = run(COPIES / 2)?;
    let record = measuring.end(Unit::PerS, chunks.rates(1))?;
    let mut verified = true;
    for number in 0..REGIONS.into() {
        let (from, to) = order.pair(number);
        let (region, offset) = place(regions, to);
        let mut found = [0; 64];
        region.read_at(offset + second_half(to), &mut found)?;
        verified &= found == content(from);
    }
    Ok(record.print(verified)?)
}

/// A page's region, and where in it the page begins.
fn place(regions: &[Region], page: u32) -> (&Region, u64) {
    match regions {
        [one] => (one, u64::from(page) * PAGE),
        many => (&many[page as usize], 0),
    }
}

/// Where in a page the block is that is read.
fn first_half(page: u32) -> u64 {
    u64::from(page) % BLOCKS_OF_A_HALF * 64
}

/// And the one that is written.
fn second_half(page: u32) -> u64 {
    PAGE / 2 + first_half(page)
}

/// What is read of a page: its number, in every word, and never 0.
fn content(page: u32) -> [u8; 64] {
    let mut content = [0; 64];
    for word in content.chunks_exact_mut(8) {
        word.copy_from_slice(&(u64::from(page) + 1).to_le_bytes());
    }
    content
}

/// So many threads share the copies and the 32 places; each sleeps while its oldest copy is under way.
fn threads(
    setup: &Setup,
    runtime: &Runtime,
    pair: &mut Pair,
    (blocks, count): (&Blocks, usize),
) -> Outcome {
    let (source, destination) = pair.regions(runtime)?;
    let copies = Copies { blocks, source: &source, destination: &destination };
    copies.in_flight(COPIES / 40, DEPTH, |copy| block_on(copy))?;
    let cores: Vec<_> =
        pinning::available()?.into_iter().filter(|&core| core != setup.poller_core).collect();
    let work = format!("threads-{count}");
    let share = COPIES / 4 / count as u64;
    // The threads are where they belong before it is looked at them, and stay until it was looked again.
    let all = Barrier::new(count + 1);
    let all = &all;
    let record = thread::scope(|scope| {
        let workers: Vec<_> = (0..count)
            .map(|index| {
                let core = cores.get(index % cores.len().max(1)).copied();
                scope.spawn(move || -> Result<(), Box<dyn Error + Send + Sync>> {
                    let pinned = pinning::pin(core.unwrap_or(setup.app_core));
                    all.wait();
                    all.wait();
                    let copied = copies
                        .in_flight(share, DEPTH / count, |copy| futures::executor::block_on(copy));
                    all.wait();
                    all.wait();
                    pinned?;
                    copied?;
                    Ok(())
                })
            })
            .collect();
        all.wait();
        let measuring = Measuring::begin("dmaring", &work);
        let begin = std::time::Instant::now();
        all.wait();
        all.wait();
        let rate = (share * count as u64) as f64 / begin.elapsed().as_secs_f64();
        let record =
            measuring.and_then(|measuring| measuring.end(Unit::PerS, vec![(rate as u64, 1)]));
        all.wait();
        for worker in workers {
            worker.join().map_err(|_| "a submitting thread panicked")??;
        }
        Ok::<_, Box<dyn Error + Send + Sync>>(record?)
    })
    .map_err(|error| error.to_string())?;
    drop((source, destination));
    Ok(record.print(pair.verify(blocks)?)?)
}

/// A copy between pages of one region, or of one region each: the same pages.
fn copy_of(pages: &Blocks, regions: &[Region], number: u64) -> Copy {
    let (from, to) = pages.pair(number);
    let ((source, at), (destination, begin)) = (place(regions, from), place(regions, to));
    source.copy_to(at + first_half(from), destination, begin + second_half(to), 64)
}
