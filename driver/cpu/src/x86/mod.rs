//! The routines of x86-64: SSE2, which every such processor has, AVX2 and AVX-512.
//!
//! Every one is assembly, because the memory may be accessed by others at the same time, of which
//! Rust's memory model has no word: the compiler takes an assembly block as one access of unknown
//! kind, and the instructions are what the processor's manual says. Bytes may be read or written
//! twice within one transfer (moves overlap), never outside its ranges. Of what comes next some bytes may be
//! prefetched, which is no access (`ahead.rs`).

/// Calls a macro with what is given and then every register that `vzeroupper` changes, which whoever executes it declares as written.
macro_rules! with_ymm {
    ($call:ident!($($given:tt)*)) => {
        $call!(
            $($given)* "ymm0", "ymm1", "ymm2", "ymm3", "ymm4", "ymm5", "ymm6", "ymm7",
            "ymm8", "ymm9", "ymm10", "ymm11", "ymm12", "ymm13", "ymm14", "ymm15"
        );
    };
}

mod ahead;
mod copy;
mod fence;
mod fill;
mod processor;
mod small;

use std::is_x86_feature_detected;

pub(crate) use self::small::copy as copy_short;
use crate::routines::Routines;

static SSE2: Routines = Routines {
    name: "sse2",
    streams: true,
    short: small::LONGEST,
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
    short: small::LONGEST,
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
    short: small::LONGEST,
    copy: copy::avx512::plain,
    copy_streaming: copy::avx512::streaming,
    copy_ahead: None,
    fill: fill::avx512::plain,
    fill_streaming: fill::avx512::streaming,
    fence: fence::store_fence,
};

/// Streams line after line, and reads the beginning of the next copy: for processors on which that is fastest.
static AVX2_AHEAD: Routines = Routines {
    name: "avx2-ahead",
    copy_streaming: ahead::avx2_alone,
    copy_ahead: Some(ahead::AVX2),
    ..AVX2
};

/// The same by longer registers, and within a copy it reads ahead, too.
static AVX512_AHEAD: Routines = Routines {
    name: "avx512-ahead",
    copy_streaming: ahead::avx512_alone,
    copy_ahead: Some(ahead::AVX512),
    ..AVX512
};

/// A set, and whether this processor has its instructions.
type Set = (&'static Routines, fn() -> bool);

/// What this processor has, the best first.
pub(crate) fn available() -> impl Iterator<Item = &'static Routines> {
    let sets = order(processor::amd_family());
    sets.into_iter().filter(|(_, is_here)| is_here()).map(|(set, _)| set)
}

/// All sets, the best of a processor first, which is one of AMD's if it has a family.
///
/// Which is best was measured on a Xeon (model 207), and on AMD's Zen 3 and Zen 5 (`docs/performance.md`). It is taken to be so on Zen 4, which has the family
/// of Zen 3, on those that follow Zen 5, and as on the Xeon on all others.
fn order(amd_family: Option<u32>) -> [Set; 5] {
    let avx512 = || is_x86_feature_detected!("avx512f");
    let avx2 = || is_x86_feature_detected!("avx2");
    let every: Set = (&SSE2, || true);
    let (wide, wide_ahead): (Set, Set) = ((&AVX512, avx512), (&AVX512_AHEAD, avx512));
    let (narrow, narrow_ahead): (Set, Set) = ((&AVX2, avx2), (&AVX2_AHEAD, avx2));
    match amd_family {
        Some(processor::ZEN_5..) => [wide_ahead, wide, narrow_ahead, narrow, every],
        Some(processor::ZEN_3) => [narrow_ahead, wide_ahead, narrow, wide, every],
        _ => [wide, wide_ahead, narrow, narrow_ahead, every],
    }
}

#[cfg(test)]
mod tests {
    use super::order;

    #[test]
    fn the_best_set_is_that_of_the_processors_family() {
        let names = |family| order(family).map(|(set, _)| set.name);
        let on_others = ["avx512", "avx512-ahead", "avx2", "avx2-ahead", "sse2"];
        assert_eq!([None, Some(0x17), Some(0x18)].map(names), [on_others; 3]);
        let on_zen_3 = ["avx2-ahead", "avx512-ahead", "avx2", "avx512", "sse2"];
        assert_eq!(names(Some(0x19)), on_zen_3);
        let on_zen_5 = ["avx512-ahead", "avx512", "avx2-ahead", "avx2", "sse2"];
        assert_eq!([Some(0x1a), Some(0x1b)].map(names), [on_zen_5; 2]);
    }
}
