//! What is done about a part that an engine fails to copy.

/// What is done about a part that an engine fails to copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnError {
    /// The operation fails with the engine's status and the offsets of the part.
    Fail,
    /// The part, and nothing else, is done again by an engine that is the host's CPU; the operation succeeds if that
    /// does.
    ///
    /// The CPU then reads and writes what the engine could not. Where memory may be poisoned, or is a device's, choose
    /// [`Fail`](OnError::Fail): a load from poisoned memory ends the process with SIGBUS, and an absent device reads as all ones.
    RetryOnCpu,
}

/// A runtime's policy, and what it could do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Policy {
    /// For operations that do not say.
    pub(crate) on_error: OnError,
    /// Whether an engine is the host's CPU.
    pub(crate) has_cpu: bool,
}
