//! Which threads drive the engines, as the command line names them.

use clap::ValueEnum;
use dmaring::Pollers;

/// What `--pollers` takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum PollersChoice {
    /// One thread for all.
    One,
    /// One more for each NUMA node.
    Node,
    /// One more for each engine.
    Engine,
}

impl From<PollersChoice> for Pollers {
    fn from(choice: PollersChoice) -> Self {
        match choice {
            PollersChoice::One => Self::One,
            PollersChoice::Node => Self::PerNode,
            PollersChoice::Engine => Self::PerEngine,
        }
    }
}
