//! The lanes of a runtime that is being built.

use dmaring_engine::Engine;

use super::lane::{Lane, LaneSettings};

/// Builds lanes from engines, which then move to the poller's thread.
#[derive(Debug, Default)]
pub(crate) struct Lanes(pub(super) Vec<Lane>);

impl Lanes {
    pub(crate) fn add<E: Engine + 'static>(&mut self, engine: E, settings: LaneSettings) {
        self.0.push(Lane::new(engine, settings));
    }

    /// The longest transfer, in bytes, that the only engine carries out at once, or of several one that is the host's CPU.
    pub(crate) fn at_once(&self) -> u64 {
        let is_only = self.0.len() == 1;
        let lines = self.0.iter().map(|lane| &lane.line.capabilities);
        lines.filter(|it| is_only || it.host_memory).map(|it| it.at_once).max().unwrap_or(0)
    }
}
