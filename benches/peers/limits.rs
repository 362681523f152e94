//! What bounds a cold copy, on the buffers and in the order of the work that it bounds: loops that know which block comes next and read
//! ahead into it, reads alone, and streaming stores alone.

use std::hint::black_box;

use dmaring_benches::limits::{self, Hint};

use crate::{
    Outcome, Setup,
    cold::{COPIES, alone},
    memory::{Blocks, Pair},
};

/// To where and how many bytes ahead the loops read; no block is shorter. Those that the processor has no instructions for are left out.
const LOOPS: [(&str, Hint, usize); 15] = [
    ("ahead_t0_8k", Hint::T0, 8 << 10),
    ("ahead_t0_20k", Hint::T0, 20 << 10),
    ("ahead_t0_32k", Hint::T0, 32 << 10),
    ("ahead_t0_20k_narrow", Hint::T0Narrow, 20 << 10),
    ("ahead_t1_8k", Hint::T1, 8 << 10),
    ("ahead_t1_20k", Hint::T1, 20 << 10),
    ("ahead_t1_32k", Hint::T1, 32 << 10),
    ("ahead_nta_8k", Hint::Nta, 8 << 10),
    ("ahead_nta_20k", Hint::Nta, 20 << 10),
    ("ahead_nta_32k", Hint::Nta, 32 << 10),
    ("ahead_nta_20k_narrow", Hint::NtaNarrow, 20 << 10),
    ("ahead_t0_512_narrow", Hint::T0Narrow, 512),
    ("ahead_nta_512_narrow", Hint::NtaNarrow, 512),
    ("next_2k_narrow", Hint::NextNarrow, 2 << 10),
    ("next_4k_narrow", Hint::NextNarrow, 4 << 10),
];
/// How far ahead who reads alone does.
const READ_AHEAD: usize = 20 << 10;
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

fn reading_ahead(setup: &Setup, pair: &mut Pair, blocks: &Blocks, work: &str) -> Outcome {
    let mut loops = LOOPS;
    if !setup.round.is_multiple_of(2) {
        loops.reverse();
    }
    for (name, hint, distance) in loops.into_iter().filter(|(_, hint, _)| hint.is_available()) {
        let record = alone(setup, (name, work), pair, blocks, |to, from, next| {
            limits::ahead((hint, distance), to, from, next);
        })?;
        record.print(pair.verify(blocks)?)?;
    }
    Ok(())
}

/// Each block's words are folded into one, and these added up.
fn reads(setup: &Setup, pair: &mut Pair, blocks: &Blocks, work: &str) -> Outcome {
    let mut found = 0_u64;
    let record = alone(setup, ("reads", work), pair, blocks, |_, from, next| {
        found = found.wrapping_add(black_box(limits::read(READ_AHEAD, from, next)));
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
