//! The housekeeper: one thread for what blocks and must not run where it was asked for.
//!
//! Unmapping and freeing can take milliseconds, and the last handle to a region may die on the poller or inside
//! a waker. Such work is sent here. The thread starts with the first region and ends when the runtime's
//! last handle is gone and its work is done.

use std::{
    cell::Cell,
    sync::{
        Mutex, PoisonError,
        mpsc::{self, Receiver, RecvTimeoutError, Sender},
    },
    thread,
    time::Duration,
};

use crate::{
    error::{Error, ErrorKind},
    foreign, placement,
};

/// A piece of work.
pub(crate) type Job = Box<dyn FnOnce() + Send>;

#[derive(Debug)]
pub(crate) struct Housekeeper(Mutex<Option<Sender<Job>>>);

thread_local! {
    static IS_SERVICE_THREAD: Cell<bool> = const { Cell::new(false) };
}

/// Marks this thread as one of a runtime's own, which must never wait for the runtime.
pub(crate) fn enter_service_thread() {
    IS_SERVICE_THREAD.set(true);
}

/// Whether this thread is one of a runtime's own.
pub(crate) fn is_service_thread() -> bool {
    IS_SERVICE_THREAD.try_with(Cell::get).unwrap_or(false)
}

impl Housekeeper {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(None))
    }

    /// Starts the thread unless it runs.
    pub(crate) fn start(&self) -> Result<(), Error> {
        let mut sender = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if sender.is_none() {
            let (jobs, work) = mpsc::channel();
            placement::without_signals(|| {
                thread::Builder::new().name("dmaring-keeper".into()).spawn(move || run(&work))
            })
            .map_err(|error| {
                Error::with_source(
                    ErrorKind::LimitExceeded,
                    format!("cannot start the housekeeper thread: {error}"),
                    error,
                )
            })?;
            *sender = Some(jobs);
        }
        Ok(())
    }

    /// Has `job` done soon; here and now if there is no thread.
    pub(crate) fn run(&self, job: Job) {
        let sent = {
            let sender = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            match &*sender {
                Some(sender) => sender.send(job).map_err(|refused| refused.0),
                None => Err(job),
            }
        };
        if let Err(job) = sent {
            carry_out(job);
        }
    }

    /// Waits until everything is done that was sent before, but no longer than `limit`.
    pub(crate) fn settle(&self, limit: Duration) {
        let (done, settled) = mpsc::channel::<()>();
        self.run(Box::new(move || drop(done)));
        // Nothing is ever sent: the end of the other side is the answer.
        if settled.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
            tracing::warn!("memory of the runtime is still being unmapped or freed");
        }
    }
}

fn run(work: &Receiver<Job>) {
    enter_service_thread();
    work.iter().for_each(carry_out);
}

/// A job drops memory that users registered: foreign code.
fn carry_out(job: Job) {
    if foreign::call(job).is_none() {
        tracing::error!("dropping a region's memory panicked");
    }
}
