//! The runtime's handle: opening regions, batches, statistics, the end.

use std::{
    future::poll_fn,
    os::fd::{AsFd, BorrowedFd},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    thread::{self, JoinHandle},
    time::Duration,
};

use dmaring_engine::{DeviceMemory, Rights};

use crate::{
    builder::Builder,
    error::{Error, ErrorKind},
    housekeeper,
    lifecycle::Outcome,
    limits::Limits,
    op::{self, Batch, CopyVectored, Segment},
    placement::Policy,
    region::{self, BarOptions, PinnedBuffer, Region},
    restore::Restored,
    shared::Shared,
    stats::Stats,
};

/// How long dropping a runtime waits for what is in flight.
const DROP_DEADLINE: Duration = Duration::from_secs(5);

/// A poller with its engines and rings: the thing that makes copies.
///
/// Made by [`Runtime::builder`]. It is the owner: when it is dropped, what is in flight is waited for, up to 5
/// seconds of the runtime's clock and not while the thread panics, the engines are halted, which may take each a second, and closed, which takes as long as the kernel needs, and every later operation on its regions is refused. It belongs
/// to the process that built it: in a child after fork its handles refuse to work and give nothing back.
#[derive(Debug)]
pub struct Runtime {
    shared: Arc<Shared>,
    /// Taken by whoever waits for the poller.
    poller: Mutex<Option<JoinHandle<()>>>,
}

impl Runtime {
    /// A builder with the default settings and no engine.
    pub fn builder() -> Builder {
        Builder::default()
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    pub(crate) fn new(shared: Arc<Shared>, poller: JoinHandle<()>) -> Self {
        Self { shared, poller: Mutex::new(Some(poller)) }
    }

    /// Opens a whole device-dax node, such as `/dev/dax0.0`.
    ///
    /// # Errors
    ///
    /// [`Unsupported`](ErrorKind::Unsupported) for anything but a device-dax node, with what to use instead;
    /// [`Permission`](ErrorKind::Permission), [`Busy`](ErrorKind::Busy), or [`LimitExceeded`](ErrorKind::LimitExceeded) where an
    /// engine cannot map it.
    pub fn open_dax(&self, path: impl AsRef<Path>) -> Result<Region, Error> {
        region::open_dax(&self.shared, path.as_ref(), 0, None)
    }

    /// Opens `length` bytes at `offset` of a device-dax node. Both are multiples of the device's alignment.
    ///
    /// # Errors
    ///
    /// As [`open_dax`](Runtime::open_dax); [`Misaligned`](ErrorKind::Misaligned), which names the alignment, and
    /// [`OutOfBounds`](ErrorKind::OutOfBounds).
    pub fn open_dax_range(
        &self,
        path: impl AsRef<Path>,
        offset: u64,
        length: u64,
    ) -> Result<Region, Error> {
        region::open_dax(&self.shared, path.as_ref(), offset, Some(length))
    }

    /// Opens a regular file or a block device for reading and writing, with the length that it has now.
    ///
    /// A file on tmpfs or hugetlbfs, or a memfd, is mapped: do not truncate it while it is open, since the kernel
    /// answers an access beyond its end with SIGBUS (a memfd that takes seals is sealed against that, or staged if it cannot be). Any
    /// other file is read and written through staging buffers with io_uring: if it is truncated, the operation
    /// fails with [`Io`](ErrorKind::Io) and the offset. A block device, which is a raw disk or a part of one, is always
    /// staged, and claimed for as long as the region lives: nobody can mount it, and no second region of it is opened for
    /// writing.
    ///
    /// # Errors
    ///
    /// [`Io`](ErrorKind::Io), [`Permission`](ErrorKind::Permission), [`Unsupported`](ErrorKind::Unsupported) for what is neither
    /// a regular file nor a block device, or where files have to be staged and there is no io_uring,
    /// [`Busy`](ErrorKind::Busy) for a block device that is mounted, part of another, or claimed,
    /// [`OutOfBounds`](ErrorKind::OutOfBounds) for an empty one, [`LimitExceeded`](ErrorKind::LimitExceeded) where
    /// locked memory does not suffice.
    pub fn open_file(&self, path: impl AsRef<Path>) -> Result<Region, Error> {
        region::open_file(&self.shared, path.as_ref(), Rights::ReadWrite)
    }

    /// Opens a regular file or a block device for reading: a source only. A block device is not claimed, and may be mounted.
    /// Otherwise as [`open_file`](Runtime::open_file).
    ///
    /// # Errors
    ///
    /// As [`open_file`](Runtime::open_file).
    pub fn open_file_read_only(&self, path: impl AsRef<Path>) -> Result<Region, Error> {
        region::open_file(&self.shared, path.as_ref(), Rights::Read)
    }

    /// Allocates zeroed memory: 2 MiB pages if the system has some free and `length` fills one, else ordinary ones.
    ///
    /// # Errors
    ///
    /// [`OutOfBounds`](ErrorKind::OutOfBounds) for 0 bytes, [`LimitExceeded`](ErrorKind::LimitExceeded) where memory or
    /// locked memory does not suffice.
    pub fn allocate(&self, length: usize) -> Result<Region, Error> {
        region::allocate(&self.shared, length)
    }

    /// Makes a region of memory the application has. It is dropped once the region is gone;
    /// [`Region::close_into`] gives it back.
    ///
    /// An engine behind an IOMMU maps whole pages: what else lies on the buffer's first and last page becomes
    /// reachable for the device, too. Buffers that begin and end on page boundaries avoid that.
    ///
    /// # Errors
    ///
    /// [`OutOfBounds`](ErrorKind::OutOfBounds) for an empty buffer, [`Busy`](ErrorKind::Busy) for one that shares bytes
    /// with a buffer that is registered already, [`LimitExceeded`](ErrorKind::LimitExceeded) where an
    /// engine cannot map it. The buffer is dropped then.
    pub fn register(&self, buffer: impl PinnedBuffer) -> Result<Region, Error> {
        region::register(&self.shared, buffer)
    }

    /// Opens memory of a device, a PCIe BAR, for copies from and to it: peer to peer.
    ///
    /// A driver maps it: `dmaring_driver::pci::PeerBar::open`, or `dmaring_driver::vfio::Container::bar` for one whose
    /// function is bound to vfio-pci. Engines write it directly. As a source it is read by the CPU alone, so that there must
    /// be an engine that is the host's; see [`open_bar_with`](Runtime::open_bar_with). The CPU reaches it by aligned
    /// accesses of 4 and 8 bytes, narrower ones only where a range begins or ends within a doubleword.
    ///
    /// That it is mapped does not say that the platform lets one device reach the other: verify the first copy.
    ///
    /// # Errors
    ///
    /// [`Unsupported`](ErrorKind::Unsupported) for a BAR that is not prefetchable, or [`Unmapped`](ErrorKind::Unmapped)
    /// where the IOMMU of an engine does not map it; otherwise as [`allocate`](Runtime::allocate).
    pub fn open_bar(&self, bar: impl DeviceMemory) -> Result<Region, Error> {
        self.open_bar_with(bar, BarOptions::new())
    }

    /// The same, with options.
    ///
    /// # Errors
    ///
    /// As [`open_bar`](Runtime::open_bar).
    pub fn open_bar_with(
        &self,
        bar: impl DeviceMemory,
        options: BarOptions,
    ) -> Result<Region, Error> {
        region::open_bar(&self.shared, bar, options)
    }

    /// What this runtime has room for: see [`Limits`].
    #[must_use]
    pub fn limits(&self) -> Limits {
        Limits::of(&self.shared)
    }

    /// A batch to collect operations in, and submit them under one doorbell.
    pub fn batch(&self) -> Batch {
        Batch::new(self.shared.clone())
    }

    /// Copies all of these segments, in any order and at the same time: one entry of the ring, one completion.
    ///
    /// It resolves to the bytes of all segments together. Nothing is begun unless every segment is within its regions and no
    /// segment writes what another reads or writes. What begins at once is given to an engine under one doorbell: an engine takes as many
    /// segments at a time as half of its depth.
    ///
    /// The segments are copied into a list, of which a runtime keeps as many as were ever in use at the same time, up to 1024.
    ///
    /// # Errors
    ///
    /// As with [`Region::copy_to`], with the number of the segment in the message and in
    /// [`DeviceError::segment`](crate::DeviceError::segment). When a segment fails, those not begun are not begun; the
    /// destinations of all hold anything. [`LimitExceeded`](ErrorKind::LimitExceeded) for more than
    /// [`Segment::MAX`] segments.
    ///
    /// # Cancellation
    ///
    /// As with [`Region::copy_to`], for all segments alike.
    pub fn copy_vectored(&self, segments: &[Segment<'_>]) -> CopyVectored {
        op::copy_vectored(&self.shared, segments)
    }

    /// What has been done so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.shared.counters.snapshot(self.shared.client.permits.out())
    }

    /// Changes how an engine is chosen, for operations that begin from now on.
    ///
    /// # Errors
    ///
    /// [`Unsupported`](ErrorKind::Unsupported) for a calibration of another machine or of other engines, which is named;
    /// [`Busy`](ErrorKind::Busy) while the runtime is being calibrated.
    pub fn set_policy(&self, policy: &Policy) -> Result<(), Error> {
        let shared = &self.shared;
        let course = policy
            .course(shared.striping, &shared.engines, shared.pollers)
            .map_err(|why| Error::new(ErrorKind::Unsupported, why))?;
        if shared.steering.try_set(course) {
            return Ok(());
        }
        let message = "the runtime is being calibrated: set the policy when that has ended";
        Err(Error::new(ErrorKind::Busy, message))
    }

    /// Brings back the engine of this name that was retired because it failed too often, or was lost: resets it, and gives
    /// it operations again. At once where it works already; of several engines of one name, the first that does not.
    ///
    /// # Errors
    ///
    /// [`Unsupported`](ErrorKind::Unsupported) if no engine has the name; [`EngineLost`](ErrorKind::EngineLost) if the engine
    /// does not come back; [`Closed`](ErrorKind::Closed) if the runtime ends first, or in a child after fork.
    ///
    /// # Cancellation
    ///
    /// The engine is reset all the same once the future was polled.
    pub async fn restore_engine(&self, name: &str) -> Result<(), Error> {
        self.shared.check_process()?;
        let stats = self.stats().engines;
        let named = || stats.iter().enumerate().filter(|(_, engine)| engine.name == name);
        let broken = named().find(|(_, engine)| engine.lost || engine.retired);
        let Some((lane, _)) = broken.or_else(|| named().next()) else {
            let names = self.shared.counters.names.join(", ");
            let message = format!("no engine is named {name}: there are {names}");
            return Err(Error::new(ErrorKind::Unsupported, message));
        };
        let wish = self.shared.restores.order(lane);
        self.shared.summon_poller();
        match poll_fn(|context| wish.poll(context)).await {
            Restored::Works => Ok(()),
            Restored::Failed(status) => {
                let why = status.map_or("it failed again".to_owned(), |status| status.to_string());
                let message = format!("engine {name} did not come back: {why}");
                Err(Error::new(ErrorKind::EngineLost, message))
            }
            Restored::Ended => Err(Error::closed()),
        }
    }

    /// A descriptor for `epoll` loops that have no executor: it becomes readable when operations have ended.
    ///
    /// Ask for it before submitting. When it is readable, read its eight bytes (an `eventfd` counter; non-blocking), then poll
    /// the futures. From the first call on the poller makes one system call per batch of completions.
    ///
    /// # Errors
    ///
    /// [`LimitExceeded`](ErrorKind::LimitExceeded) or [`Io`](ErrorKind::Io) if the process can open no more descriptors;
    /// [`Closed`](ErrorKind::Closed) in a child after fork.
    pub fn event_fd(&self) -> Result<BorrowedFd<'_>, Error> {
        self.shared.check_process()?;
        let event = self.shared.event();
        Ok(event.map_err(|error| Error::system("cannot create an eventfd", error))?.as_fd())
    }

    /// Takes no more operations, waits up to `deadline` for those in flight, halts the engines. What is still in flight at the
    /// deadline, and what waits for a place in the ring, resolves to [`Shutdown`](ErrorKind::Shutdown).
    ///
    /// Regions stay readable and writable afterwards. The last step blocks the calling thread for the moment that the
    /// runtime's threads need to end, and up to 2 s where a file system hangs.
    ///
    /// # Errors
    ///
    /// [`TimedOut`](ErrorKind::TimedOut) if operations had to be given up, which is not waited for where only a lost engine keeps them; [`EngineLost`](ErrorKind::EngineLost) if an engine
    /// did not stop, and memory stays mapped for good, or if the poller had panicked.
    ///
    /// # Cancellation
    ///
    /// The shutdown begins with the first poll and goes on if the future is dropped after that.
    pub async fn shutdown(&self, deadline: Duration) -> Result<(), Error> {
        self.shared.check_process()?;
        self.begin_shutdown(deadline);
        let outcome = poll_fn(|context| self.shared.lifecycle.poll_end(context)).await;
        if !housekeeper::is_service_thread() {
            // The poller has said its last word; its thread needs a moment to be gone.
            self.join();
        }
        match outcome {
            Outcome::Drained => Ok(()),
            Outcome::GivenUp(operations) => Err(Error::new(
                ErrorKind::TimedOut,
                format!(
                    "{operations} operations were still in flight after {deadline:?}, or an engine was lost that keeps them, and were given up"
                ),
            )),
            Outcome::Leaked(operations) => Err(Error::new(
                ErrorKind::EngineLost,
                format!(
                    "an engine did not stop: {operations} operations were given up, and all regions stay mapped until the process ends"
                ),
            )),
            Outcome::Lost => Err(Error::engine_lost()),
        }
    }

    fn begin_shutdown(&self, deadline: Duration) {
        self.shared.lifecycle.request_end(self.shared.clock.now().saturating_add(deadline));
        // Closed here, so that no later operation is taken; the poller refuses those who wait.
        self.shared.client.close();
        self.shared.summon_poller();
    }

    fn join(&self) {
        let handle = self.poller.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(handle) = handle
            && handle.join().is_err()
        {
            tracing::error!("the poller's thread panicked");
        }
        // The poller has stopped it.
        if let Some(staging) = self.shared.staging.get() {
            staging.join();
        }
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        if self.shared.origin.is_elsewhere() {
            // The thread lives in the parent: there is nothing to wait for and nothing to give back.
            let handle = self.poller.get_mut().unwrap_or_else(PoisonError::into_inner).take();
            std::mem::forget(handle);
            return;
        }
        self.begin_shutdown(DROP_DEADLINE);
        // On one of our own threads, inside a waker, say, nobody can be waited for: the poller ends by itself.
        if !housekeeper::is_service_thread() && !thread::panicking() {
            self.join();
            // What operations held last may still be on its way: a device that is opened next would be found busy.
            self.shared.housekeeper.settle(DROP_DEADLINE);
        }
    }
}
