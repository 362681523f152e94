//! VT-d: from the address that a function asks for to the guest's memory.
//!
//! The root table has an entry a bus, the context table one a function; that names page tables of 3 to 5
//! levels. Legacy mode, no IOTLB: every walk reads the tables as they are. The unit's fault registers
//! are not written. Source: Intel VT-d specification, as Linux 6.1 and QEMU 7.2 exercise it.

use super::{Chipset, ChipsetError, GuestAccess, GuestFaultReason as Reason, Slot, memory::Memory};

/// Where QEMU has the unit's registers.
pub(super) const UNIT: u64 = 0xfed9_0000;
pub(super) const GSTS: u64 = UNIT + 0x1c;
pub(super) const RTADDR: u64 = UNIT + 0x20;
pub(super) const IRTA: u64 = UNIT + 0xb8;

const TRANSLATION_ENABLED: u32 = 1 << 31;
const REMAPPING_ENABLED: u32 = 1 << 25;
const ROOT_MODE: u64 = 3 << 10;

const PRESENT: u64 = 1;
const TABLE: u64 = !0xfff;
const READ: u64 = 1 << 0;
const WRITE: u64 = 1 << 1;
const LARGE: u64 = 1 << 7;
/// Address bits of a page entry: 51:12.
const FRAME: u64 = 0x000f_ffff_ffff_f000;

/// The registers that say what to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Registers {
    /// RTADDR, where translation is on.
    pub(super) root: Option<u64>,
    /// IRTA, where interrupt remapping is on.
    pub(super) remapping: Option<u64>,
}

impl Registers {
    pub(super) fn ask(chipset: &dyn Chipset) -> Result<Self, ChipsetError> {
        let status = chipset.read32(GSTS)?;
        let when =
            |bit: u32, register| (status & bit != 0).then(|| chipset.read64(register)).transpose();
        Ok(Self {
            root: when(TRANSLATION_ENABLED, RTADDR)?,
            remapping: when(REMAPPING_ENABLED, IRTA)?,
        })
    }
}

/// The guest-physical address behind `address` for an access of `source`; the same page of 4 KiB on both sides.
pub(super) fn translate(
    memory: &Memory,
    registers: Registers,
    source: Slot,
    address: u64,
    access: GuestAccess,
) -> Result<u64, Reason> {
    let Some(root) = registers.root else { return Ok(address) };
    if root & ROOT_MODE != 0 {
        return Err(Reason::RootMode);
    }
    // Bus 0 has the first root entry.
    let root_entry = word(memory, root & TABLE)?;
    if root_entry & PRESENT == 0 {
        return Err(Reason::RootNotPresent);
    }
    let context = (root_entry & TABLE) + 16 * u64::from(source.devfn());
    let (low, high) = (word(memory, context)?, word(memory, context + 8)?);
    if low & PRESENT == 0 {
        return Err(Reason::ContextNotPresent);
    }
    match low >> 2 & 3 {
        0 | 1 => {}
        2 => return Ok(address),
        _ => return Err(Reason::ContextType),
    }
    let levels: u8 = match high & 7 {
        1 => 3,
        2 => 4,
        3 => 5,
        _ => return Err(Reason::AddressWidth),
    };
    if address >> (12 + 9 * levels) != 0 {
        return Err(Reason::BeyondWidth);
    }
    walk(memory, low & TABLE, levels, address, access)
}

fn walk(
    memory: &Memory,
    mut table: u64,
    levels: u8,
    address: u64,
    access: GuestAccess,
) -> Result<u64, Reason> {
    for level in (1..=levels).rev() {
        let shift = 12 + 9 * (level - 1);
        let entry = word(memory, table + 8 * (address >> shift & 0x1ff))?;
        if entry & (READ | WRITE) == 0 {
            return Err(Reason::NotPresent(level));
        }
        if access == GuestAccess::Read && entry & READ == 0 {
            return Err(Reason::NotReadable(level));
        }
        if access == GuestAccess::Write && entry & WRITE == 0 {
            return Err(Reason::NotWritable(level));
        }
        let large = entry & LARGE != 0 && (level == 2 || level == 3);
        if level == 1 || large {
            let within = (1 << shift) - 1;
            return Ok(entry & FRAME & !within | address & within);
        }
        table = entry & FRAME;
    }
    Err(Reason::AddressWidth)
}

fn word(memory: &Memory, address: u64) -> Result<u64, Reason> {
    memory.word(address).ok_or(Reason::TableNotMemory(address))
}
