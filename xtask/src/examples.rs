//! The examples, run to their end.

use crate::{command::Run, failure::Outcome, target};

const EXAMPLES: &[&str] =
    &["hello_copy", "tokio_pipeline", "emulated_ioat", "durable_log", "bounce_or_map"];

/// Runs every example.
pub(crate) fn run() -> Outcome {
    for example in EXAMPLES {
        run_one(example, &[])?;
    }
    // 8 MiB, to a file of the disk that the sources are on.
    let file = target("stream_to_file.img");
    run_one("stream_to_file", &[&file.to_string_lossy(), "8"])
}

fn run_one(example: &str, arguments: &[&str]) -> Outcome {
    Run::cargo()
        .args(["run", "--release", "--package", "dmaring-examples", "--example", example, "--"])
        .args(arguments)
        .limit(10)
        .run()
}
