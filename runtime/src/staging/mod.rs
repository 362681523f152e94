//! Files that are never mapped: their operations, carried out block by block through pinned staging buffers.
//!
//! The poller hands an operation that names such a file to the staging thread, which has an io_uring of its
//! own and a ring pair of its own. For each block it reads the source into a staging buffer, or has an engine
//! copy it there; has an engine copy from buffer to buffer, or to the destination; and writes what is to
//! be written. As many blocks are under way at a time as there are. When the last block has ended it tells the poller,
//! which answers the application: so fences, permits and order are the same for files as for memory.
//!
//! The thread starts with the first file that needs it, and holds the runtime's shared part as the poller does: until
//! the poller ends, which stops it. Neither waits for the other; who drops the runtime waits for both.

mod blocks;
mod file;
mod job;
mod judge;
mod kernel;
mod pipeline;
mod port;
mod step;
mod steps;
#[cfg(all(test, not(miri)))]
mod tests;
mod thread;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{Ordering, fence},
        mpsc::{self, Receiver, RecvTimeoutError, SendError},
    },
    thread::{Builder, JoinHandle, Thread},
    time::Duration,
};

use dmaring_ring::Key;

pub(crate) use self::{
    blocks::BlockSettings,
    file::StagedFile,
    port::{DONE, ENTRIES, HELD, Source, StagedRequest, StagingPort, outcome},
};
use self::{blocks::Blocks, pipeline::Pipeline};
use crate::{
    client::RingPair,
    error::{Error, ErrorKind},
    placement,
    shared::Shared,
};

/// How long the end of the thread is waited for: longer than it waits itself.
const PATIENCE: Duration = Duration::from_secs(2);

/// A runtime's staged files, and the thread that serves them once there was one.
#[derive(Debug)]
pub(crate) struct Staging {
    settings: BlockSettings,
    /// The files by region: entered before the region has a handle, removed after its last.
    files: Mutex<HashMap<Key, Arc<StagedFile>>>,
    service: OnceLock<Service>,
    /// Held by whoever starts the thread.
    starting: Mutex<()>,
}

/// The staging thread, from outside.
#[derive(Debug)]
pub(crate) struct Service {
    port: Arc<StagingPort>,
    thread: Thread,
    /// Taken by whoever waits for the thread.
    end: Mutex<Option<(JoinHandle<()>, Receiver<bool>)>>,
}

impl Staging {
    pub(crate) fn new(settings: BlockSettings) -> Self {
        Self {
            settings,
            files: Mutex::default(),
            service: OnceLock::new(),
            starting: Mutex::default(),
        }
    }

    /// The thread, if it was started.
    ///
    /// The poller that ends closes the permits and then asks here; who starts a thread sets it and then looks at the
    /// permits. A full fence stands between the two steps on both sides, so no thread is left unstopped.
    pub(crate) fn get(&self) -> Option<&Service> {
        fence(Ordering::SeqCst);
        self.service.get()
    }

    /// Says which file a region is.
    pub(crate) fn enter(&self, key: Key, file: Arc<StagedFile>) {
        lock(&self.files).insert(key, file);
    }

    /// The region's life is over.
    pub(crate) fn leave(&self, key: Key) {
        let file = lock(&self.files).remove(&key);
        drop(file);
    }

    /// The file that a region is; `None` for memory.
    fn find(&self, key: Key) -> Option<Arc<StagedFile>> {
        lock(&self.files).get(&key).cloned()
    }
}

impl Service {
    pub(crate) fn port(&self) -> &Arc<StagingPort> {
        &self.port
    }

    /// Tells the thread to end; the engines have stopped. Does not wait.
    pub(crate) fn stop(&self) {
        self.port.stop();
        self.thread.unpark();
    }

    /// Waits for the thread's end, which somebody has asked for. A thread that the kernel holds is left alone.
    pub(crate) fn join(&self) {
        let Some((handle, end)) = lock(&self.end).take() else { return };
        match end.recv_timeout(PATIENCE) {
            Ok(true) | Err(RecvTimeoutError::Disconnected) => {
                if handle.join().is_err() {
                    tracing::error!("the staging thread panicked");
                }
            }
            Ok(false) | Err(RecvTimeoutError::Timeout) => {
                tracing::error!("a file's transfer has not ended: the kernel may finish it later");
            }
        }
    }
}

impl Shared {
    /// Starts the staging thread, unless it runs or the runtime takes no more operations.
    pub(crate) fn start_staging(self: &Arc<Self>) -> Result<(), Error> {
        self.check_process()?;
        let staging = &self.staging;
        let _starting = lock(&staging.starting);
        if staging.service.get().is_some() || self.client.permits.is_closed() {
            return Ok(());
        }
        let service = self.start_service()?;
        let service = staging.service.get_or_init(|| service);
        fence(Ordering::SeqCst);
        if self.client.permits.is_closed() {
            // The poller may have ended without seeing it.
            service.stop();
        }
        Ok(())
    }

    fn start_service(self: &Arc<Self>) -> Result<Service, Error> {
        // Each operation holds a permit, and there are as many as the application's ring has entries.
        let operations = self.client.pair.submission_slots().len();
        let port = StagingPort::new(operations)
            .map_err(|error| Error::system("cannot create the staging thread's rings", error))?;
        let port = Arc::new(port);
        let (hand_over, take_over) = mpsc::sync_channel::<Pipeline>(1);
        let (tell, end) = mpsc::channel();
        let start = move || {
            Builder::new().name("dmaring-files".into()).spawn(move || {
                let Ok(pipeline) = take_over.recv() else { return };
                // Nobody listens where the runtime was dropped on a thread of its own.
                let _ = tell.send(thread::run(pipeline));
            })
        };
        // First the thread, then what has to be given back: by the thread.
        let handle = placement::without_signals(start).map_err(|error| {
            let message = format!("cannot start the staging thread: {error}");
            Error::with_source(ErrorKind::LimitExceeded, message, error)
        })?;
        let thread = handle.thread().clone();
        let blocks = Blocks::create(self, self.staging.settings)?;
        let pipeline = Pipeline::new(self.clone(), port.clone(), blocks);
        if let Err(SendError(pipeline)) = hand_over.send(pipeline) {
            pipeline.give_back();
            return Err(Error::engine_lost());
        }
        Ok(Service { port, thread, end: Mutex::new(Some((handle, end))) })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
