//! Interrupt remapping: from the message that a function sends to the one that a processor takes.
//!
//! A message in remappable format is an index into a table of the guest's memory; one in the older format
//! passes as it is, as QEMU has it. Source-id validation is not done. Source: Intel VT-d specification.

use super::{GuestFaultReason as Reason, memory::Memory, vtd::Registers};
use crate::msix::Message;

/// Where messages for processors go: 1 MiB of addresses from here on.
const MESSAGES: u64 = 0xfee0_0000;

/// Address bit 4: the message is an index.
const REMAPPABLE: u64 = 1 << 4;
/// Address bit 3: the low half of the data is added to the index.
const SUBHANDLE: u64 = 1 << 3;
/// IRTA bit 11: destinations have 32 bits.
const EXTENDED: u64 = 1 << 11;

/// The message to write.
pub(super) fn route(
    memory: &Memory,
    registers: Registers,
    message: Message,
) -> Result<Message, Reason> {
    if message.address >> 20 != MESSAGES >> 20 {
        return Err(Reason::NotAnInterrupt);
    }
    let Some(remapping) = registers.remapping else { return Ok(message) };
    if message.address & REMAPPABLE == 0 {
        return Ok(message);
    }
    let mut index = message.address >> 5 & 0x7fff | (message.address >> 2 & 1) << 15;
    if message.address & SUBHANDLE != 0 {
        index += u64::from(message.data & 0xffff);
    }
    // The table has 2^(n+1) entries, n being the lowest four bits.
    if index >> ((remapping & 0xf) + 1) != 0 {
        return Err(Reason::RemapIndex);
    }
    // The register is the guest's: its table may end past the last address.
    let entry = (remapping & !0xfff).checked_add(16 * index).ok_or(Reason::RemapIndex)?;
    let low = memory.word(entry).ok_or(Reason::TableNotMemory(entry))?;
    if low & 1 == 0 {
        return Err(Reason::RemapNotPresent);
    }
    let destination = if remapping & EXTENDED != 0 { low >> 32 } else { low >> 40 & 0xff };
    if destination > 0xff {
        return Err(Reason::RemapDestination);
    }
    // Redirection hint and destination mode; vector, delivery mode and trigger mode.
    let address = MESSAGES | destination << 12 | (low >> 3 & 1) << 3 | (low >> 2 & 1) << 2;
    let data = low >> 16 & 0xff | (low >> 5 & 7) << 8 | (low >> 4 & 1) << 15;
    Ok(Message { address, data: data as u32 })
}
