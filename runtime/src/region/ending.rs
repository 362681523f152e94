//! How a region ends while it still has handles: the one way that closing and replacing share.
//!
//! ```text
//! application: begin ─► [order] ─► poller: quiet? ─► [housekeeper]: unmap for engines ─► take the memory away ─► answer
//! ```
//!
//! Each step hands over to the next and holds a handle of the region; none waits for the future, which only listens. So the
//! end goes on if the future is dropped, and the memory is taken away under no operation, no access and no lock of the poller's.

use std::{
    fmt, mem,
    pin::Pin,
    sync::PoisonError,
    task::{Context, Poll},
};

use super::{
    Backing, Body, PinnedBuffer, Region, last,
    life::{End, Stage},
    replace,
};
use crate::{
    error::{Error, ErrorKind},
    foreign,
    quiesce::Verdict,
    reply::{self, Listener},
};

/// What an end leaves: the buffer that had been registered, if it is wanted back.
pub(super) type Left = Option<Box<dyn PinnedBuffer>>;

/// Listens for the end of a region. Dropping it changes nothing for the region.
pub(super) struct Ending(Listener<Result<Left, Error>>);

/// Tells it, once. Dropped without an answer it tells that the runtime has ended.
struct Teller(reply::Teller<Result<Left, Error>>);

impl Region {
    /// Refuses operations from now on, and has the region ended once nothing is in flight on it. `wanted`: the buffer that
    /// was registered is asked for.
    pub(super) fn begin_end(&self, end: End, wanted: bool) -> Result<Ending, Error> {
        let shared = &self.0.shared;
        shared.check_process()?;
        if !self.0.life.begin(end) {
            return Err(self.ended());
        }
        let (teller, listener) = reply::pair();
        let (region, teller) = (self.clone(), Teller(teller));
        let answer = move |verdict| {
            let shared = region.0.shared.clone();
            let finish = move || {
                let outcome = region.finish(end, wanted, verdict);
                drop(region);
                teller.0.tell(|| outcome);
            };
            shared.housekeeper.run(Box::new(finish));
        };
        shared.quiesce.order(self.0.key, Box::new(answer));
        shared.summon_poller();
        Ok(Ending(listener))
    }

    /// The last steps, on the housekeeper.
    fn finish(&self, end: End, wanted: bool, verdict: Verdict) -> Result<Left, Error> {
        let inner = &self.0;
        let body = inner.memory.body.lock().unwrap_or_else(PoisonError::into_inner).take();
        // There is one end, so it is there.
        let Some(body) = body else { return Err(self.ended()) };
        if verdict == Verdict::Captive || inner.shared.lifecycle.must_leak() {
            mem::forget(body);
            inner.life.end(|| (Stage::Closed, ()));
            return Err(leaked(self.len()));
        }
        if inner.facts.staged {
            inner.shared.staging.leave(inner.key);
        }
        if verdict == Verdict::Ended {
            inner.shared.regions.retire(inner.key);
        }
        let Body { mappings, backing } = body;
        if let Err(error) = mappings.try_undo() {
            mem::forget(backing);
            inner.life.end(|| (Stage::Closed, ()));
            return Err(still_mapped(self.len(), error));
        }
        match end {
            End::Close => {
                inner.life.end(|| (Stage::Closed, ()));
                Ok(backing.take_or_free(wanted))
            }
            End::Zeroes => inner.life.end(|| match replace::with_zeroes(backing) {
                Ok(()) => (Stage::Zeroed, Ok(None)),
                Err(error) => (Stage::Closed, Err(error)),
            }),
        }
    }

    /// The error of whatever comes after the end has begun.
    pub(super) fn ended(&self) -> Error {
        Error::new(
            ErrorKind::Closed,
            "the region was closed or replaced with zeroes: open it again to use its memory",
        )
    }
}

fn leaked(bytes: u64) -> Error {
    last::leaked(bytes);
    let message = format!(
        "an engine was lost and may still access the region: its {bytes} bytes stay mapped until the process ends"
    );
    Error::new(ErrorKind::EngineLost, message)
}

fn still_mapped(bytes: u64, error: dmaring_engine::MapError) -> Error {
    let message = format!(
        "cannot unmap {bytes} bytes for the engines: {error}; the memory stays in place until the process ends"
    );
    Error::with_source(ErrorKind::Unmapped, message, error)
}

impl Backing {
    /// The registered buffer if it is wanted; else everything is given back.
    fn take_or_free(self, wanted: bool) -> Left {
        match self {
            Self::Owned { buffer, entry, .. } if wanted => {
                drop(entry);
                Some(buffer)
            }
            other => {
                // It may be an application's destructor.
                if foreign::call(|| drop(other)).is_none() {
                    tracing::error!("dropping a region's memory panicked");
                }
                None
            }
        }
    }
}

impl Drop for Teller {
    fn drop(&mut self) {
        self.0.tell(|| Err(Error::engine_lost()));
    }
}

impl Future for Ending {
    type Output = Result<Left, Error>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.poll(context, Option::take)
    }
}

impl fmt::Debug for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ending").finish_non_exhaustive()
    }
}
