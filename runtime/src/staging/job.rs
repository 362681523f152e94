//! A staged operation, and how it is cut into pieces of at most one block.
//!
//! Pieces end at multiples of the granule in the file that is written, or else in the one that is read. So the
//! middle of a piece can be transferred directly, and no two pieces of one operation share a granule of
//! the file they write.

use std::sync::Arc;

use dmaring_ring::{CompletionCode, Key};

use super::{
    file::StagedFile,
    port::{Source, StagedFailure, StagedRequest},
};

/// An operation that the staging thread carries out.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) name: Key,
    pub(super) input: Input,
    pub(super) output: Output,
    length: u64,
    /// Where the next piece begins, in bytes from the operation's first.
    next: u64,
    /// Pieces that have begun and not ended.
    under_way: u32,
    failure: Option<StagedFailure>,
    deadline: u64,
    pub(super) retries: bool,
    sync: Sync,
}

/// Where the synchronisation of the file that was written stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sync {
    /// Nobody asked for it, or it is through.
    No,
    /// It begins when the last piece has ended.
    Later,
    UnderWay,
}

/// Where the bytes come from; offsets are of the operation's first byte.
#[derive(Debug)]
pub(super) enum Input {
    File(Arc<StagedFile>, u64),
    Memory(Key, u64),
    Pattern(u64),
    Nothing,
}

/// Where they go.
#[derive(Debug)]
pub(super) enum Output {
    File(Arc<StagedFile>, u64),
    Memory(Key, u64),
}

/// One piece of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cut {
    /// In bytes from the operation's first.
    pub(super) offset: u64,
    /// In bytes.
    pub(super) length: u64,
    /// Where in its block the piece begins when it is read: bytes of the granule before it come first.
    pub(super) input_lead: u64,
    /// Where in its block the piece begins when it is written: as far into a granule as in the file.
    pub(super) output_lead: u64,
}

impl Job {
    /// The job that a request asks for. `file` finds the files among the regions; blocks have `block` bytes.
    pub(super) fn new(
        request: &StagedRequest,
        block: u64,
        file: impl Fn(Key) -> Option<Arc<StagedFile>>,
    ) -> Self {
        let file = |key| file(key).inspect(|file| suit(file, block));
        let input = match request.source {
            Source::Pattern(pattern) => Input::Pattern(pattern),
            Source::Nothing => Input::Nothing,
            Source::Region(key, offset) => match file(key) {
                Some(file) => Input::File(file, offset),
                None => Input::Memory(key, offset),
            },
        };
        let (key, offset) = request.destination;
        let output = match file(key) {
            Some(file) => Output::File(file, offset),
            None => Output::Memory(key, offset),
        };
        Self {
            name: request.name,
            input,
            output,
            length: request.length,
            next: if matches!(request.source, Source::Nothing) { request.length } else { 0 },
            under_way: 0,
            failure: None,
            deadline: request.deadline,
            retries: request.retries,
            sync: if request.durable { Sync::Later } else { Sync::No },
        }
    }

    /// Begins no further piece of an operation whose deadline is not after what `now` gives: its future knows.
    pub(super) fn check_deadline(&mut self, now: impl FnOnce() -> u64) {
        if self.deadline != 0 && self.failure.is_none() && self.deadline <= now() {
            self.fail((CompletionCode::ABORTED, 0, 0, 0));
        }
    }

    /// How many blocks a piece takes.
    pub(super) fn blocks_needed(&self) -> usize {
        usize::from(matches!(self.input, Input::File(..)))
            + usize::from(matches!(self.output, Output::File(..)))
    }

    /// Whether pieces are left to begin.
    pub(super) fn has_more(&self) -> bool {
        self.failure.is_none() && self.next < self.length
    }

    /// Begins the next piece, for blocks of `block` bytes.
    pub(super) fn begin(&mut self, block: u64) -> Option<Cut> {
        let cut = self.cut(block)?;
        self.next += cut.length;
        self.under_way += 1;
        Some(cut)
    }

    /// A piece ended.
    pub(super) fn end(&mut self) {
        self.under_way = self.under_way.saturating_sub(1);
    }

    /// The operation fails; of several failures the one at the lowest offset is told.
    pub(super) fn fail(&mut self, failure: StagedFailure) {
        match &self.failure {
            Some(earlier) if earlier.3 <= failure.3 => {}
            _ => self.failure = Some(failure),
        }
    }

    /// Whether it failed before this offset, so that a piece there need not be finished.
    pub(super) fn failed_before(&self, offset: u64) -> bool {
        self.failure.is_some_and(|failure| failure.3 < offset)
    }

    /// The outcome, once no piece is under way and none is to come, and the file is synchronised if it is to be.
    pub(super) fn outcome(&self) -> Option<Result<(), StagedFailure>> {
        let synced = self.sync == Sync::No || (self.sync == Sync::Later && self.failure.is_some());
        let ended = self.under_way == 0 && !self.has_more() && synced;
        ended.then(|| self.failure.map_or(Ok(()), Err))
    }

    /// Whether nothing remains but to synchronise the file that was written.
    pub(super) fn is_to_sync(&self) -> bool {
        self.under_way == 0
            && !self.has_more()
            && self.sync == Sync::Later
            && self.failure.is_none()
    }

    /// The file is about to be synchronised.
    pub(super) fn begin_sync(&mut self) {
        self.sync = Sync::UnderWay;
    }

    /// The file was synchronised, or the operation fails.
    pub(super) fn end_sync(&mut self) {
        self.sync = Sync::No;
    }

    fn cut(&self, block: u64) -> Option<Cut> {
        if !self.has_more() {
            return None;
        }
        let offset = self.next;
        let left = self.length - offset;
        let mut length = left;
        let mut cut = Cut { offset, length, input_lead: 0, output_lead: 0 };
        // The granule at which the piece ends if it is not the last: where, as bytes past a multiple, it begins.
        let (mut phase, mut granule) = (0, 1);
        if let Input::File(file, first) = &self.input {
            (phase, granule) = place(file, first + offset);
            if file.is_direct() {
                cut.input_lead = phase;
            }
        }
        length = length.min(block - cut.input_lead);
        if let Output::File(file, first) = &self.output {
            (phase, granule) = place(file, first + offset);
            cut.output_lead = phase;
            length = length.min(block - phase);
        }
        if length < left {
            length = (phase + length) / granule * granule - phase;
        }
        cut.length = length;
        Some(cut)
    }
}

/// How far into a granule the offset lies, and the granule, in bytes.
fn place(file: &StagedFile, offset: u64) -> (u64, u64) {
    let granule = file.granule();
    (offset % granule, granule)
}

/// A piece must be able to hold whole granules of both files.
fn suit(file: &StagedFile, block: u64) {
    if file.granule() > block / 4 {
        file.refuse_direct();
    }
}

#[cfg(all(test, not(miri)))]
mod tests {
    use std::{fs::File, path::Path};

    use super::{super::file::PAGE, *};

    const BLOCK: u64 = 16 << 10;
    const MEMORY: Key = Key { index: 9, generation: 1 };

    /// A job from a file to a file, or with memory in place of either. The files are never transferred.
    fn job(input: Option<u64>, output: Option<u64>, length: u64) -> Job {
        let path = Path::new("/proc/self/exe");
        let file = |key: Key| {
            (key != MEMORY)
                .then(|| Arc::new(StagedFile::new(path, File::open(path).unwrap(), false)))
        };
        let region = |offset: Option<u64>| match offset {
            Some(offset) => (Key::default(), offset),
            None => (MEMORY, 0),
        };
        let (source, offset) = region(input);
        let request = StagedRequest {
            deadline: 0,
            retries: false,
            durable: false,
            name: Key::default(),
            source: Source::Region(source, offset),
            destination: region(output),
            length,
        };
        Job::new(&request, BLOCK, file)
    }

    #[test]
    fn pieces_cover_the_operation_and_fit_their_blocks() {
        let ends = [None, Some(0), Some(1), Some(4095), Some(4096), Some(4097), Some(70_001)];
        let lengths = [1, 4095, 4096, BLOCK - 1, BLOCK, BLOCK + 1, 5 * BLOCK + 77];
        for input in ends {
            for output in ends.into_iter().filter(|output| output.or(input).is_some()) {
                for length in lengths {
                    let mut job = job(input, output, length);
                    let mut end = 0;
                    while let Some(cut) = job.begin(BLOCK) {
                        assert_eq!(cut.offset, end);
                        assert!(cut.length > 0);
                        assert!(cut.input_lead + cut.length <= BLOCK, "{cut:?}");
                        assert!(cut.output_lead + cut.length <= BLOCK, "{cut:?}");
                        end += cut.length;
                        if let Some(boundary) = output.or(input).filter(|_| end < length) {
                            assert_eq!((boundary + end) % PAGE, 0, "{input:?} {output:?} {cut:?}");
                        }
                    }
                    assert_eq!(end, length);
                }
            }
        }
    }

    #[test]
    fn a_durable_one_ends_when_it_is_synchronised_and_one_that_failed_is_not() {
        let durable = |length| {
            let mut job = job(Some(0), Some(0), length);
            job.sync = Sync::Later;
            job
        };
        let mut job = durable(2 * BLOCK);
        assert!(job.begin(BLOCK).is_some() && !job.is_to_sync());
        job.end();
        assert!(!job.is_to_sync(), "a piece is left");
        job.begin(BLOCK).unwrap();
        assert!(!job.is_to_sync(), "a piece is under way");
        job.end();
        assert!(job.is_to_sync());
        assert_eq!(job.outcome(), None, "written, and not synchronised");
        job.begin_sync();
        assert!(!job.is_to_sync(), "once is enough");
        assert_eq!(job.outcome(), None, "not yet");
        job.end_sync();
        assert_eq!(job.outcome(), Some(Ok(())));
        let mut failed = durable(BLOCK);
        failed.begin(BLOCK).unwrap();
        failed.fail((dmaring_ring::CompletionCode::IO, 0, 5, 0));
        failed.end();
        assert!(!failed.is_to_sync() && matches!(failed.outcome(), Some(Err(_))));
    }

    #[test]
    fn the_lowest_failure_is_told_when_every_piece_has_ended() {
        use dmaring_ring::CompletionCode;
        let mut job = job(Some(0), None, 3 * BLOCK);
        for _ in 0..2 {
            job.begin(BLOCK).unwrap();
        }
        let failure = |offset| (CompletionCode::IO, 0, 5, offset);
        job.fail(failure(BLOCK + 3));
        assert!(job.begin(BLOCK).is_none(), "no further piece begins");
        assert!(job.failed_before(BLOCK + 4) && !job.failed_before(BLOCK + 3));
        job.end();
        assert_eq!(job.outcome(), None);
        job.fail(failure(7));
        job.end();
        assert_eq!(job.outcome(), Some(Err(failure(7))));
    }
}
