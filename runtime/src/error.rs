//! What can go wrong with an operation or a region, and how it is said.

use std::{error, fmt, io};

use dmaring_engine::{MapError, Status, StatusKind};

/// The error of an operation, of opening a region, or of shutting down.
///
/// [`Error::kind`] is for programs; the message is for people and carries the offending value, the limit and,
/// where there is one, the remedy.
pub struct Error(Box<Repr>);

struct Repr {
    kind: ErrorKind,
    message: String,
    source: Option<Box<dyn error::Error + Send + Sync>>,
    /// An engine may still be at the operation's memory.
    in_use: bool,
}

/// What went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A range reaches beyond its region.
    OutOfBounds,
    /// Source and destination of one copy overlap.
    Overlap,
    /// An address, length or offset is no multiple of the device's alignment. When opening only.
    Misaligned,
    /// The region is not, or no longer, mapped for the engine.
    Unmapped,
    /// The file, the memory or the engine cannot do this.
    Unsupported,
    /// The engine reported a failure of this operation. Its destination range holds anything.
    Device(DeviceError),
    /// The time allowed ran out: for the operation, whose destination an engine may still write, or for the shutdown.
    TimedOut,
    /// The operation was given up before it began: nothing was written.
    Aborted,
    /// The runtime shut down before the operation ended.
    Shutdown,
    /// Every entry of the submission ring is in use, and the caller would not wait.
    QueueFull,
    /// The runtime takes no more operations, or belongs to the process that forked this one.
    Closed,
    /// The device, file or memory is in use by somebody else.
    Busy,
    /// A limit of the system or of this library was reached.
    LimitExceeded,
    /// The system does not permit it, or the region was opened for reading only.
    Permission,
    /// Reading or writing a file failed, or it is shorter than it was when it was opened.
    Io,
    /// The memory does not outlive a loss of power, as far as it is known: nothing in it can be made durable.
    Volatile,
    /// The engines that could do it, or the thread that drives them, are gone.
    EngineLost,
}

/// Where and how an engine failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeviceError {
    /// What the engine reported.
    pub status: Status,
    /// What the CPU reported that then tried again; `None` where none did.
    pub retry: Option<StatusKind>,
    /// Which segment of a vectored copy failed, counted from 0; `None` for other operations.
    pub segment: Option<u32>,
    /// The source offset of the failing part, in bytes within its region; `None` for a fill.
    pub source_offset: Option<u64>,
    /// The destination offset of the failing part, in bytes within its region.
    pub destination_offset: u64,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Repr { kind, message: message.into(), source: None, in_use: false }))
    }

    pub(crate) fn with_source(
        kind: ErrorKind,
        message: impl Into<String>,
        source: impl Into<Box<dyn error::Error + Send + Sync>>,
    ) -> Self {
        let (message, source) = (message.into(), Some(source.into()));
        Self(Box::new(Repr { kind, message, source, in_use: false }))
    }

    /// The same, of an operation that an engine may still be at.
    pub(crate) fn with_memory_in_use(mut self) -> Self {
        self.0.in_use = true;
        self
    }

    /// Whether an engine may still be at the operation's memory. Where it may not, it never will be.
    pub(crate) fn is_memory_in_use(&self) -> bool {
        self.0.in_use
    }

    /// The error of a system call on something named `what`.
    pub(crate) fn system(what: impl fmt::Display, error: impl Into<io::Error>) -> Self {
        let error = error.into();
        let kind = match error.kind() {
            io::ErrorKind::PermissionDenied => ErrorKind::Permission,
            io::ErrorKind::ResourceBusy => ErrorKind::Busy,
            io::ErrorKind::OutOfMemory
            | io::ErrorKind::QuotaExceeded
            | io::ErrorKind::StorageFull => ErrorKind::LimitExceeded,
            io::ErrorKind::Unsupported => ErrorKind::Unsupported,
            _ => ErrorKind::Io,
        };
        Self::with_source(kind, format!("{what}: {error}"), error)
    }

    /// The error of a refused mapping of `length` bytes.
    pub(crate) fn mapping(engine: &str, length: u64, error: MapError) -> Self {
        let kind = match error {
            MapError::LockedMemory { .. }
            | MapError::Addresses { .. }
            | MapError::Mappings { .. } => ErrorKind::LimitExceeded,
            MapError::Unsupported => ErrorKind::Unsupported,
            MapError::OtherProcess => ErrorKind::Closed,
            _ => ErrorKind::Unmapped,
        };
        let message = format!("cannot map {length} bytes for engine {engine}: {error}");
        Self::with_source(kind, message, error)
    }

    pub(crate) fn shutdown() -> Self {
        Self::new(ErrorKind::Shutdown, "the runtime shut down before the operation ended")
    }

    pub(crate) fn closed() -> Self {
        Self::new(
            ErrorKind::Closed,
            "the runtime takes no more operations: it was shut down, or its engines were lost",
        )
    }

    pub(crate) fn forked() -> Self {
        Self::new(
            ErrorKind::Closed,
            "the runtime belongs to the process that forked this one: build another here",
        )
    }

    pub(crate) fn engine_lost() -> Self {
        Self::new(
            ErrorKind::EngineLost,
            "the engine or the thread that drives it is gone: build another runtime",
        )
    }

    /// The same once more, of another operation that it stands for. Without the source.
    pub(crate) fn again(&self) -> Self {
        let Repr { kind, message, in_use, .. } = &*self.0;
        let (message, source) = (message.clone(), None);
        Self(Box::new(Repr { kind: *kind, message, source, in_use: *in_use }))
    }

    /// The same, of a segment of a vectored copy.
    pub(crate) fn in_segment(mut self, number: u32) -> Self {
        if let ErrorKind::Device(device) = &mut self.0.kind {
            device.segment = Some(number);
        }
        self.0.message.insert_str(0, &format!("segment {number}: "));
        self
    }

    /// What went wrong.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.0.kind)
            .field("message", &self.0.message)
            .finish_non_exhaustive()
    }
}

impl error::Error for Error {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}
