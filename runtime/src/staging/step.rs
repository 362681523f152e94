//! A piece on its way: which bytes of which file are transferred next.
//!
//! A piece is read, then copied by an engine, then written; without a file at one of the ends the phase there is
//! left out. A phase of transfers takes as many as it needs: one that was short is continued where it
//! stopped, and the ragged ends of a direct write go through the buffered descriptor.

use super::{file::StagedFile, job::Cut};

/// A piece that has begun.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    pub(super) job: usize,
    pub(super) cut: Cut,
    /// The block that is read into.
    pub(super) input: Option<u32>,
    /// The block that is written from.
    pub(super) output: Option<u32>,
    pub(super) phase: Phase,
    /// How many bytes of the phase's transfers are through, the input's lead included.
    pub(super) done: u64,
    /// Whether the transfer under way is direct.
    pub(super) direct: bool,
    /// Where the engine says that it failed, in bytes from the piece's first.
    pub(super) detail: u64,
    /// An engine was lost with the copy in it, and does not let go of the blocks.
    pub(super) is_captive: bool,
}

impl Step {
    /// How many blocks it has.
    pub(super) fn blocks(&self) -> usize {
        usize::from(self.input.is_some()) + usize::from(self.output.is_some())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Read,
    Copy,
    Write,
    /// The file that was written is synchronised. Not a piece's, but its operation's.
    Sync,
}

/// The next transfer of a phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) direct: bool,
    /// In the file, in bytes.
    pub(super) offset: u64,
    /// In the block, in bytes.
    pub(super) at: u64,
    pub(super) length: u64,
}

impl Step {
    /// The next bytes to read, from a file in which the operation begins at `first`.
    ///
    /// A direct read is of whole granules, beyond what was asked for at both ends. What it leaves over when it stops
    /// inside a granule, which is the file's end, is for the buffered descriptor to find out.
    pub(super) fn next_read(&self, file: &StagedFile, first: u64) -> Span {
        let (start, done) = (first + self.cut.offset - self.cut.input_lead, self.done);
        let needed = self.read_length();
        let granule = file.granule();
        let direct = file.is_direct() && (start + done).is_multiple_of(granule);
        let end = if direct { needed.next_multiple_of(granule) } else { needed };
        Span { direct, offset: start + done, at: done, length: end.saturating_sub(done) }
    }

    /// How many bytes are read until the piece is complete.
    pub(super) fn read_length(&self) -> u64 {
        self.cut.input_lead + self.cut.length
    }

    /// The next bytes to write, to a file in which the operation begins at `first`.
    pub(super) fn next_write(&self, file: &StagedFile, first: u64) -> Span {
        let start = first + self.cut.offset;
        let (offset, end) = (start + self.done, start + self.cut.length);
        let at = self.cut.output_lead + self.done;
        let granule = file.granule();
        let whole = end / granule * granule;
        let (direct, until) = if !file.is_direct() {
            (false, end)
        } else if offset.is_multiple_of(granule) && offset < whole {
            (true, whole)
        } else {
            (false, (offset + 1).next_multiple_of(granule).min(end))
        };
        Span { direct, offset, at, length: until.saturating_sub(offset) }
    }
}

#[cfg(all(test, not(miri)))]
mod tests {
    use std::{fs::File, path::Path};

    use super::*;

    fn step(cut: Cut, done: u64) -> Step {
        Step {
            job: 0,
            cut,
            input: Some(0),
            output: Some(1),
            phase: Phase::Read,
            done,
            direct: false,
            detail: 0,
            is_captive: false,
        }
    }

    /// A file that takes direct transfers of pages, or none where the tests run on a file system that refuses them.
    fn file() -> StagedFile {
        let path = std::env::current_exe().unwrap();
        let file = File::open(&path).unwrap();
        StagedFile::new(Path::new(&path), file, false)
    }

    #[test]
    fn a_write_is_direct_in_its_middle_only() {
        let file = file();
        let granule = file.granule();
        let cut = Cut { offset: 0, length: 3 * granule, input_lead: 0, output_lead: 100 };
        let mut spans = Vec::new();
        let mut step = step(cut, 0);
        while step.done < cut.length {
            let span = step.next_write(&file, granule + 100);
            assert_eq!(span.at % granule, span.offset % granule, "aligned as in the file");
            step.done += span.length;
            spans.push((span.direct, span.length));
        }
        if file.is_direct() {
            assert_eq!(spans, [(false, granule - 100), (true, 2 * granule), (false, 100)]);
        }
        file.refuse_direct();
        step.done = 0;
        let span = step.next_write(&file, granule + 100);
        assert_eq!((span.direct, span.length), (false, cut.length));
    }

    #[test]
    fn a_read_is_of_whole_granules_and_goes_on_buffered_inside_one() {
        let file = file();
        let granule = file.granule();
        let lead = if file.is_direct() { 100 } else { 0 };
        let cut = Cut { offset: 0, length: granule, input_lead: lead, output_lead: 0 };
        let span = step(cut, 0).next_read(&file, granule + 100);
        if file.is_direct() {
            let whole = Span { direct: true, offset: granule, at: 0, length: 2 * granule };
            assert_eq!(span, whole);
            let rest = Span { direct: false, offset: granule + 50, at: 50, length: granule + 50 };
            assert_eq!(step(cut, 50).next_read(&file, granule + 100), rest);
        }
        file.refuse_direct();
        let span = step(cut, 0).next_read(&file, granule + 100);
        assert_eq!((span.direct, span.length), (false, lead + granule));
    }
}
