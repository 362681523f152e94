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
static AVX2_AHEAD: Routines = Routines {
    name: "avx2-ahead",
    copy_streaming: ahead::avx2_alone,
    copy_ahead: Some(ahead::AVX2),
    ..AVX2
};

/// The same by longer registers.
static AVX512_AHEAD: Routines = Routines {
    name: "avx512-ahead",
    copy_streaming: ahead::avx512_alone,
    copy_ahead: Some(ahead::AVX512),
    ..AVX512
};

/// What this processor has, the best first.
///
/// Which is best was measured on a Xeon (model 207), and on AMD's Zen 3 and Zen 5 (`docs/performance.md`), and is taken to be so on Zen 4, which has Zen
/// 3's family, on those that follow Zen 5, and on all others.
pub(crate) fn available() -> impl Iterator<Item = &'static Routines> {
    let sets = match processor::amd_family() {
        Some(processor::ZEN_5..) => [&AVX512_AHEAD, &AVX512, &AVX2_AHEAD, &AVX2, &SSE2],
        Some(processor::ZEN_3) => [&AVX2_AHEAD, &AVX512_AHEAD, &AVX2, &AVX512, &SSE2],
        _ => [&AVX512, &AVX512_AHEAD, &AVX2, &AVX2_AHEAD, &SSE2],
    };
    sets.into_iter().filter(|set| match set.name {
        "avx512" | "avx512-ahead" => is_x86_feature_detected!("avx512f"),
        "avx2" | "avx2-ahead" => is_x86_feature_detected!("avx2"),
        _ => true,
    })
}
