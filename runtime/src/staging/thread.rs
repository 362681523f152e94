//! The staging thread: how it runs, and how it ends.
//!
//! The poller stops it, once the engines are halted. Transfers with the kernel are then waited for a while; one
//! that hangs goes on in the kernel, on pages and files that the kernel keeps. If the thread itself cannot go
//! on, it asks for the runtime's end, so that the poller halts the engines and resolves every operation.

use std::{
    io,
    panic::{self, AssertUnwindSafe},
    thread,
    time::Duration,
};

use super::pipeline::Pipeline;
use crate::housekeeper;

/// How long transfers are waited for at the end.
const PATIENCE: Duration = Duration::from_secs(1);

/// Runs until the poller says stop, and gives everything back. `false`: the kernel is not through with a transfer.
pub(super) fn run(mut pipeline: Pipeline) -> bool {
    housekeeper::enter_service_thread();
    let outcome = panic::catch_unwind(AssertUnwindSafe(|| work(&mut pipeline)));
    if !matches!(outcome, Ok(Ok(()))) {
        lose(&pipeline, outcome);
    }
    let drained = pipeline.drain(PATIENCE);
    pipeline.give_back();
    drained
}

fn work(pipeline: &mut Pipeline) -> io::Result<()> {
    while !pipeline.port.is_stopping() {
        if !pipeline.turn()? {
            pipeline.sleep()?;
        }
    }
    Ok(())
}

/// Ends the runtime, and waits for the poller to have stopped the engines.
fn lose(pipeline: &Pipeline, outcome: thread::Result<io::Result<()>>) {
    match outcome {
        Ok(Err(error)) => {
            tracing::error!(%error, "the staging thread's io_uring failed: the runtime ends")
        }
        _ => tracing::error!("the staging thread panicked: the runtime ends"),
    }
    let shared = &pipeline.shared;
    shared.lifecycle.request_end(shared.clock.now());
    shared.summon_poller();
    while !pipeline.port.is_stopping() {
        thread::park();
    }
}
