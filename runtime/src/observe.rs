//! Watching runtimes of other processes.
//!
//! Each runtime counts in a memfd named `dmaring-stats`, which other processes can map for reading and no more. It
//! is found among a process's descriptors in `/proc`, and what stands in it is checked before it is used: a
//! process may have given that name to anything. Reading it costs the observed process nothing.
//!
//! ```no_run
//! # fn main() -> Result<(), dmaring::observe::ObserveError> {
//! for observer in dmaring::observe::attach(4711)? {
//!     let stats = observer.stats();
//!     println!("{} operations, p99 {:?}", stats.completed, stats.latency.percentile(99.0));
//! }
//! # Ok(())
//! # }
//! ```

mod error;
mod process;

use std::{fs::File, time::SystemTime};

pub use self::error::ObserveError;
use self::process::{Found, Process};
use crate::stats::{Reader, Stats};

/// A runtime of this or another process, watched from outside.
#[derive(Debug)]
pub struct Observer {
    process: Process,
    /// Tells the runtimes of a process apart.
    inode: u64,
    reader: Reader,
}

/// The most runtimes of one process that are looked at.
const MOST_RUNTIMES: usize = 64;

/// The runtimes of a process, 64 of them at most.
///
/// In a process that was forked and has not called `exec`, those of its parent are not among them.
///
/// # Errors
///
/// [`ObserveError::NoProcess`], [`ObserveError::Permission`] and [`ObserveError::NoRuntime`], with the remedy. Where the process has
/// memory of that name and none of it can be read, why the first cannot: [`ObserveError::Version`] and
/// [`ObserveError::Malformed`].
pub fn attach(pid: u32) -> Result<Vec<Observer>, ObserveError> {
    let process = Process::open(pid)?;
    let mut observers: Vec<Observer> = Vec::new();
    let mut refused = None;
    for Found { file, inode } in process.memory(MOST_RUNTIMES)? {
        match open(&process, file, inode) {
            Ok(observer) => observers.extend(observer),
            Err(error) => {
                tracing::debug!(pid, %error, "memory that is named as statistics is not read");
                refused.get_or_insert(error);
            }
        }
    }
    if observers.is_empty() {
        return Err(refused.unwrap_or(ObserveError::NoRuntime { pid }));
    }
    // The number may have gone to another process meanwhile.
    if process.is_alive() { Ok(observers) } else { Err(ObserveError::NoProcess { pid }) }
}

/// The runtimes of all processes that this one may observe, 64 of each process at most. What cannot be read is left out.
///
/// # Errors
///
/// [`ObserveError::Proc`] if there is no `/proc`.
pub fn find() -> Result<Vec<Observer>, ObserveError> {
    Ok(process::all()?.into_iter().filter_map(|pid| attach(pid).ok()).flatten().collect())
}

fn open(process: &Process, file: File, inode: u64) -> Result<Option<Observer>, ObserveError> {
    let reader = Reader::open(&file).map_err(|why| ObserveError::unreadable(process.pid(), why))?;
    let process = process.another().map_err(|_| ObserveError::NoProcess { pid: process.pid() })?;
    // A child of fork has its parent's descriptors, too.
    let own = reader.pid() == process.inner_pid();
    Ok(own.then_some(Observer { process, inode, reader }))
}

impl Observer {
    /// The process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// What tells this runtime from others of its process, for as long as both exist.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.inode
    }

    /// When the runtime was built, as its process says.
    #[must_use]
    pub fn started(&self) -> SystemTime {
        self.reader.started()
    }

    /// What the runtime has done so far. Each figure is exact; between two of them operations may have ended.
    ///
    /// The last figures remain when the runtime has ended.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.reader.stats()
    }

    /// Whether the runtime still works: it has not been shut down, and its process has not ended.
    #[must_use]
    pub fn is_live(&self) -> bool {
        !self.reader.has_ended() && self.process.is_alive()
    }

    /// Whether the process has not ended, whatever became of the runtime.
    #[must_use]
    pub fn has_process(&self) -> bool {
        self.process.is_alive()
    }
}

#[cfg(all(test, not(miri)))]
mod tests;
