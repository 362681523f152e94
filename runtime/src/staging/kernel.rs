//! What the staging thread asks of the kernel: reads and writes through its io_uring, and how files want them.
//!
//! The staging memory is registered with the ring once. The kernel then holds its pages itself, checks every
//! range against them, and keeps them until the last transfer on them has ended, whatever becomes of
//! this process's mapping. No address of anything else is ever handed over.
#![allow(unsafe_code, reason = "island: hands file transfers on registered memory to the kernel")]

use std::{
    fs::File,
    io,
    mem::MaybeUninit,
    os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd},
    time::{Duration, Instant},
};

use io_uring::{IoUring, opcode, squeue, types};
use memmap2::MmapRaw;

/// The token of the watched descriptor. No transfer has it.
pub(super) const WATCH: u64 = u64::MAX;

/// The staging thread's io_uring and the memory registered with it.
pub(super) struct Uring {
    ring: IoUring,
    memory: MmapRaw,
    /// Transfers whose completion was not taken.
    in_flight: usize,
}

/// Why there is no io_uring.
#[derive(Debug)]
pub(super) enum Refusal {
    /// It could not be created.
    Create(io::Error),
    /// It did not take the memory.
    Register(io::Error),
}

/// A read from or a write to a file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Transfer<'a> {
    pub(super) file: BorrowedFd<'a>,
    /// In the file, in bytes.
    pub(super) offset: u64,
    /// In the registered memory, in bytes.
    pub(super) at: u64,
    /// In bytes.
    pub(super) length: u64,
}

impl Uring {
    /// A ring for `entries` transfers at a time, on `memory`.
    pub(super) fn new(entries: u32, memory: MmapRaw) -> Result<Self, Refusal> {
        let ring = IoUring::new(entries).map_err(Refusal::Create)?;
        let buffer = libc::iovec { iov_base: memory.as_mut_ptr().cast(), iov_len: memory.len() };
        // SAFETY: (1) the range is one mapping, readable and writable, that `Self` keeps; (2) no Rust code accesses
        // it, so that the kernel may write there at any time; (3) the kernel pins the pages and never
        // uses the address after that.
        unsafe { ring.submitter().register_buffers(&[buffer]) }.map_err(Refusal::Register)?;
        Ok(Self { ring, memory, in_flight: 0 })
    }

    pub(super) fn memory(&self) -> &MmapRaw {
        &self.memory
    }

    /// Queues a read from a file into the memory.
    pub(super) fn read(&mut self, token: u64, transfer: &Transfer<'_>) -> io::Result<()> {
        let (address, length) = self.span(transfer)?;
        let file = types::Fd(transfer.file.as_raw_fd());
        let entry = opcode::ReadFixed::new(file, address, length, 0).offset(transfer.offset);
        self.push_transfer(entry.build().user_data(token))
    }

    /// Queues a write from the memory to a file.
    pub(super) fn write(&mut self, token: u64, transfer: &Transfer<'_>) -> io::Result<()> {
        let (address, length) = self.span(transfer)?;
        let file = types::Fd(transfer.file.as_raw_fd());
        let entry = opcode::WriteFixed::new(file, address, length, 0).offset(transfer.offset);
        self.push_transfer(entry.build().user_data(token))
    }

    /// Queues the synchronisation of a file's data with its storage, and of what is needed to read it: `fdatasync`.
    pub(super) fn sync(&mut self, token: u64, file: BorrowedFd<'_>) -> io::Result<()> {
        let file = types::Fd(file.as_raw_fd());
        let entry = opcode::Fsync::new(file).flags(types::FsyncFlags::DATASYNC);
        self.push_transfer(entry.build().user_data(token))
    }

    /// Queues a wait for `file` to become readable; its completion's token is [`WATCH`].
    pub(super) fn watch(&mut self, file: BorrowedFd<'_>) -> io::Result<()> {
        let file = types::Fd(file.as_raw_fd());
        self.push(&opcode::PollAdd::new(file, libc::POLLIN as u32).build().user_data(WATCH))
    }

    /// Starts what was queued.
    pub(super) fn submit(&mut self) -> io::Result<()> {
        if self.ring.submission().is_empty() {
            return Ok(());
        }
        again_later(self.ring.submit())
    }

    /// Starts what was queued and sleeps until there is a completion.
    pub(super) fn submit_and_wait(&mut self) -> io::Result<()> {
        again_later(self.ring.submit_and_wait(1))
    }

    /// The next completion: its token, and bytes or a negative error number.
    pub(super) fn next_completion(&mut self) -> Option<(u64, i32)> {
        let completion = self.ring.completion().next()?;
        let token = completion.user_data();
        if token != WATCH {
            self.in_flight = self.in_flight.saturating_sub(1);
        }
        Some((token, completion.result()))
    }

    /// Waits for every transfer to end, at most for `patience`. `false`: some have not.
    pub(super) fn drain(&mut self, patience: Duration) -> bool {
        let end = Instant::now() + patience;
        loop {
            while self.next_completion().is_some() {}
            let left = end.saturating_duration_since(Instant::now());
            if self.in_flight == 0 || left.is_zero() || !self.ring.params().is_feature_ext_arg() {
                return self.in_flight == 0;
            }
            let left = types::Timespec::from(left);
            let arguments = types::SubmitArgs::new().timespec(&left);
            let waited = self.ring.submitter().submit_with_args(1, &arguments).map(drop);
            let timed_out = |error: &io::Error| error.raw_os_error() == Some(libc::ETIME);
            if waited.as_ref().is_err_and(|error| !timed_out(error) && !is_passing(error)) {
                return false;
            }
        }
    }

    /// Closes the ring. What it has not ended goes on in the kernel, on pages that the kernel holds.
    pub(super) fn close(self) -> MmapRaw {
        let Self { ring, memory, .. } = self;
        drop(ring);
        memory
    }

    /// The address and length of a range, if it lies within the memory.
    fn span(&self, transfer: &Transfer<'_>) -> io::Result<(*mut u8, u32)> {
        let outside = || io::Error::other("a transfer reaches beyond the staging memory");
        let at = usize::try_from(transfer.at).map_err(|_| outside())?;
        let length = u32::try_from(transfer.length).map_err(|_| outside())?;
        let end = at.checked_add(length as usize).ok_or_else(outside)?;
        if end > self.memory.len() {
            return Err(outside());
        }
        Ok((self.memory.as_mut_ptr().wrapping_add(at), length))
    }

    fn push_transfer(&mut self, entry: squeue::Entry) -> io::Result<()> {
        self.push(&entry)?;
        self.in_flight += 1;
        Ok(())
    }

    fn push(&mut self, entry: &squeue::Entry) -> io::Result<()> {
        let mut queue = self.ring.submission();
        // SAFETY: (1) the only addresses in entries are of the registered memory, within its length (`span`), and
        // the kernel checks them against the pages it holds; (2) no Rust reference to that memory
        // exists; (3) the caller keeps the descriptor open until the completion is taken.
        unsafe { queue.push(entry) }
            .map_err(|_| io::Error::other("more transfers than the ring has entries"))
    }
}

/// Whether a system call may succeed when it is made again.
pub(super) fn is_passing(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINTR | libc::EAGAIN | libc::EBUSY))
}

/// A call that was interrupted, or came while the kernel had no room, is made again by the caller's loop.
fn again_later(outcome: io::Result<usize>) -> io::Result<()> {
    match outcome {
        Err(error) if !is_passing(&error) => Err(error),
        _ => Ok(()),
    }
}

/// The multiple of which offsets and lengths of direct transfers must be, in bytes, where the kernel says:
/// 0 for a file that takes none. Linux 6.1 on.
pub(super) fn direct_granule(file: &File) -> Option<u64> {
    let descriptor: RawFd = file.as_fd().as_raw_fd();
    let mut facts = MaybeUninit::<libc::statx>::zeroed();
    // SAFETY: (1) the descriptor is open while `file` is borrowed; (2) the path is an empty string that ends with
    // a zero byte, as AT_EMPTY_PATH has it; (3) `facts` has the size that the kernel writes.
    let outcome = unsafe {
        libc::statx(
            descriptor,
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            libc::STATX_DIOALIGN,
            facts.as_mut_ptr(),
        )
    };
    // SAFETY: a `statx` is plain numbers, for which all bytes zero, or whatever the kernel wrote, are values.
    let facts = unsafe { facts.assume_init() };
    let known = outcome == 0 && facts.stx_mask & libc::STATX_DIOALIGN != 0;
    known.then(|| u64::from(facts.stx_dio_offset_align.max(facts.stx_dio_mem_align)))
}

impl std::fmt::Debug for Uring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Uring").field("in_flight", &self.in_flight).finish_non_exhaustive()
    }
}
