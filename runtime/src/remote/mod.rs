//! Engines driven by threads of their own.
//!
//! One poller drains the rings, holds fences back, routes and answers, whatever is configured. What can be given to other
//! threads is the driving of engines: descriptors, doorbells, looking for completions and, of the CPU engine, the copying itself. A
//! [`RemoteEngine`] stands in the poller for an engine that a *worker* drives, and is to the poller an engine like
//! any other. So nothing that holds for operations depends on how many threads there are.
//!
//! ```text
//! poller: RemoteEngine::enqueue ─► [transfers] ─► worker: Engine::enqueue, submit
//! poller: RemoteEngine::poll   ◄─ [completions] ◄─ worker: Engine::poll
//! poller: recover, halt, drop  ─► [orders]      ─► worker: Engine::recover, halt, drop
//! ```
//!
//! A worker drives one engine or all of a NUMA node, and ends when the last of them was dropped. Where an engine fails, what was
//! handed over and not begun is reported as not run, as the engine itself does with what it holds. Where it panics, the
//! panic goes on in the poller, which then does what it does about every panic.

mod engine;
mod link;
mod worker;

use std::{io, time::Duration};

pub(crate) use self::{engine::RemoteEngine, worker::Worker};
use crate::poller::Idle;

/// Which threads drive the engines.
///
/// The rings are drained by one thread always, so that a [fence](crate::Copy::fence) holds across all engines. More threads
/// add a hand-over in each direction, below a microsecond when all are awake, and let engines be driven, and copies by
/// CPU engines be made, at the same time. Each needs a core: on fewer cores than threads one is faster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Pollers {
    /// The thread that drains the rings drives all engines.
    #[default]
    One,
    /// One more thread for the engines of each NUMA node, bound to the node's cores; another for engines whose node is not
    /// known.
    PerNode,
    /// One more thread for each engine, bound to the cores of the engine's node where that is known.
    PerEngine,
}

impl Pollers {
    /// The setting's name.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::One => "one",
            Self::PerNode => "per node",
            Self::PerEngine => "per engine",
        }
    }
}

/// The workers of a runtime that is being built.
#[derive(Debug)]
pub(crate) struct Workers {
    pollers: Pollers,
    idle: (Idle, bool),
    started: Vec<(Option<u32>, Worker)>,
}

impl Workers {
    pub(crate) fn new(pollers: Pollers, idle: (Idle, bool)) -> Self {
        Self { pollers, idle, started: Vec::new() }
    }

    /// The worker for an engine on this node, which is started if need be; `None` if the poller itself drives it.
    pub(crate) fn for_engine(&mut self, node: Option<u32>) -> io::Result<Option<&Worker>> {
        let known = match self.pollers {
            Pollers::One => return Ok(None),
            Pollers::PerEngine => None,
            Pollers::PerNode => self.started.iter().position(|(known, _)| *known == node),
        };
        let index = match known {
            Some(index) => index,
            None => {
                self.started.push((node, Worker::start(node, self.idle)?));
                self.started.len() - 1
            }
        };
        Ok(self.started.get(index).map(|(_, worker)| worker))
    }
}

/// How much longer than an engine may take to stop its worker's answer is waited for.
const GRACE: Duration = Duration::from_secs(1);
