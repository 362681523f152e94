//! The contender without an engine: libc's memcpy on the threads themselves.

use std::{hint::black_box, time::Instant};

use super::{
    areas::{Areas, Blocks},
    point::{self, Done, Probe, Totals},
    shuffle::Shuffle,
    stopwatch::{Limits, Stopwatch},
    verify,
};

/// Of how many small copies one is timed. Reading the clock takes as long as several of them.
const STRIDE: u64 = 251;

/// Measures one point and checks the destination.
///
/// # Errors
///
/// A message that says what failed.
pub(super) fn measure(
    areas: &mut Areas,
    blocks: &Blocks,
    limits: Limits,
    probe: &mut Probe,
) -> Result<Totals, String> {
    let stride = blocks.stride as usize;
    let parts = areas.source.chunks(stride).zip(areas.destination.chunks_mut(stride));
    let workers = parts
        .take(blocks.threads as usize)
        .map(|(source, destination)| move || Ok(copy(source, destination, blocks, limits)))
        .collect();
    let totals = point::run(workers, &probe.placement.every, &mut probe.cycles)?;
    verify::check(&mut areas.destination[..], blocks, &totals.copies)
        .map_err(|error| error.to_string())?;
    Ok(totals)
}

fn copy(source: &[u8], destination: &mut [u8], blocks: &Blocks, limits: Limits) -> Done {
    let shuffle = Shuffle::new(blocks.count);
    let size = blocks.size as usize;
    let mut stopwatch = Stopwatch::start(limits, blocks.size, STRIDE, Instant::now());
    let (mut copies, mut goes_on) = (0, true);
    while goes_on {
        let at = (shuffle.block(copies) * blocks.size) as usize;
        let (from, to) = (&source[at..][..size], &mut destination[at..][..size]);
        if stopwatch.begins() {
            let begun = Instant::now();
            black_box(to).copy_from_slice(black_box(from));
            goes_on = stopwatch.ends_at(begun, Instant::now());
        } else {
            black_box(to).copy_from_slice(black_box(from));
            stopwatch.ends();
        }
        copies += 1;
    }
    Done { measured: stopwatch.finish(), copies }
}
