//! What bounds a cold copy, on the buffers and in the order of the work that it bounds: the fastest of some loops that know which block
//! comes next and read ahead into it, reads alone, and streaming stores alone.

use std::hint::black_box;

use dmaring_benches::{
    limits::{self, HINTS},
    record::Record,
};

use crate::{
    Outcome, Setup,
    cold::{COPIES, alone},
    memory::{Blocks, Pair},
};

/// How far the loops read ahead, in bytes.
const DISTANCES: [usize; 4] = [2 << 10, 8 << 10, 20 << 10, 32 << 10];
/// What is stored where nothing is copied.
const WORD: u64 = 0x9e37_79b9_7f4a_7c15;

pub(crate) fn measure(setup: &Setup, pair: &mut Pair, blocks: &Blocks, work: &str) -> Outcome {
    if !limits::is_available() {
        return Ok(());
    }
    reading_ahead(setup, pair, blocks, work)?;
    reads(setup, pair, blocks, work)?;
    stores(setup, pair, blocks, work)
}

/// Each loop is verified; the fastest is printed.
fn reading_ahead(setup: &Setup, pair: &mut Pair, blocks: &Blocks, work: &str) -> Outcome {
    let mut best: Option<Record<'_>> = None;
    for hint in HINTS {
        for distance in DISTANCES {
            let distance = distance.min(blocks.size as usize);
            let record = alone(setup, ("ahead", work), pair, blocks, |to, from, next| {
                limits::ahead((hint, distance), to, from, next);
            })?;
            if !pair.verify(blocks)? {
                return Ok(record.print(false)?);
            }
            if best.as_ref().is_none_or(|best| record.median() > best.median()) {
                best = Some(record);
            }
        }
    }
    Ok(best.ok_or("nothing was measured")?.print(true)?)
}

/// Each block's words are folded into one, and these added up.
fn reads(setup: &Setup, pair: &mut Pair, blocks: &Blocks, work: &str) -> Outcome {
    let mut found = 0_u64;
    let record = alone(setup, ("reads", work), pair, blocks, |_, from, _| {
        found = found.wrapping_add(black_box(limits::read(from)));
    })?;
    let (source, _) = pair.slices()?;
    let length = (blocks.count() * blocks.size) as usize;
    let word = |bytes: &[u8]| u64::from_ne_bytes(bytes.try_into().unwrap_or_default());
    let folded = |block: &[u8]| block.chunks_exact(8).fold(0, |all, bytes| all ^ word(bytes));
    let of_blocks = source[..length].chunks_exact(blocks.size as usize).map(folded);
    let turns = blocks.copies(COPIES) / blocks.count();
    Ok(record.print(found == of_blocks.fold(0, u64::wrapping_add).wrapping_mul(turns))?)
}

fn stores(setup: &Setup, pair: &mut Pair, blocks: &Blocks, work: &str) -> Outcome {
    let record = alone(setup, ("stores", work), pair, blocks, |to, _, _| limits::store(to, WORD))?;
    Ok(record.print(pair.is_filled(blocks, WORD)?)?)
}
