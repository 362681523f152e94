//! The examples, run to their end.

use crate::{command::Run, failure::Outcome};

const EXAMPLES: &[&str] = &["hello_copy", "tokio_pipeline", "emulated_ioat", "durable_log"];

/// Runs every example.
pub(crate) fn run() -> Outcome {
    for example in EXAMPLES {
        Run::cargo()
            .args(["run", "--release", "--package", "dmaring-examples", "--example", example])
            .limit(10)
            .run()?;
    }
    Ok(())
}
