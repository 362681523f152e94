//! Another process's statistics, read and never written.

use std::{
    fs::File,
    io,
    os::fd::AsFd,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use nix::fcntl::{FcntlArg, SealFlag, fcntl};

use super::{Counters, Stats, header::Header, header::Mismatch, memory::Memory};

/// The counters of a runtime, mapped for reading. Nothing here hands them out, since a write would be a fault.
#[derive(Debug)]
pub(crate) struct Reader(Counters);

/// Why a file is not read as statistics.
#[derive(Debug)]
pub(crate) enum Unreadable {
    /// It may shrink under its readers, or is no memfd.
    Unsealed,
    /// It is laid out otherwise.
    Mismatch(Mismatch),
    Io(io::Error),
}

impl Reader {
    /// Maps and checks a file that may be anything.
    pub(crate) fn open(file: &File) -> Result<Self, Unreadable> {
        if !is_fixed(file) {
            return Err(Unreadable::Unsealed);
        }
        let length = file.metadata().map_err(Unreadable::Io)?.len();
        let short = |expected| {
            Unreadable::Mismatch(Mismatch { word: "length of the file", found: length, expected })
        };
        let least = Header::length_for(0);
        let length = usize::try_from(length).map_err(|_| short(least))?;
        if (length as u64) < least {
            return Err(short(least));
        }
        let memory = Memory::open(file, length).map_err(Unreadable::Io)?;
        Self::over(&memory, length)
    }

    fn over(memory: &Arc<Memory>, length: usize) -> Result<Self, Unreadable> {
        let outside = || Unreadable::Io(io::ErrorKind::InvalidData.into());
        let header = memory.block::<Header>(0).ok_or_else(outside)?;
        let engines = header.identify(length).map_err(Unreadable::Mismatch)?;
        let mut counters =
            Counters::over(memory, vec![String::new(); engines]).ok_or_else(outside)?;
        counters.names = counters.engines.iter().map(super::EngineCounters::name).collect();
        Ok(Self(counters))
    }

    /// What the words say now.
    pub(crate) fn stats(&self) -> Stats {
        self.0.snapshot(self.0.runtime.in_flight.get())
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.0.header.has_ended()
    }

    /// The process that it says it is of, as that process knows itself.
    pub(crate) fn pid(&self) -> u64 {
        self.0.header.pid()
    }

    pub(crate) fn started(&self) -> SystemTime {
        let since = Duration::from_nanos(self.0.header.started());
        UNIX_EPOCH.checked_add(since).unwrap_or(UNIX_EPOCH)
    }
}

/// Whether the file is a memfd that cannot shrink.
fn is_fixed(file: &impl AsFd) -> bool {
    let seals = fcntl(file, FcntlArg::F_GET_SEALS).unwrap_or(0);
    SealFlag::from_bits_retain(seals).contains(SealFlag::F_SEAL_SHRINK)
}
