//! Configuration space, as far as whoever drives a function has to change it.
//!
//! The upper half of a doubleword that holds a control register is often its status register, whose bits are cleared by
//! writing ones: it is written as 0 here.
#![forbid(unsafe_code)]

use dmaring_ioat_spec::{
    ConfigIo,
    registers::config::{PCIE_DEVICE_CONTROL, PCIE_NO_SNOOP, PCIE_RELAXED_ORDERING},
};

/// The command register, and the status register above it.
const COMMAND: u16 = 0x04;
const MEMORY_SPACE: u32 = 1 << 1;
const BUS_MASTER: u32 = 1 << 2;
const INTX_DISABLE: u32 = 1 << 10;
/// In the status register: there is a capability list.
const CAPABILITY_LIST: u32 = 1 << 20;
/// Where the first capability's offset is.
const FIRST_CAPABILITY: u16 = 0x34;

/// Capabilities lie behind the header, at multiples of 4, in 256 bytes: so many at most.
const HEADER_BYTES: u16 = 0x40;
const MAX_CAPABILITIES: u32 = (0x100 - 0x40) / 4;

/// The capability of PCI Express.
const PCI_EXPRESS: u32 = 0x10;

/// Why a function's configuration space does not do what is asked of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// Nothing answers.
    #[error("the function does not answer: its command register reads all ones")]
    Absent,
    /// An offset cannot be reached.
    #[error("configuration space cannot be reached at {offset:#x}")]
    Unreachable {
        /// The offset, in bytes.
        offset: u16,
    },
    /// A register does not keep what is written to it.
    #[error("the register at {offset:#x} does not take {wanted:#06x}: it reads {found:#06x}")]
    NotTaken {
        /// The offset, in bytes.
        offset: u16,
        /// What was written.
        wanted: u16,
        /// What it reads.
        found: u16,
    },
    /// The capabilities' list has no end, or leaves its place.
    #[error("the list of capabilities is broken: {offset:#x} leads on to {next:#x}")]
    Capabilities {
        /// A capability, or where the first one's offset is.
        offset: u16,
        /// Where that leads.
        next: u16,
    },
}

/// Lets a function answer at its BARs and reach memory in the order that drivers rely on: memory space and bus mastering
/// on, INTx, relaxed ordering and no-snoop off.
///
/// # Errors
///
/// See [`ConfigError`]. Bus mastering is switched on last, and may be on after an error.
pub fn enable(config: &dyn ConfigIo) -> Result<(), ConfigError> {
    if let Some(capability) = find_capability(config, PCI_EXPRESS)? {
        let off = u32::from(PCIE_RELAXED_ORDERING | PCIE_NO_SNOOP);
        change(config, capability + PCIE_DEVICE_CONTROL, Change { set: 0, clear: off, must: off })?;
    } else {
        tracing::warn!("no PCI Express capability: relaxed ordering is left as it is");
    }
    let must = MEMORY_SPACE | BUS_MASTER;
    // A function that has no INTx may have no bit for it either.
    change(config, COMMAND, Change { set: must | INTX_DISABLE, clear: 0, must })
}

/// Lets a function answer at its BARs, and nothing more.
///
/// # Errors
///
/// See [`ConfigError`].
pub fn enable_memory(config: &dyn ConfigIo) -> Result<(), ConfigError> {
    change(config, COMMAND, Change { set: MEMORY_SPACE, clear: 0, must: MEMORY_SPACE })
}

/// Keeps a function from reaching memory. `false`: that could not be done.
pub fn disable_bus_mastering(config: &dyn ConfigIo) -> bool {
    change(config, COMMAND, Change { set: 0, clear: BUS_MASTER, must: BUS_MASTER }).is_ok()
}

/// What becomes of the bits of a register.
#[derive(Clone, Copy)]
struct Change {
    set: u32,
    clear: u32,
    /// Those that must be so afterwards.
    must: u32,
}

/// Changes the 16-bit register at a multiple of 4.
fn change(config: &dyn ConfigIo, offset: u16, change: Change) -> Result<(), ConfigError> {
    let old = read(config, offset)?;
    if old == u32::MAX {
        return Err(ConfigError::Absent);
    }
    let wanted = (old & 0xffff & !change.clear) | change.set;
    if !config.write_config32(offset, wanted) {
        return Err(ConfigError::Unreachable { offset });
    }
    let found = read(config, offset)?;
    if (found ^ wanted) & change.must == 0 {
        Ok(())
    } else {
        Err(ConfigError::NotTaken { offset, wanted: low(wanted), found: low(found) })
    }
}

/// Where a capability begins; `None`: the function does not have it.
fn find_capability(config: &dyn ConfigIo, id: u32) -> Result<Option<u16>, ConfigError> {
    let status = read(config, COMMAND)?;
    if status == u32::MAX {
        return Err(ConfigError::Absent);
    }
    if status & CAPABILITY_LIST == 0 {
        return Ok(None);
    }
    let mut offset = FIRST_CAPABILITY;
    let mut next = low(read(config, offset)? & 0xfc);
    for _ in 0..MAX_CAPABILITIES {
        if next == 0 {
            return Ok(None);
        }
        if next < HEADER_BYTES {
            break;
        }
        offset = next;
        let header = read(config, offset)?;
        if header & 0xff == id {
            return Ok(Some(offset));
        }
        next = low(header >> 8 & 0xfc);
    }
    Err(ConfigError::Capabilities { offset, next })
}

fn read(config: &dyn ConfigIo, offset: u16) -> Result<u32, ConfigError> {
    config.read_config32(offset).ok_or(ConfigError::Unreachable { offset })
}

const fn low(word: u32) -> u16 {
    (word & 0xffff) as u16
}

#[cfg(test)]
mod tests;
