//! What stands in front of the slots: who the rings are, and the words their two sides share.
//!
//! The identification is written once, its magic last and with release order: whoever sees the magic
//! sees the rest. Each shared word has a pair of cache lines to itself, since processors fetch lines
//! in pairs, and one writer's traffic would slow another's.
//!
//! No byte is padding: what is unused is atomics, too, so that a peer may write anywhere while a
//! `&Header` lives.
//!
//! The words are reached by named transitions only; which of them is legal when is told where it is
//! used, in [`submission`](crate::submission), [`completion`](crate::completion) and
//! [`handshake`](crate::handshake).

#[cfg(not(loom))]
use super::LayoutError;
use super::{ABI_VERSION, COMPLETION_SLOT_SIZE, HEADER_SIZE, Layout, MAGIC, SUBMISSION_SLOT_SIZE};
use crate::sync::{AtomicU32, AtomicU64, Ordering};

/// The first 768 bytes of the shared memory.
#[derive(Debug)]
#[repr(C, align(128))]
pub struct Header {
    identification: Identification,
    submission_tail: Position,
    need_wakeup: Flag,
    completion_tail: Position,
    completion_head: Position,
    need_notify: Flag,
}

/// A ring position that shares its cache lines with nothing.
#[derive(Debug, Default)]
#[repr(C, align(128))]
struct Position(AtomicU64, [Unused; 15]);

/// A flag that shares its cache lines with nothing: 0 or 1, where anything but 0 counts as 1.
#[derive(Debug, Default)]
#[repr(C, align(128))]
struct Flag(AtomicU32, UnusedHalf, [Unused; 15]);

type Unused = core::sync::atomic::AtomicU64;
type UnusedHalf = core::sync::atomic::AtomicU32;

/// What the memory is. Atomics, though written once: a peer that writes again must not make a read
/// undefined.
#[derive(Debug, Default)]
#[repr(C, align(128))]
struct Identification {
    magic: AtomicU64,
    version: AtomicU32,
    header_size: AtomicU32,
    submission_entries: AtomicU32,
    completion_entries: AtomicU32,
    submission_slot_size: AtomicU32,
    completion_slot_size: AtomicU32,
    submission_offset: AtomicU64,
    completion_offset: AtomicU64,
    size: AtomicU64,
    unused: [Unused; 9],
}

impl Header {
    /// The header of fresh rings, as an ordinary object.
    #[must_use]
    pub fn new(layout: Layout) -> Self {
        let header = Self {
            identification: Identification::default(),
            submission_tail: Position::default(),
            need_wakeup: Flag::default(),
            completion_tail: Position::default(),
            completion_head: Position::default(),
            need_notify: Flag::default(),
        };
        header.identification.write(layout);
        header
    }

    /// The word that is 1 while the poller wants to be woken: what it waits on when it parks.
    #[must_use]
    pub fn need_wakeup_word(&self) -> &AtomicU32 {
        &self.need_wakeup.0
    }

    /// Makes it the header of fresh rings, whatever the memory held.
    #[cfg(not(loom))]
    pub(crate) fn initialise(&self, layout: Layout) {
        self.submission_tail.0.store(0, Ordering::Relaxed);
        self.need_wakeup.0.store(0, Ordering::Relaxed);
        self.completion_tail.0.store(0, Ordering::Relaxed);
        self.completion_head.0.store(0, Ordering::Relaxed);
        self.need_notify.0.store(0, Ordering::Relaxed);
        self.identification.write(layout);
    }

    /// The layout that the identification declares, once all of it agrees.
    #[cfg(not(loom))]
    pub(crate) fn identify(&self) -> Result<Layout, LayoutError> {
        self.identification.check()
    }

    /// The next position that nobody has claimed. Acquires what its claimant knew.
    pub(crate) fn submission_tail(&self) -> u64 {
        self.submission_tail.0.load(Ordering::Acquire)
    }

    /// Claims the positions from `tail` up to `end`, unless the tail has moved; then says where it is.
    pub(crate) fn claim(&self, tail: u64, end: u64) -> Result<(), u64> {
        self.submission_tail
            .0
            .compare_exchange(tail, end, Ordering::AcqRel, Ordering::Acquire)
            .map(drop)
    }

    /// The position up to which completions can be read. Acquires them.
    pub(crate) fn completion_tail(&self) -> u64 {
        self.completion_tail.0.load(Ordering::Acquire)
    }

    /// Makes completions up to `tail` readable.
    pub(crate) fn publish_completions(&self, tail: u64) {
        self.completion_tail.0.store(tail, Ordering::Release);
    }

    /// The position up to which completions have been read. Acquires the end of the reads.
    pub(crate) fn completion_head(&self) -> u64 {
        self.completion_head.0.load(Ordering::Acquire)
    }

    /// Gives the places up to `head` back to the poller.
    pub(crate) fn release_completions(&self, head: u64) {
        self.completion_head.0.store(head, Ordering::Release);
    }

    /// Whether somebody wants the poller to reap.
    pub(crate) fn need_notify_word(&self) -> &AtomicU32 {
        &self.need_notify.0
    }
}

impl Identification {
    fn write(&self, layout: Layout) {
        self.version.store(ABI_VERSION, Ordering::Relaxed);
        self.header_size.store(HEADER_SIZE, Ordering::Relaxed);
        self.submission_entries.store(layout.entries(), Ordering::Relaxed);
        self.completion_entries.store(layout.completion_entries(), Ordering::Relaxed);
        self.submission_slot_size.store(SUBMISSION_SLOT_SIZE, Ordering::Relaxed);
        self.completion_slot_size.store(COMPLETION_SLOT_SIZE, Ordering::Relaxed);
        self.submission_offset.store(layout.submission_offset() as u64, Ordering::Relaxed);
        self.completion_offset.store(layout.completion_offset() as u64, Ordering::Relaxed);
        self.size.store(layout.size() as u64, Ordering::Relaxed);
        self.magic.store(MAGIC, Ordering::Release);
    }

    /// Reads every word once. Only the number of entries is believed, after it was found legal; all
    /// else follows from it and has to agree.
    #[cfg(not(loom))]
    fn check(&self) -> Result<Layout, LayoutError> {
        let magic = self.magic.load(Ordering::Acquire);
        if magic != MAGIC {
            return Err(LayoutError::Magic { found: magic });
        }
        let version = self.version.load(Ordering::Relaxed);
        if version != ABI_VERSION {
            return Err(LayoutError::Version { found: version });
        }
        let layout = Layout::new(self.submission_entries.load(Ordering::Relaxed))?;
        let small = |word: &AtomicU32| u64::from(word.load(Ordering::Relaxed));
        let large = |word: &AtomicU64| word.load(Ordering::Relaxed);
        agree("header size", small(&self.header_size), HEADER_SIZE.into())?;
        let completions = small(&self.completion_entries);
        agree("completion entries", completions, layout.completion_entries().into())?;
        let slot = small(&self.submission_slot_size);
        agree("submission slot size", slot, SUBMISSION_SLOT_SIZE.into())?;
        let slot = small(&self.completion_slot_size);
        agree("completion slot size", slot, COMPLETION_SLOT_SIZE.into())?;
        let offset = large(&self.submission_offset);
        agree("submission offset", offset, layout.submission_offset() as u64)?;
        let offset = large(&self.completion_offset);
        agree("completion offset", offset, layout.completion_offset() as u64)?;
        agree("size", large(&self.size), layout.size() as u64)?;
        Ok(layout)
    }
}

#[cfg(not(loom))]
const _: () = {
    // The fields' sizes add up: alignment has added nothing.
    assert!(size_of::<Identification>() == 8 + 6 * 4 + 3 * 8 + 9 * 8);
    assert!(size_of::<Position>() == 8 + 15 * 8);
    assert!(size_of::<Flag>() == 4 + 4 + 15 * 8);
    assert!(size_of::<Header>() == 6 * 128);
};

#[cfg(not(loom))]
fn agree(word: &'static str, found: u64, expected: u64) -> Result<(), LayoutError> {
    if found == expected {
        Ok(())
    } else {
        Err(LayoutError::Inconsistent { word, found, expected })
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::{Header, Layout, LayoutError, Ordering};

    #[test]
    fn each_word_of_the_identification_is_refused_by_name_when_it_is_wrong() {
        let Ok(layout) = Layout::new(64) else { panic!("64 entries are legal") };
        let inconsistent =
            |word, found, expected| LayoutError::Inconsistent { word, found, expected };
        let refused = |change: fn(&Header)| {
            let header = Header::new(layout);
            assert_eq!(header.identify(), Ok(layout));
            change(&header);
            header.identify().err()
        };

        let error = refused(|h| h.identification.magic.store(7, Ordering::Relaxed));
        assert_eq!(error, Some(LayoutError::Magic { found: 7 }));
        let error = refused(|h| h.identification.version.store(2, Ordering::Relaxed));
        assert_eq!(error, Some(LayoutError::Version { found: 2 }));
        let error = refused(|h| h.identification.submission_entries.store(65, Ordering::Relaxed));
        assert_eq!(error, Some(LayoutError::Entries { entries: 65 }));
        let error = refused(|h| h.identification.submission_entries.store(128, Ordering::Relaxed));
        assert_eq!(error, Some(inconsistent("completion entries", 128, 256)));
        let error = refused(|h| h.identification.header_size.store(4096, Ordering::Relaxed));
        assert_eq!(error, Some(inconsistent("header size", 4096, 1024)));
        let error = refused(|h| h.identification.completion_entries.store(64, Ordering::Relaxed));
        assert_eq!(error, Some(inconsistent("completion entries", 64, 128)));
        let error = refused(|h| h.identification.submission_slot_size.store(0, Ordering::Relaxed));
        assert_eq!(error, Some(inconsistent("submission slot size", 0, 64)));
        let error = refused(|h| h.identification.completion_slot_size.store(32, Ordering::Relaxed));
        assert_eq!(error, Some(inconsistent("completion slot size", 32, 16)));
        let error = refused(|h| h.identification.submission_offset.store(0, Ordering::Relaxed));
        assert_eq!(error, Some(inconsistent("submission offset", 0, 1024)));
        let error = refused(|h| h.identification.completion_offset.store(1024, Ordering::Relaxed));
        assert_eq!(error, Some(inconsistent("completion offset", 1024, 5120)));
        let error = refused(|h| h.identification.size.store(u64::MAX, Ordering::Relaxed));
        assert_eq!(error, Some(inconsistent("size", u64::MAX, 8192)));
    }
}
