//! What the benchmarks share: memory, the order of blocks, an executor that spins, the peers.
//!
//! `docs/performance.md` says what is measured with it.

/// Calls a macro with what is given and then every register that `vzeroupper` changes, which whoever executes it declares as written.
macro_rules! with_ymm {
    ($call:ident!($($given:tt)*)) => {
        $call!(
            $($given)* "ymm0", "ymm1", "ymm2", "ymm3", "ymm4", "ymm5", "ymm6", "ymm7",
            "ymm8", "ymm9", "ymm10", "ymm11", "ymm12", "ymm13", "ymm14", "ymm15"
        );
    };
}

pub mod apart;
pub mod area;
pub mod awake;
pub mod blocks;
pub mod limits;
pub mod loops;
pub mod nops;
pub mod pinning;
pub mod record;
pub mod rings;
pub mod shared;
pub mod spin;

pub use self::blocks::Shuffled;
