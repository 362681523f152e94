//! The housekeeper: one thread for what blocks and must not run where it was asked for.
//!
//! Unmapping and freeing can take milliseconds, and the last handle to a region may die on the poller or inside
//! a waker. Such work is sent here, and so is the writing back of caches, which goes on piece by piece between
//! other work: see [`persist`](crate::persist). The thread starts with the first region and ends when the
//! runtime's last handle is gone and its work is done.
//!
//! It sleeps when it has found nothing to do. Whoever gives it something does so first and unparks it then, so that
//! it is found or the sleep does not begin.

use std::{
    cell::Cell,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{self, Receiver, RecvTimeoutError, Sender, TryRecvError},
    },
    thread::{self, Thread},
    time::Duration,
};

use crate::{
    error::{Error, ErrorKind},
    foreign,
    persist::{Persist, Worker},
    placement,
};

/// A piece of work.
pub(crate) type Job = Box<dyn FnOnce() + Send>;

#[derive(Debug)]
pub(crate) struct Housekeeper {
    started: Mutex<Option<Started>>,
    persist: Arc<Persist>,
}

/// The thread, from outside. Its end is that of the sender, which comes first.
#[derive(Debug)]
struct Started {
    jobs: Sender<Job>,
    bell: Bell,
}

/// Wakes the thread, one last time when it is dropped.
#[derive(Debug)]
struct Bell(Thread);

impl Drop for Bell {
    fn drop(&mut self) {
        self.0.unpark();
    }
}

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
    /// One that also writes back what is handed over in `persist`.
    pub(crate) fn new(persist: Arc<Persist>) -> Self {
        Self { started: Mutex::new(None), persist }
    }

    /// Starts the thread unless it runs.
    pub(crate) fn start(&self) -> Result<(), Error> {
        let mut started = self.started.lock().unwrap_or_else(PoisonError::into_inner);
        if started.is_none() {
            let (jobs, work) = mpsc::channel();
            let persist = self.persist.clone();
            let keeper = placement::without_signals(|| {
                let name = "dmaring-keeper".into();
                thread::Builder::new().name(name).spawn(move || run(&work, &persist))
            })
            .map_err(|error| {
                Error::with_source(
                    ErrorKind::LimitExceeded,
                    format!("cannot start the housekeeper thread: {error}"),
                    error,
                )
            })?;
            let thread = keeper.thread().clone();
            self.persist.serve_from(thread.clone());
            *started = Some(Started { jobs, bell: Bell(thread) });
        }
        Ok(())
    }

    /// Has `job` done soon; here and now if there is no thread.
    pub(crate) fn run(&self, job: Job) {
        let sent = {
            let started = self.started.lock().unwrap_or_else(PoisonError::into_inner);
            match &*started {
                Some(Started { jobs, bell }) => {
                    let sent = jobs.send(job).map_err(|refused| refused.0);
                    bell.0.unpark();
                    sent
                }
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

fn run(work: &Receiver<Job>, persist: &Persist) {
    enter_service_thread();
    let mut worker = Worker::default();
    loop {
        let job = work.try_recv();
        let ended = matches!(job, Err(TryRecvError::Disconnected));
        // Only what is said of a panic can panic in these: see `persist/worker.rs`. The thread lives on.
        let carried_out = job.map(|job| foreign::call(|| carry_out(job))).is_ok();
        let wrote = foreign::call(|| worker.round(persist)).unwrap_or(true);
        if ended {
            // The poller has gone before: nobody waits for a line.
            return;
        }
        if !carried_out && !wrote {
            thread::park();
        }
    }
}

/// A job drops memory that users registered: foreign code.
fn carry_out(job: Job) {
    if foreign::call(job).is_none() {
        tracing::error!("dropping a region's memory panicked");
    }
}
