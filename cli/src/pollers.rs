//! Which threads drive the engines and where, as the command line names them.

use clap::{Args, ValueEnum};
use dmaring::{Builder, Pollers};

/// The options of the threads that drive the engines.
#[derive(Args, Debug)]
pub(crate) struct PollerArguments {
    /// The core that the poller is bound to [default: none, it floats]
    #[arg(long, value_name = "N")]
    pub(crate) core: Option<usize>,

    /// Which threads drive the engines: one for all, one more for each NUMA node, or one more for each engine
    #[arg(long, value_name = "WHICH", default_value = "one")]
    pollers: PollersChoice,
}

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

impl PollerArguments {
    /// Gives the builder what was asked for.
    pub(crate) fn add_to(&self, builder: Builder) -> Builder {
        let builder = builder.pollers(self.pollers.into());
        match self.core {
            Some(core) => builder.poller_core(core),
            None => builder,
        }
    }
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
