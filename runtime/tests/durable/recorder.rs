//! What is written back, noted instead of done; and held, where a test wants to look in between.

use std::{
    collections::BTreeSet,
    mem,
    sync::{Arc, Condvar, Mutex},
};

use dmaring::{Builder, CacheLines, Durability, Region, Runtime, WriteBack};
use dmaring_manual::{Control, ManualEngine};

use crate::common::{LONG, never_parking};

/// Notes lines and fences. Clones note in one place.
#[derive(Clone, Debug, Default)]
pub(crate) struct Recorder(Arc<(Mutex<Notes>, Condvar)>);

#[derive(Debug, Default)]
struct Notes {
    /// In their order, by their addresses.
    lines: Vec<usize>,
    /// How many of the lines a fence came after.
    fenced: usize,
    fences: usize,
    /// How many more calls come through; `None`: all.
    allowed: Option<usize>,
    /// Calls that wait.
    held: usize,
    panics: bool,
    /// Whether it panics when it is asked whether it is slow.
    is_touchy: bool,
}

impl Recorder {
    /// From here on so many calls come through, and later ones wait.
    pub(crate) fn allow(&self, calls: usize) {
        self.with(|notes| notes.allowed = Some(calls));
    }

    pub(crate) fn release(&self) {
        self.with(|notes| notes.allowed = None);
    }

    pub(crate) fn panic_next(&self) {
        self.with(|notes| notes.panics = true);
    }

    pub(crate) fn panic_when_asked(&self) {
        self.with(|notes| notes.is_touchy = true);
    }

    /// Waits until a call waits.
    pub(crate) fn wait_for_held(&self) {
        let (notes, changed) = &*self.0;
        let held = changed.wait_timeout_while(notes.lock().unwrap(), LONG, |notes| {
            notes.held == 0 || notes.allowed != Some(0)
        });
        let (notes, waited) = held.unwrap();
        assert!(!waited.timed_out(), "no call came within {LONG:?}: {notes:?}");
    }

    /// The lines that were written back since the last call, every one once and all fenced; by their offsets in the
    /// region, as numbers of lines.
    pub(crate) fn take(&self, region: &Region) -> BTreeSet<usize> {
        let base = region.as_mut_ptr().unwrap().addr().get();
        assert!(base.is_multiple_of(64));
        self.with(|notes| {
            assert_eq!(notes.fenced, notes.lines.len(), "lines without a fence behind them");
            notes.fenced = 0;
            let lines = mem::take(&mut notes.lines);
            let set: BTreeSet<_> = lines.iter().map(|line| (line - base) / 64).collect();
            assert_eq!(set.len(), lines.len(), "a line was written back twice");
            set
        })
    }

    pub(crate) fn fences(&self) -> usize {
        self.with(|notes| notes.fences)
    }

    /// Whether nothing was written back and not fenced.
    pub(crate) fn is_fenced(&self) -> bool {
        self.with(|notes| notes.fenced == notes.lines.len())
    }

    pub(crate) fn lines(&self) -> usize {
        self.with(|notes| notes.lines.len())
    }

    fn with<T>(&self, work: impl FnOnce(&mut Notes) -> T) -> T {
        let (notes, changed) = &*self.0;
        let value = work(&mut notes.lock().unwrap());
        changed.notify_all();
        value
    }

    fn pass(&self) {
        let (notes, changed) = &*self.0;
        let mut notes = notes.lock().unwrap();
        notes.held += 1;
        changed.notify_all();
        let mut notes = changed.wait_while(notes, |notes| notes.allowed == Some(0)).unwrap();
        notes.held -= 1;
        if let Some(allowed) = &mut notes.allowed {
            *allowed -= 1;
        }
        let panics = mem::take(&mut notes.panics);
        drop(notes);
        assert!(!panics, "as planned");
    }
}

impl WriteBack for Recorder {
    fn write_back(&self, lines: &CacheLines<'_>) {
        self.pass();
        self.with(|notes| notes.lines.extend(lines.addresses()));
    }

    fn fence(&self) {
        self.pass();
        self.with(|notes| {
            notes.fenced = notes.lines.len();
            notes.fences += 1;
        });
    }

    fn is_slow(&self) -> bool {
        let is_touchy = self.with(|notes| notes.is_touchy);
        assert!(!is_touchy, "as planned");
        false
    }
}

/// A builder whose runtime notes what it writes back.
pub(crate) fn recording() -> (Builder, Recorder) {
    let recorder = Recorder::default();
    (never_parking().write_back(recorder.clone()), recorder)
}

/// Such a runtime with an engine that is driven by hand.
pub(crate) fn manual() -> (Control, Recorder, Runtime) {
    let (engine, control) = ManualEngine::builder().build();
    let (builder, recorder) = recording();
    (control, recorder, builder.engine(engine).build().unwrap())
}

/// The same, whose engine ends everything at once.
pub(crate) fn automatic() -> (Control, Recorder, Runtime) {
    let (control, recorder, runtime) = manual();
    control.set_auto(true);
    (control, recorder, runtime)
}

/// A region that is taken for persistent memory.
pub(crate) fn persistent(runtime: &Runtime, length: usize) -> Region {
    let region = runtime.allocate(length).unwrap();
    region.assume_durability(Durability::NeedsFlush).unwrap();
    region
}
