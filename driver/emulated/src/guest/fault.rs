//! What VT-d's tables refuse the device.

use std::fmt;

use super::Slot;

/// How many faults are kept; all are counted.
const KEPT: usize = 1024;

/// An access of a function, or an interrupt, that was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuestFault {
    /// Which function asked, on bus 0.
    pub source: Slot,
    /// The address asked for; of an interrupt, that of its message.
    pub address: u64,
    /// What it wanted to do there.
    pub access: GuestAccess,
    /// Why it may not.
    pub reason: GuestFaultReason,
}

/// What a function does on its bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GuestAccess {
    /// It reads.
    Read,
    /// It writes.
    Write,
    /// It sends an interrupt.
    Interrupt,
}

/// Why an access or an interrupt was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum GuestFaultReason {
    /// Nobody has asked yet whether translation is on.
    Unasked,
    /// The root table is not in legacy mode.
    RootMode,
    /// A table is not in the guest's memory: the address of the entry asked for.
    TableNotMemory(u64),
    /// The bus has no context table.
    RootNotPresent,
    /// The function has no context entry.
    ContextNotPresent,
    /// The context entry has a type that is not known.
    ContextType,
    /// The context entry has an address width that is not known.
    AddressWidth,
    /// The address is wider than the context entry allows.
    BeyondWidth,
    /// No entry is present at this level, 1 being that of 4 KiB pages.
    NotPresent(u8),
    /// The entry at this level does not allow reading.
    NotReadable(u8),
    /// The entry at this level does not allow writing.
    NotWritable(u8),
    /// The address leads to no memory of the guest.
    NotMemory,
    /// The message's address is not one of interrupts.
    NotAnInterrupt,
    /// The message's index is past the end of the interrupt remapping table, or past the last address.
    RemapIndex,
    /// The entry of the interrupt remapping table is not present.
    RemapNotPresent,
    /// The interrupt goes to a processor that a message cannot name.
    RemapDestination,
}

impl fmt::Display for GuestAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Interrupt => "interrupt",
        })
    }
}

impl fmt::Display for GuestFaultReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unasked => f.write_str("translation not known yet"),
            Self::RootMode => f.write_str("root table not in legacy mode"),
            Self::TableNotMemory(address) => write!(f, "table at {address:#x} not in memory"),
            Self::RootNotPresent => f.write_str("root entry not present"),
            Self::ContextNotPresent => f.write_str("context entry not present"),
            Self::ContextType => f.write_str("context entry of unknown type"),
            Self::AddressWidth => f.write_str("context entry of unknown address width"),
            Self::BeyondWidth => f.write_str("beyond the address width"),
            Self::NotPresent(level) => write!(f, "not present at level {level}"),
            Self::NotReadable(level) => write!(f, "not readable at level {level}"),
            Self::NotWritable(level) => write!(f, "not writable at level {level}"),
            Self::NotMemory => f.write_str("no memory there"),
            Self::NotAnInterrupt => f.write_str("not an interrupt address"),
            Self::RemapIndex => f.write_str("interrupt index past the table"),
            Self::RemapNotPresent => f.write_str("interrupt entry not present"),
            Self::RemapDestination => f.write_str("interrupt destination above 255"),
        }
    }
}

impl fmt::Display for GuestFault {
    /// Address, access and reason, as the control socket lists them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}/{}/{}", self.address, self.access, self.reason)
    }
}

/// The faults of one function.
#[derive(Debug, Default)]
pub(super) struct FaultLog {
    count: u64,
    kept: Vec<GuestFault>,
}

impl FaultLog {
    pub(super) fn add(&mut self, fault: GuestFault) {
        self.count += 1;
        if self.kept.len() < KEPT {
            self.kept.push(fault);
        }
    }

    pub(super) fn count(&self) -> u64 {
        self.count
    }

    pub(super) fn kept(&self) -> &[GuestFault] {
        &self.kept
    }
}
