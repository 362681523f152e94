//! The copy itself: block by block, `depth` of them in flight.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use dmaring::{Error, Region};

use super::{plan::Plan, progress::Progress};

/// What came of the copy.
#[derive(Debug)]
pub(crate) struct Transferred {
    /// Bytes of blocks that ended in success.
    pub(crate) bytes: u64,
    /// From the first submission to the last completion.
    pub(crate) time: Duration,
    /// The first block that failed.
    pub(crate) failure: Option<BlockFailure>,
}

/// A block that was not copied.
#[derive(Debug)]
pub(crate) struct BlockFailure {
    /// Where it begins, in bytes from the start of the copied range.
    pub(crate) offset: u64,
    pub(crate) error: Error,
}

/// Copies what the plan says.
///
/// Blocks are submitted in order and awaited in order, so the window is a queue. After a failure no block is
/// submitted, but those in flight are awaited: nothing writes to DST once this has returned.
pub(crate) async fn copy(
    source: &Region,
    destination: &Region,
    plan: &Plan,
    progress: &mut Progress,
) -> Transferred {
    let mut window = VecDeque::with_capacity(plan.depth);
    let (mut bytes, mut submitted, mut failure) = (0, 0, None);
    let begin = Instant::now();
    loop {
        while failure.is_none() && submitted < plan.size && window.len() < plan.depth {
            let length = plan.block.min(plan.size - submitted);
            let (from, to) = (plan.source_offset + submitted, plan.destination_offset + submitted);
            let copy = source.copy_to(from, destination, to, length);
            let copy = if plan.durable { copy.durable() } else { copy };
            window.push_back((submitted, copy.submit()));
            submitted += length;
        }
        let Some((offset, block)) = window.pop_front() else { break };
        match block.await {
            Ok(copied) => bytes += copied,
            Err(error) => failure = failure.or(Some(BlockFailure { offset, error })),
        }
        progress.set(bytes);
    }
    Transferred { bytes, time: begin.elapsed(), failure }
}

#[cfg(test)]
mod tests {
    use dmaring::{ErrorKind, Runtime, Status, StatusKind};
    use dmaring_cpu::CpuEngine;
    use dmaring_manual::ManualEngine;
    use futures::{FutureExt, executor::block_on, poll};

    use super::copy;
    use crate::copy::{
        pattern,
        plan::{Change, Plan},
        progress::Progress,
        verify,
    };

    fn plan(size: u64, block: u64, depth: usize) -> Plan {
        let change = Change::None;
        Plan { source_offset: 3, destination_offset: 5, size, block, depth, change, durable: false }
    }

    #[test]
    fn every_block_size_and_depth_copies_every_byte_and_no_other() {
        let runtime = Runtime::builder().engine(CpuEngine::new()).build().unwrap();
        for (size, block, depth) in
            [(1, 1, 1), (1000, 7, 3), (1000, 1000, 32), (100_000, 64, 2000), (1 << 20, 4095, 1)]
        {
            let plan = plan(size, block, depth);
            let source = runtime.allocate(plan.source_end() as usize).unwrap();
            let destination = runtime.allocate(plan.destination_end() as usize + 1).unwrap();
            pattern::write(&source, 3, size).unwrap();
            let copied = block_on(copy(&source, &destination, &plan, &mut Progress::hidden()));
            assert_eq!(copied.bytes, size);
            assert!(copied.failure.is_none());
            let different = verify::compare(&source, &destination, &plan, &mut Progress::hidden());
            assert_eq!(different.unwrap(), None);
            let mut outside = [0xff; 6];
            destination.read_at(0, &mut outside[..5]).unwrap();
            destination.read_at(plan.destination_end(), &mut outside[5..]).unwrap();
            assert_eq!(outside, [0; 6]);
        }
    }

    #[test]
    fn a_failing_block_ends_the_copy_after_those_in_flight() {
        let (engine, control) = ManualEngine::builder().build();
        let runtime = Runtime::builder().engine(engine).build().unwrap();
        let source = runtime.allocate(4096).unwrap();
        let destination = runtime.allocate(4096).unwrap();
        let plan = plan(1000, 100, 3);
        let mut progress = Progress::hidden();
        let mut copying = Box::pin(copy(&source, &destination, &plan, &mut progress));
        block_on(async {
            assert!(poll!(&mut copying).is_pending());
            control.wait_for_submitted(3);
            control.complete_next();
            // The window moves on: block 0 has ended and block 3 follows.
            control_until(&mut copying, || control.submitted() == 3).await;
            control.fail_next(Status { kind: StatusKind::Read, bits: 0 });
            control.complete_all();
            let copied = copying.await;
            assert_eq!(copied.bytes, 300);
            let failure = copied.failure.unwrap();
            assert_eq!(failure.offset, 100);
            assert!(matches!(failure.error.kind(), ErrorKind::Device(_)));
            assert_eq!(control.submitted() + control.enqueued(), 0);
        });
    }

    /// Polls `future`, which must not end, until `reached`.
    async fn control_until(mut future: impl Future + Unpin, reached: impl Fn() -> bool) {
        while !reached() {
            assert!((&mut future).now_or_never().is_none());
            std::thread::yield_now();
        }
    }
}
