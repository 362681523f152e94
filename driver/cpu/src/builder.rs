//! What kind of CPU engine is wanted.

use crate::{CpuEngine, mover::Mover, routines};

/// From this many bytes up a transfer uses non-temporal stores.
///
/// Measured on cold memory: at 4 KiB streaming is ahead of plain stores even when every transfer is
/// fenced by itself, below 2 KiB it is behind then. On memory that is in the caches plain stores
/// are faster at every length; `docs/cpu-engine.md` has the figures.
pub(crate) const STREAMING_THRESHOLD: usize = 4096;

/// How many transfers an engine holds unless told otherwise.
pub(crate) const DEPTH: usize = 16;

/// How many transfers an engine holds at most: more would wait here no better than in the runtime's ring.
const MAX_DEPTH: usize = 65_536;

/// Describes a [`CpuEngine`].
#[derive(Clone, Debug)]
#[must_use]
pub struct CpuBuilder {
    depth: usize,
    streaming_threshold: usize,
}

impl Default for CpuBuilder {
    /// 16 transfers deep, non-temporal stores from 4 KiB up.
    fn default() -> Self {
        Self { depth: DEPTH, streaming_threshold: STREAMING_THRESHOLD }
    }
}

impl CpuBuilder {
    /// How many transfers the engine holds: at least 2, which the seam asks for, and at most 65,536.
    pub fn depth(mut self, transfers: usize) -> Self {
        self.depth = transfers.clamp(2, MAX_DEPTH);
        self
    }

    /// From how many bytes up a transfer uses non-temporal stores: 0 for every transfer,
    /// `usize::MAX` for none.
    pub fn streaming_threshold(mut self, bytes: usize) -> Self {
        self.streaming_threshold = bytes;
        self
    }

    /// Makes the engine, for the processor that this runs on.
    #[must_use]
    pub fn build(self) -> CpuEngine {
        CpuEngine::from_parts(self.depth, Mover::new(routines::best(), self.streaming_threshold))
    }
}
