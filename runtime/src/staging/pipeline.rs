//! The staging thread's work: operations, cut into pieces, of which as many are under way as there are blocks.
//!
//! A piece has its blocks before it begins, so it can always end. Operations begin pieces in turn: a small one
//! behind a huge one waits for a block, not for the huge one's end. When a piece fails, its operation begins
//! no more; those under way end, since an earlier one may yet fail at a lower offset; then the end is told.
//!
//! Blocks come home when pieces end, unless an engine was lost with the copy of one in it and keeps it. Where so many are kept
//! that a piece cannot have the blocks it needs, its operation fails: nobody knows when they come.
//!
//! What goes to the poller stands in `outbox` until its ring has room. It has, within a turn of the poller's: there are
//! fewer pieces than entries, and the poller never sleeps while a staged operation is under way.

use std::{collections::VecDeque, io, sync::Arc, time::Duration};

use dmaring_ring::{
    CompletionCode, CompletionEntry, EntryFlags, Key, Opcode, SubmissionEntry, completion,
    handshake, submission,
};
use slab::Slab;

use super::{
    blocks::Blocks,
    file::StagedFile,
    job::{Cut, Input, Job, Output},
    judge::{Next, check_length, judge},
    kernel::{Transfer, Uring, WATCH},
    port::{ENTRIES, StagedFailure, StagingPort, done, held},
    step::{Phase, Span, Step},
    steps::Steps,
};
use crate::{client::RingPair, op::Lost, shared::Shared};

/// Files that are synchronised at a time: with a piece for each block there are places for all.
const MOST_SYNCS: usize = ENTRIES as usize / 4;

#[derive(Debug)]
pub(super) struct Pipeline {
    pub(super) shared: Arc<Shared>,
    pub(super) port: Arc<StagingPort>,
    uring: Uring,
    blocks: Blocks,
    jobs: Slab<Job>,
    /// Operations with pieces to begin, in turn.
    order: VecDeque<usize>,
    steps: Steps,
    /// Blocks of pieces that an engine keeps which was lost.
    kept: usize,
    completions: completion::Consumer,
    outbox: VecDeque<SubmissionEntry>,
    /// Operations whose file is to be synchronised.
    to_sync: VecDeque<usize>,
    /// Files being synchronised.
    syncing: usize,
    /// The bell is watched.
    watching: bool,
}

impl Pipeline {
    pub(super) fn new(
        shared: Arc<Shared>,
        port: Arc<StagingPort>,
        (blocks, uring): (Blocks, Uring),
    ) -> Self {
        Self {
            shared,
            port,
            uring,
            blocks,
            jobs: Slab::new(),
            order: VecDeque::new(),
            steps: Steps::new(ENTRIES),
            kept: 0,
            completions: completion::Consumer::new(),
            outbox: VecDeque::with_capacity(ENTRIES as usize),
            to_sync: VecDeque::new(),
            syncing: 0,
            watching: false,
        }
    }

    /// Does what there is to do. `true`: there was something.
    pub(super) fn turn(&mut self) -> io::Result<bool> {
        let mut progress = self.take_requests();
        progress |= self.take_copies()?;
        progress |= self.take_transfers()?;
        progress |= self.begin_steps()?;
        progress |= self.begin_syncs()?;
        progress |= self.flush();
        self.uring.submit()?;
        Ok(progress)
    }

    /// Sleeps until there is something to do.
    ///
    /// The same argument as in [`dmaring_ring::handshake`]: it asks to be notified and then looks once more, so either it sees
    /// what was published, or the poller sees the request and rings. The flag is this thread's alone.
    pub(super) fn sleep(&mut self) -> io::Result<()> {
        if !self.outbox.is_empty() {
            std::thread::yield_now();
            return Ok(());
        }
        if !self.watching {
            self.uring.watch(self.port.bell())?;
            self.watching = true;
        }
        let header = self.port.pair().header();
        handshake::request_notify(header);
        let idle = !handshake::has_completions(header)
            && !self.port.has_requests()
            && !self.port.is_stopping();
        let woken = if idle { self.uring.submit_and_wait() } else { Ok(()) };
        handshake::clear_notify(header);
        woken
    }

    /// Waits for every transfer to end, at most for `patience`. `false`: some have not.
    pub(super) fn drain(&mut self, patience: Duration) -> bool {
        self.uring.drain(patience)
    }

    /// Gives the staging buffers back. The engines have stopped, or memory must be leaked.
    pub(super) fn give_back(self) {
        let Self { shared, uring, blocks, .. } = self;
        blocks.give_back(uring, &shared);
    }

    fn take_requests(&mut self) -> bool {
        let mut progress = false;
        while let Some(request) = self.port.receive() {
            let staging = &self.shared.staging;
            let job = Job::new(&request, self.blocks.size(), |key| staging.find(key));
            let index = self.jobs.insert(job);
            self.order.push_back(index);
            progress = true;
        }
        progress
    }

    /// Takes what the engines have ended.
    fn take_copies(&mut self) -> io::Result<bool> {
        let port = self.port.clone();
        let mut progress = false;
        while let Some(entry) =
            self.completions.pop(port.pair().header(), port.pair().completion_slots())
        {
            progress = true;
            self.copy_ended(&entry)?;
        }
        self.completions.release(port.pair().header());
        Ok(progress)
    }

    fn copy_ended(&mut self, entry: &CompletionEntry) -> io::Result<()> {
        let key = entry.key;
        let Some(step) = self.steps.get_mut(key).filter(|step| step.phase == Phase::Copy) else {
            tracing::error!("a completion names no copy of the staging thread's");
            return Ok(());
        };
        match entry.code() {
            CompletionCode::DETAIL => step.detail = entry.offset(),
            // The engine may still be at the piece's blocks: they stay its own until the end comes.
            CompletionCode::EARLY => {
                if !step.is_captive {
                    step.is_captive = true;
                    self.kept += step.blocks();
                }
                if let Some(job) = self.jobs.get_mut(step.job) {
                    job.fail((CompletionCode::ENGINE_LOST, 0, 0, step.cut.offset));
                    self.outbox.push_back(held(job.name));
                }
            }
            CompletionCode::DONE if step.output.is_some() => {
                (step.phase, step.done) = (Phase::Write, 0);
                self.go_on(key)?;
            }
            CompletionCode::DONE => self.end(key),
            code => {
                let offset = step.cut.offset + step.detail;
                self.fail(key, (code, entry.kind(), entry.bits(), offset));
            }
        }
        Ok(())
    }

    /// Takes what the kernel has ended.
    fn take_transfers(&mut self) -> io::Result<bool> {
        let mut progress = false;
        while let Some((token, result)) = self.uring.next_completion() {
            progress = true;
            if token == WATCH {
                self.watching = false;
                self.port.quiet();
            } else {
                self.transfer_ended(Key::from_word(token), result)?;
            }
        }
        Ok(progress)
    }

    fn transfer_ended(&mut self, key: Key, result: i32) -> io::Result<()> {
        let Some(step) = self.steps.get_mut(key) else {
            tracing::error!("a completion names no transfer of the staging thread's");
            return Ok(());
        };
        let Some(job) = self.jobs.get(step.job) else { return Ok(()) };
        match judge(step, job, result) {
            Next::Again => self.go_on(key)?,
            Next::Over if step.phase == Phase::Read => {
                (step.phase, step.done) = (Phase::Copy, 0);
                self.go_on(key)?;
            }
            Next::Over if step.phase == Phase::Sync => self.end_sync(key, None),
            Next::Failed(failure) if step.phase == Phase::Sync => self.end_sync(key, Some(failure)),
            Next::Over => self.end(key),
            Next::Failed(failure) => self.fail(key, failure),
        }
        Ok(())
    }

    /// Begins pieces, one of each operation in turn, while there are blocks.
    fn begin_steps(&mut self) -> io::Result<bool> {
        let mut progress = false;
        while let Some(&index) = self.order.front() {
            let size = self.blocks.size();
            let available = self.blocks.available();
            let Some(job) = self.jobs.get_mut(index) else {
                self.order.pop_front();
                continue;
            };
            job.check_deadline(|| self.shared.micros());
            if job.is_to_sync() {
                self.order.pop_front();
                self.to_sync.push_back(index);
                continue;
            }
            if let Some(outcome) = job.outcome() {
                self.order.pop_front();
                self.outbox.push_back(done(job.name, outcome));
                self.jobs.remove(index);
                progress = true;
                continue;
            }
            // Who waits for two blocks keeps its turn, so that others' single ones do not starve it.
            if job.has_more() && job.blocks_needed() > available {
                if job.blocks_needed() + self.kept <= self.blocks.count() {
                    break;
                }
                job.fail((CompletionCode::ENGINE_LOST, Lost::Blocks as u8, 0, 0));
                continue;
            }
            self.order.pop_front();
            let Some(cut) = job.begin(size) else { continue };
            let reads = matches!(job.input, Input::File(..));
            let writes = matches!(job.output, Output::File(..));
            if job.has_more() {
                self.order.push_back(index);
            }
            let step = Step {
                job: index,
                cut,
                input: reads.then(|| self.blocks.take()).flatten(),
                output: writes.then(|| self.blocks.take()).flatten(),
                phase: if reads { Phase::Read } else { Phase::Copy },
                done: 0,
                direct: false,
                detail: 0,
                is_captive: false,
            };
            let key = self
                .steps
                .insert(step)
                .ok_or_else(|| io::Error::other("more pieces than places"))?;
            self.go_on(key)?;
            progress = true;
        }
        Ok(progress)
    }

    /// Has files synchronised whose operations need nothing else.
    fn begin_syncs(&mut self) -> io::Result<bool> {
        let mut progress = false;
        while self.syncing < MOST_SYNCS
            && let Some(index) = self.to_sync.pop_front()
        {
            let Some(job) = self.jobs.get_mut(index) else { continue };
            job.begin_sync();
            let cut = Cut { offset: 0, length: 0, input_lead: 0, output_lead: 0 };
            let step = Step {
                job: index,
                cut,
                input: None,
                output: None,
                phase: Phase::Sync,
                done: 0,
                direct: false,
                is_captive: false,
                detail: 0,
            };
            let key = self
                .steps
                .insert(step)
                .ok_or_else(|| io::Error::other("more pieces than places"))?;
            self.syncing += 1;
            self.go_on(key)?;
            progress = true;
        }
        Ok(progress)
    }

    fn end_sync(&mut self, key: Key, failure: Option<StagedFailure>) {
        let Some(step) = self.steps.remove(key) else { return };
        self.syncing = self.syncing.saturating_sub(1);
        let Some(job) = self.jobs.get_mut(step.job) else { return };
        job.end_sync();
        if let Some(failure) = failure {
            job.fail(failure);
        }
        if let Some(outcome) = job.outcome() {
            self.outbox.push_back(done(job.name, outcome));
            self.jobs.remove(step.job);
        }
    }

    /// Starts the next transfer or the copy of a piece, unless its operation has failed before it.
    fn go_on(&mut self, key: Key) -> io::Result<()> {
        let Some(step) = self.steps.get_mut(key) else { return Ok(()) };
        let Some(job) = self.jobs.get(step.job) else { return Ok(()) };
        if step.phase != Phase::Sync && job.failed_before(step.cut.offset) {
            self.end(key);
            return Ok(());
        }
        let started = match (step.phase, &job.input, &job.output) {
            (Phase::Sync, _, Output::File(file, _)) => {
                self.uring.sync(key.to_word(), file.descriptor(false)).map(Ok)
            }
            (Phase::Read, Input::File(file, first), _) => {
                let span = step.next_read(file, *first);
                step.direct = span.direct;
                let base = step.input.map_or(0, |block| self.blocks.offset(block));
                self.uring.read(key.to_word(), &transfer(file, &span, base)).map(Ok)
            }
            (Phase::Write, _, Output::File(file, first)) => {
                match check_length(step, file, *first) {
                    Err(failure) => Ok(Err(failure)),
                    Ok(()) => {
                        let span = step.next_write(file, *first);
                        step.direct = span.direct;
                        let base = step.output.map_or(0, |block| self.blocks.offset(block));
                        self.uring.write(key.to_word(), &transfer(file, &span, base)).map(Ok)
                    }
                }
            }
            _ => {
                self.outbox.push_back(copy_entry(key, step, job, &self.blocks));
                Ok(Ok(()))
            }
        };
        if let Err(failure) = started? {
            self.fail(key, failure);
        }
        Ok(())
    }

    fn fail(&mut self, key: Key, failure: StagedFailure) {
        if let Some(step) = self.steps.get_mut(key)
            && let Some(job) = self.jobs.get_mut(step.job)
        {
            job.fail(failure);
        }
        self.end(key);
    }

    /// Ends a piece, and with the last one its operation.
    fn end(&mut self, key: Key) {
        let Some(step) = self.steps.remove(key) else { return };
        if step.is_captive {
            self.kept = self.kept.saturating_sub(step.blocks());
        }
        for block in [step.input, step.output].into_iter().flatten() {
            self.blocks.put(block);
        }
        let Some(job) = self.jobs.get_mut(step.job) else { return };
        job.end();
        if job.is_to_sync() {
            self.to_sync.push_back(step.job);
        } else if let Some(outcome) = job.outcome() {
            self.outbox.push_back(done(job.name, outcome));
            if outcome.is_err() {
                self.order.retain(|&index| index != step.job);
            }
            self.jobs.remove(step.job);
        }
    }

    /// Pushes what goes to the poller, as far as there is room, and wakes it.
    fn flush(&mut self) -> bool {
        let pair = self.port.pair();
        let mut pushed = false;
        while let Some(&entry) = self.outbox.front() {
            if submission::push(pair.header(), pair.submission_slots(), &[entry]).is_err() {
                break;
            }
            self.outbox.pop_front();
            pushed = true;
        }
        if pushed {
            // The poller sleeps on the application's word only.
            self.shared.nudge_poller();
        }
        pushed
    }
}

fn transfer<'a>(file: &'a StagedFile, span: &Span, block: u64) -> Transfer<'a> {
    Transfer {
        file: file.descriptor(span.direct),
        offset: span.offset,
        at: block + span.at,
        length: span.length,
    }
}

/// The entry that has an engine carry out a piece between blocks and regions.
fn copy_entry(key: Key, step: &Step, job: &Job, blocks: &Blocks) -> SubmissionEntry {
    let cut = &step.cut;
    let in_block = |block: Option<u32>, lead: u64| {
        (blocks.key(), block.map_or(0, |block| blocks.offset(block)) + lead)
    };
    let (destination, destination_offset) = match job.output {
        Output::File(..) => in_block(step.output, cut.output_lead),
        Output::Memory(region, first) => (region, first + cut.offset),
    };
    let (opcode, (source, source_offset)) = match job.input {
        Input::File(..) => (Opcode::COPY, in_block(step.input, cut.input_lead)),
        Input::Memory(region, first) => (Opcode::COPY, (region, first + cut.offset)),
        Input::Nothing => (Opcode::NOP, (Key::default(), 0)),
        Input::Pattern(pattern) => {
            // The pattern's phase at this piece's first byte.
            let turned = pattern.rotate_right((cut.offset % 8) as u32 * 8);
            (Opcode::FILL, (Key::default(), turned))
        }
    };
    let policy = if job.retries { EntryFlags::RETRY_ON_CPU } else { EntryFlags::FAIL_ON_ERROR };
    SubmissionEntry {
        opcode,
        flags: policy,
        key,
        source,
        source_offset,
        destination,
        destination_offset,
        length: cut.length,
        ..SubmissionEntry::default()
    }
}
