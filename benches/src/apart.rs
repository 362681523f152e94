//! A runtime beside the thread that measures it.

use dmaring::{Builder, Runtime};

use crate::pinning;

/// Builds a runtime with its poller on the last core, and binds this thread to the first, where there are two.
///
/// # Panics
///
/// If the runtime cannot be built.
#[must_use]
pub fn build(mut builder: Builder) -> Runtime {
    // This thread may be pinned from the runtime before: the poller may have what it may have.
    let _ = pinning::unpin();
    let cores = pinning::available().unwrap_or_default();
    if let [_, .., last] = cores[..] {
        builder = builder.poller_core(last);
    }
    let runtime = builder.build().unwrap_or_else(|error| panic!("{error}"));
    if let [first, _, ..] = cores[..] {
        // Where that is refused the figures are those of a thread that floats.
        let _ = pinning::pin(first);
    }
    runtime
}
