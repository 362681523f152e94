//! Example programs for dmaring, each a file of its own beside this crate's manifest:
//!
//! - `hello_copy`: one copy, awaited; the example in the README.
//! - `tokio_pipeline`: stages on tokio's threads, with batches, a fence, and a bound on what is in flight.
