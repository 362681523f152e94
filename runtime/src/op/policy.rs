//! What is done about a part that an engine fails to copy.

/// What is done about a part that an engine fails to copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnError {
    /// The operation fails with the engine's status and the offsets of the part.
    Fail,
    /// The part, and nothing else, is done again by an engine that is the host's CPU; the operation succeeds if that
    /// does.
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
