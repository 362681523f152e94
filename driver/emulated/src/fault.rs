//! What is to go wrong, and when.
//!
//! Descriptors are counted when they have been fetched, those that move nothing included. The counts go on
//! through resets. An item without a channel counts the descriptors of all channels together.

mod parse;

use std::fmt;

use dmaring_ioat_spec::chanerr::ChannelError;

pub use parse::FaultPlanError;

/// Planned faults, in any number. Parsed from items separated by commas; an item is its parts separated
/// by colons, in any order:
///
/// | part | meaning |
/// | --- | --- |
/// | `nth=N` | the Nth descriptor, once; the first is 1 |
/// | `every=N` | every Nth descriptor |
/// | `channel=C` | of channel C alone; without it, of all channels together |
/// | `chanerr=B` | the channel halts with CHANERR bit B, and nothing is moved |
/// | `short=N` | the first N bytes are moved, then the channel halts with bit 9, or that of a `chanerr` at the same descriptor |
/// | `silent-short=N` | the first N bytes are moved, and the descriptor completes as if all were |
/// | `stall` | the channel stays active on the descriptor until it is reset |
/// | `lost-writeback` | the next completion word, from this descriptor on, is not written |
/// | `duplicate-writeback` | the next completion word, from this descriptor on, is written again after one more descriptor, or when the channel has none |
/// | `late-writeback=N` | the next completion word, from this descriptor on, an error's included, is held back: it is written where it belonged once the channel was reset and has carried out N descriptors since |
/// | `gone` | the function answers with all ones from now on, and does nothing |
///
/// One of `nth` and `every` and one fault are needed: `nth=5:chanerr=8,channel=1:every=100:stall`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FaultPlan {
    items: Vec<PlannedFault>,
}

/// One item of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlannedFault {
    /// At which descriptors.
    pub when: When,
    /// Of which channel, counted through all functions; `None` for all channels together.
    pub channel: Option<usize>,
    /// What happens.
    pub fault: Fault,
}

/// At which descriptors a fault happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// At the one with this number, the first being 1; never for 0.
    Nth(u64),
    /// At each whose number is a multiple of this; never for 0.
    Every(u64),
}

/// What happens to a descriptor; [`FaultPlan`] says more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// Nothing is moved and the channel halts with this bit of CHANERR; 32 and above count as 31.
    ChanErr(u8),
    /// This many bytes are moved, then the channel halts with [`ChannelError::WRITE_DATA`].
    Short(u32),
    /// This many bytes are moved and the descriptor completes: the device lies.
    SilentShort(u32),
    /// The descriptor never ends.
    Stall,
    /// The next completion word is not written.
    LostWriteBack,
    /// The next completion word is written again, late.
    DuplicateWriteBack,
    /// The next completion word is written after the next reset and this many descriptors more.
    LateWriteBack(u32),
    /// The function is gone.
    Gone,
}

impl FaultPlan {
    /// A plan with nothing in it.
    #[must_use]
    pub const fn new() -> Self {
        Self { items: Vec::new() }
    }

    /// The same plan with one more fault.
    #[must_use]
    pub fn with(mut self, item: PlannedFault) -> Self {
        self.items.push(item);
        self
    }

    /// The items, in the order they were given.
    #[must_use]
    pub fn items(&self) -> &[PlannedFault] {
        &self.items
    }
}

impl PlannedFault {
    /// This fault at the descriptor with this number of all channels together, the first being 1.
    #[must_use]
    pub const fn nth(number: u64, fault: Fault) -> Self {
        Self { when: When::Nth(number), channel: None, fault }
    }

    /// This fault at every descriptor of all channels together whose number is a multiple of `number`.
    #[must_use]
    pub const fn every(number: u64, fault: Fault) -> Self {
        Self { when: When::Every(number), channel: None, fault }
    }

    /// The same for the descriptors of one channel, counted by themselves.
    #[must_use]
    pub const fn on_channel(self, channel: usize) -> Self {
        Self { channel: Some(channel), ..self }
    }
}

impl fmt::Display for FaultPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, item) in self.items.iter().enumerate() {
            write!(f, "{}{item}", if index == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

impl fmt::Display for PlannedFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(channel) = self.channel {
            write!(f, "channel={channel}:")?;
        }
        match self.when {
            When::Nth(number) => write!(f, "nth={number}:")?,
            When::Every(number) => write!(f, "every={number}:")?,
        }
        match self.fault {
            Fault::ChanErr(bit) => write!(f, "chanerr={bit}"),
            Fault::Short(bytes) => write!(f, "short={bytes}"),
            Fault::SilentShort(bytes) => write!(f, "silent-short={bytes}"),
            Fault::Stall => f.write_str("stall"),
            Fault::LostWriteBack => f.write_str("lost-writeback"),
            Fault::DuplicateWriteBack => f.write_str("duplicate-writeback"),
            Fault::LateWriteBack(descriptors) => write!(f, "late-writeback={descriptors}"),
            Fault::Gone => f.write_str("gone"),
        }
    }
}

/// A plan at work: each item with the number of descriptors it has seen.
#[derive(Debug)]
pub(crate) struct Schedule {
    items: Vec<(PlannedFault, u64)>,
    fired: u64,
}

/// What the plan does to one descriptor.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Injection {
    pub(crate) errors: ChannelError,
    /// How many bytes are moved at most; `None` for all, or for none where there are errors.
    pub(crate) moved: Option<u32>,
    pub(crate) stall: bool,
    pub(crate) lose_write_back: bool,
    pub(crate) repeat_write_back: bool,
    /// The next completion word waits for a reset and this many descriptors.
    pub(crate) hold_write_back: Option<u32>,
    pub(crate) gone: bool,
}

impl Schedule {
    pub(crate) fn new(plan: &FaultPlan) -> Self {
        Self { items: plan.items.iter().map(|item| (*item, 0)).collect(), fired: 0 }
    }

    /// How many faults have happened.
    pub(crate) fn fired(&self) -> u64 {
        self.fired
    }

    /// Counts a descriptor of this channel.
    pub(crate) fn next(&mut self, channel: usize) -> Injection {
        let mut injection = Injection {
            errors: ChannelError::empty(),
            moved: None,
            stall: false,
            lose_write_back: false,
            repeat_write_back: false,
            hold_write_back: None,
            gone: false,
        };
        let mut short = false;
        for (item, seen) in &mut self.items {
            if item.channel.is_some_and(|of| of != channel) {
                continue;
            }
            *seen += 1;
            let now = match item.when {
                When::Nth(number) => *seen == number,
                When::Every(number) => number != 0 && seen.is_multiple_of(number),
            };
            if !now {
                continue;
            }
            self.fired += 1;
            match item.fault {
                Fault::ChanErr(bit) => {
                    injection.errors |= ChannelError::from_bits_retain(1 << bit.min(31));
                }
                Fault::Short(bytes) => {
                    (injection.moved, short) = (Some(bytes), true);
                }
                Fault::SilentShort(bytes) => injection.moved = Some(bytes),
                Fault::Stall => injection.stall = true,
                Fault::LostWriteBack => injection.lose_write_back = true,
                Fault::DuplicateWriteBack => injection.repeat_write_back = true,
                Fault::LateWriteBack(descriptors) => {
                    injection.hold_write_back = Some(descriptors);
                }
                Fault::Gone => injection.gone = true,
            }
        }
        if short && injection.errors.is_empty() {
            injection.errors = ChannelError::WRITE_DATA;
        }
        injection
    }
}
