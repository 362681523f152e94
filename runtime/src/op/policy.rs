//! What is done about a part that an engine fails to copy.

use dmaring_engine::StatusKind;

/// What is done about a part that an engine fails to copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnError {
    /// The operation fails with the engine's status and the offsets of the part.
    Fail,
    /// The part is done again by an engine that is the host's CPU, which also does what was not begun of the operation; what
    /// is done already is not done again. The operation succeeds if that does.
    ///
    /// Only where the CPU can do better: after a [`StatusKind`] that tells of the engine, of its way to memory, or of the
    /// destination (`SourceAddress`, `DestinationAddress`, `Write`, `Descriptor`, `Hang`, `Gone`, `Requested`, `Reset`). After one that
    /// tells of bad data (`Read`, `Integrity`), or of nothing that is known (`Unspecified`), the operation fails as with
    /// [`Fail`](OnError::Fail): the CPU would read the same memory, and a load from poisoned memory ends the process with SIGBUS.
    ///
    /// No status is a promise that memory is sound. Where it may be poisoned, or is a device's, choose [`Fail`](OnError::Fail):
    /// an absent device reads as all ones.
    RetryOnCpu,
}

/// Whether a CPU can do better, where an engine has failed in this way, without being sent to bad memory.
pub(crate) const fn is_for_a_cpu(kind: StatusKind) -> bool {
    use StatusKind::{
        Descriptor, DestinationAddress, Gone, Hang, Requested, Reset, SourceAddress, Write,
    };
    matches!(
        kind,
        SourceAddress | DestinationAddress | Write | Descriptor | Hang | Gone | Requested | Reset
    )
}

/// A runtime's policy, and what it could do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Policy {
    /// For operations that do not say.
    pub(crate) on_error: OnError,
    /// Whether an engine is the host's CPU.
    pub(crate) has_cpu: bool,
}
