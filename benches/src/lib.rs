//! What the benchmarks share: memory, the order of blocks, an executor that spins, the peers.
//!
//! `docs/performance.md` says what is measured with it.

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
pub mod spin;

pub use self::blocks::Shuffled;
