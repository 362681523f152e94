//! A region that is written, beside its model.
//!
//! The model has one thread, the submitter whose region it is. Every operation has a lot of the region to itself until
//! it is known to be over, so a byte is in one of two states: it must be what the model says, or, within the range of an
//! operation of which more is not known, what it was before or what that operation writes.

use std::{collections::VecDeque, fs::File, io::Write as _, os::fd::AsRawFd, sync::Arc};

use dmaring::{Error, Region, Runtime};
use fastrand::Rng;

use crate::{directories::Directories, plan::Kind};

/// How many bytes on both sides of a range are compared with it.
const MARGIN: usize = 4096;

/// A region and its model.
#[derive(Debug)]
pub(crate) struct Held {
    region: Region,
    /// Keeps a file that has no name.
    file: Option<File>,
    kind: Kind,
    model: Vec<u8>,
    /// Differs from that of every earlier region in its place.
    pub(crate) generation: u64,
    pub(crate) lots: Vec<Lot>,
}

/// A part of a region.
#[derive(Clone, Debug)]
pub(crate) struct Lot {
    pub(crate) start: u64,
    pub(crate) length: u64,
    /// The task that has it.
    pub(crate) user: Option<u64>,
    /// What happened to it last, for whoever looks for what went wrong.
    history: VecDeque<(u64, String)>,
}

/// How much of a lot's history is kept.
const HISTORY: usize = 12;

impl Lot {
    /// Notes what a task did with it.
    pub(crate) fn note(&mut self, task: u64, what: String) {
        if self.history.len() == HISTORY {
            self.history.pop_front();
        }
        self.history.push_back((task, what));
    }

    fn account(&self) -> String {
        let events = self.history.iter().map(|(task, what)| format!("\n  task {task}: {what}"));
        events.collect()
    }
}

/// A range that an operation writes, and what it writes there.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    /// In the region, in bytes.
    pub(crate) at: usize,
    pub(crate) bytes: Bytes,
}

/// What an operation writes.
#[derive(Clone, Debug)]
pub(crate) enum Bytes {
    /// A part of the source.
    Source(Arc<Vec<u8>>, usize, usize),
    /// Eight bytes, again and again.
    Fill(u64, usize),
    Own(Vec<u8>),
}

/// Bytes that look like noise, the same for the same seed.
pub(crate) fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    Rng::with_seed(seed).fill(&mut bytes);
    bytes
}

/// Makes a region of this kind that begins with these bytes, and the file behind it if there is one.
pub(crate) fn open(
    runtime: &Runtime,
    directories: &Directories,
    kind: Kind,
    bytes: &[u8],
) -> Result<(Region, Option<File>), String> {
    let told = |error: Error| format!("opening a region, {}: {error}", kind.name());
    let region = match kind {
        Kind::Allocated => {
            let region = runtime.allocate(bytes.len()).map_err(told)?;
            region.write_at(0, bytes).map_err(told)?;
            region
        }
        Kind::Vector => runtime.register(bytes.to_vec()).map_err(told)?,
        Kind::Boxed => runtime.register(bytes.to_vec().into_boxed_slice()).map_err(told)?,
        Kind::MappedFile | Kind::StagedFile => {
            let file = directories.file(kind).and_then(|mut file| {
                file.write_all(bytes)?;
                Ok(file)
            });
            let file = file.map_err(|error| format!("making a file: {error}"))?;
            return Ok((reopen(runtime, &file, kind)?, Some(file)));
        }
    };
    Ok((region, None))
}

fn reopen(runtime: &Runtime, file: &File, kind: Kind) -> Result<Region, String> {
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    runtime.open_file(path).map_err(|error| format!("opening a region, {}: {error}", kind.name()))
}

impl Held {
    /// Opens a region with these lots.
    pub(crate) fn open(
        runtime: &Runtime,
        directories: &Directories,
        (kind, seed, generation): (Kind, u64, u64),
        lots: &[u64],
    ) -> Result<Self, String> {
        let mut next = 0;
        let lots: Vec<_> = lots
            .iter()
            .map(|&length| {
                let start = next;
                next += length;
                Lot { start, length, user: None, history: VecDeque::new() }
            })
            .collect();
        let model = noise(seed.wrapping_add(generation), next as usize);
        let (region, file) = open(runtime, directories, kind, &model)?;
        Ok(Self { region, file, kind, model, generation, lots })
    }

    /// Closes the handle of a file and opens the file again: it must have kept its bytes. Nothing runs on it.
    pub(crate) fn reopen_file(&mut self, runtime: &Runtime) -> Result<u64, String> {
        if let Some(file) = &self.file {
            self.region = reopen(runtime, file, self.kind)?;
        }
        self.check(0, self.model.len())
    }

    pub(crate) fn region(&self) -> &Region {
        &self.region
    }

    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    /// What the model has in a range.
    pub(crate) fn model(&self, at: usize, length: usize) -> &[u8] {
        &self.model[at..at + length]
    }

    /// Writes as the application does.
    pub(crate) fn write(&mut self, at: usize, bytes: &[u8]) -> Result<(), String> {
        self.region
            .write_at(at as u64, bytes)
            .map_err(|error| format!("writing a region, {}: {error}", self.kind.name()))?;
        self.model[at..at + bytes.len()].copy_from_slice(bytes);
        Ok(())
    }

    /// An operation has succeeded: its range has its bytes, and what is around it in the lot has not changed.
    pub(crate) fn succeeded(&mut self, lot: usize, change: &Change) -> Result<u64, String> {
        change.bytes.write_to(&mut self.model[change.at..change.at + change.bytes.len()]);
        let (start, end) = self.around(lot, change);
        self.check(start, end)
    }

    /// An operation is over of which no more is known: each byte is an old or a new one, and those around have not changed.
    /// From now on the model has what there is.
    pub(crate) fn over(&mut self, lot: usize, change: &Change) -> Result<u64, String> {
        let (start, end) = self.around(lot, change);
        let found = self.read(start, end - start)?;
        let mut new = self.model[start..end].to_vec();
        let at = change.at - start;
        change.bytes.write_to(&mut new[at..at + change.bytes.len()]);
        let bytes = self.model[start..end].iter().zip(&new).zip(&found);
        let wrong = bytes.into_iter().position(|((old, new), now)| now != old && now != new);
        if let Some(wrong) = wrong {
            let (old, new, now) = (self.model[start + wrong], new[wrong], found[wrong]);
            return Err(self.account(
                start + wrong,
                &format!("{now:#04x} is neither the old {old:#04x} nor the new {new:#04x}"),
                change,
            ));
        }
        self.model[start..end].copy_from_slice(&found);
        Ok(found.len() as u64)
    }

    /// An operation has not begun: nothing has changed.
    pub(crate) fn untouched(&self, lot: usize, change: &Change) -> Result<u64, String> {
        let (start, end) = self.around(lot, change);
        self.check(start, end)
    }

    /// Compares all bytes, of the region and of the file behind it.
    pub(crate) fn check_all(&self) -> Result<u64, String> {
        let checked = self.check(0, self.model.len())?;
        let Some(file) = &self.file else { return Ok(checked) };
        let mut found = vec![0; self.model.len()];
        std::os::unix::fs::FileExt::read_exact_at(file, &mut found, 0)
            .map_err(|error| format!("reading the file behind a region: {error}"))?;
        self.compare(0, &found)?;
        Ok(checked + found.len() as u64)
    }

    fn check(&self, start: usize, end: usize) -> Result<u64, String> {
        let found = self.read(start, end - start)?;
        self.compare(start, &found)?;
        Ok(found.len() as u64)
    }

    fn compare(&self, start: usize, found: &[u8]) -> Result<(), String> {
        let model = &self.model[start..start + found.len()];
        if model == found {
            return Ok(());
        }
        let wrong = model.iter().zip(found).position(|(model, found)| model != found).unwrap_or(0);
        let count = model.iter().zip(found).filter(|(model, found)| model != found).count();
        let at = start + wrong;
        let (kind, found, model, history) =
            (self.kind.name(), found[wrong], model[wrong], self.history(at));
        Err(format!(
            "{kind}: {count} bytes are not what they should be, the first at {at}: {found:#04x}, not {model:#04x}{history}"
        ))
    }

    fn read(&self, at: usize, length: usize) -> Result<Vec<u8>, String> {
        let mut bytes = vec![0; length];
        self.region
            .read_at(at as u64, &mut bytes)
            .map_err(|error| format!("reading a region, {}: {error}", self.kind.name()))?;
        Ok(bytes)
    }

    /// The range of a change and what is near it in its lot.
    fn around(&self, lot: usize, change: &Change) -> (usize, usize) {
        let Lot { start, length, .. } = &self.lots[lot];
        let (start, end) = (*start as usize, (*start + *length) as usize);
        let last = change.at + change.bytes.len();
        (change.at.saturating_sub(MARGIN).max(start), (last + MARGIN).min(end))
    }

    fn account(&self, at: usize, what: &str, change: &Change) -> String {
        let (kind, from, to) = (self.kind.name(), change.at, change.at + change.bytes.len());
        let history = self.history(at);
        format!("{kind}: the byte at {at}, an operation having had {from}..{to}: {what}{history}")
    }

    /// What happened to the lot that has a byte.
    fn history(&self, at: usize) -> String {
        let lot = self.lots.iter().rfind(|lot| lot.start <= at as u64);
        lot.map(Lot::account).unwrap_or_default()
    }
}

impl Bytes {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Source(_, _, length) | Self::Fill(_, length) => *length,
            Self::Own(bytes) => bytes.len(),
        }
    }

    fn write_to(&self, place: &mut [u8]) {
        match self {
            Self::Source(bytes, from, length) => {
                place.copy_from_slice(&bytes[*from..*from + *length]);
            }
            Self::Fill(pattern, _) => {
                let pattern = pattern.to_le_bytes();
                place.iter_mut().zip(pattern.iter().cycle()).for_each(|(byte, new)| *byte = *new);
            }
            Self::Own(bytes) => place.copy_from_slice(bytes),
        }
    }

    /// The same as bytes of its own, of which `length` are needed.
    pub(crate) fn prefix(&self, length: usize) -> Self {
        let mut bytes = vec![0; self.len()];
        self.write_to(&mut bytes);
        bytes.truncate(length);
        Self::Own(bytes)
    }
}
