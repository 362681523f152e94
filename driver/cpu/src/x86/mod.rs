//! The routines of x86-64: SSE2, which every such processor has, AVX2 and AVX-512.
//!
//! Every one is assembly, because the memory may be accessed by others at the same time, of which
//! Rust's memory model has no word: the compiler takes an assembly block as one access of unknown
//! kind, and the instructions are what the processor's manual says. Bytes may be read or written
//! twice within one transfer (moves overlap), never outside its ranges. Of what comes next some bytes may be
//! prefetched, which is no access (`ahead.rs`).

mod ahead;
mod copy;
mod fence;
mod fill;
mod processor;
mod small;

use std::is_x86_feature_detected;

use crate::routines::Routines;

static SSE2: Routines = Routines {
    name: "sse2",
    streams: true,
    copy: copy::sse2::plain,
    copy_streaming: copy::sse2::streaming,
    copy_ahead: None,
    fill: fill::sse2::plain,
    fill_streaming: fill::sse2::streaming,
    fence: fence::store_fence,
};

static AVX2: Routines = Routines {
    name: "avx2",
    streams: true,
    copy: copy::avx2::plain,
    copy_streaming: copy::avx2::streaming,
    copy_ahead: None,
    fill: fill::avx2::plain,
    fill_streaming: fill::avx2::streaming,
    fence: fence::store_fence,
};

static AVX512: Routines = Routines {
    name: "avx512",
    streams: true,
    copy: copy::avx512::plain,
    copy_streaming: copy::avx512::streaming,
    copy_ahead: None,
    fill: fill::avx512::plain,
    fill_streaming: fill::avx512::streaming,
    fence: fence::store_fence,
};

/// Streams line after line, and reads ahead: for processors on which that is fastest.
static AVX512_AHEAD: Routines = Routines {
    name: "avx512-ahead",
    copy_streaming: ahead::alone,
    copy_ahead: Some(ahead::streaming),
    ..AVX512
};

/// What this processor has, the best first.
pub(crate) fn available() -> impl Iterator<Item = &'static Routines> {
    let mut avx512 = [&AVX512, &AVX512_AHEAD];
    if processor::is_best_ahead() {
        avx512.reverse();
    }
    let avx512 = avx512.into_iter().filter(|_| is_x86_feature_detected!("avx512f"));
    let avx2 = is_x86_feature_detected!("avx2").then_some(&AVX2);
    avx512.chain(avx2).chain(Some(&SSE2))
}
