//! The cells: which faults, in which situations, under which names and seeds.
//!
//! Rows are exhaustive by construction: one for each of CHANERR's bits, from the specification's own table, and one
//! for each other fault.

use dmaring_emulated::Fault;
use dmaring_ioat_spec::chanerr::{CAUSES, Cause};

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Row {
    ChanErr(u8),
    Stall,
    LostWriteBack,
    DuplicateWriteBack,
    StaleEpoch,
    ShortCopy,
    AllOnes,
    PollerPanic,
}

/// When it goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Column {
    OneOperation,
    FullRing,
    MidBatch,
    DuringReset,
    DuringShutdown,
}

/// A cell of the matrix. It is run once without a CPU engine and once with one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Cell {
    pub(crate) column: Column,
    pub(crate) row: Row,
}

/// Which engines there are besides the channel, and so what is done about what it fails to copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Policy {
    /// None: `OnError::Fail`.
    Fail,
    /// The host's CPU: `OnError::RetryOnCpu`.
    RetryOnCpu,
}

/// How many bytes a short copy moves.
pub(crate) const SHORT: u32 = 10;

impl Row {
    pub(crate) fn all() -> Vec<Self> {
        let bits = CAUSES.iter().map(|cause| cause.bit);
        // Those that no source names, too.
        let unknown = (0..32).filter(|bit| matches!(Cause::of_bit(*bit), Cause::Unknown(_)));
        let others = [
            Self::Stall,
            Self::LostWriteBack,
            Self::DuplicateWriteBack,
            Self::StaleEpoch,
            Self::ShortCopy,
            Self::AllOnes,
            Self::PollerPanic,
        ];
        bits.chain(unknown).map(Self::ChanErr).chain(others).collect()
    }

    pub(crate) fn name(self) -> String {
        match self {
            Self::ChanErr(bit) => format!("chanerr-{bit:02}"),
            Self::Stall => "stall".to_owned(),
            Self::LostWriteBack => "lost-write-back".to_owned(),
            Self::DuplicateWriteBack => "duplicate-write-back".to_owned(),
            Self::StaleEpoch => "stale-epoch".to_owned(),
            Self::ShortCopy => "short-copy".to_owned(),
            Self::AllOnes => "all-ones".to_owned(),
            Self::PollerPanic => "poller-panic".to_owned(),
        }
    }

    /// What happens, in a few words.
    pub(crate) fn meaning(self) -> String {
        match self {
            Self::ChanErr(bit) => {
                let cause = Cause::of_bit(bit);
                format!("{}: {}", cause.name(), cause.meaning())
            }
            Self::Stall => "the channel makes no more progress".to_owned(),
            Self::LostWriteBack => "a completion word is not written".to_owned(),
            Self::DuplicateWriteBack => {
                "a completion word is written again, over a newer one".to_owned()
            }
            Self::StaleEpoch => {
                "a completion word arrives after the reset that ended its epoch".to_owned()
            }
            Self::ShortCopy => {
                format!("the channel halts amid a descriptor, {SHORT} bytes of it written")
            }
            Self::AllOnes => "every register reads as ones".to_owned(),
            Self::PollerPanic => "the engine panics on the poller's thread".to_owned(),
        }
    }

    /// The fault of the emulated device, where it is one of a descriptor.
    pub(crate) fn fault(self) -> Option<Fault> {
        Some(match self {
            Self::ChanErr(bit) => Fault::ChanErr(bit),
            Self::Stall => Fault::Stall,
            Self::LostWriteBack => Fault::LostWriteBack,
            Self::DuplicateWriteBack => Fault::DuplicateWriteBack,
            Self::ShortCopy => Fault::Short(SHORT),
            Self::AllOnes => Fault::Gone,
            Self::StaleEpoch | Self::PollerPanic => return None,
        })
    }
}

impl Column {
    pub(crate) const ALL: [Self; 5] = [
        Self::OneOperation,
        Self::FullRing,
        Self::MidBatch,
        Self::DuringReset,
        Self::DuringShutdown,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::OneOperation => "one-operation",
            Self::FullRing => "full-ring",
            Self::MidBatch => "mid-batch",
            Self::DuringReset => "during-reset",
            Self::DuringShutdown => "during-shutdown",
        }
    }
}

impl Cell {
    pub(crate) fn all() -> Vec<Self> {
        let columns = Column::ALL.into_iter();
        let cells = columns.flat_map(|column| Row::all().into_iter().map(move |row| (column, row)));
        cells.map(|(column, row)| Self { column, row }).collect()
    }

    /// The name of its test.
    pub(crate) fn name(self) -> String {
        format!("{}/{}", self.column.name(), self.row.name())
    }

    /// The seed of everything in it that is random: FNV-1a of the name, folded to 16 bits.
    pub(crate) fn seed(self) -> u64 {
        let prime = 0x0100_0000_01b3;
        let hash = self.name().bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(prime)
        });
        (hash ^ (hash >> 16) ^ (hash >> 32) ^ (hash >> 48)) & 0xffff
    }
}
