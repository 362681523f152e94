//! The bytes of BAR 0 that only store: what describes the part, what is written and read back, and what
//! no source names.

use dmaring_ioat_spec::registers::{
    BAR_BYTES, MSIX_PENDING_OFFSET, MSIX_TABLE_OFFSET, Place, REGISTERS, Reset, table,
};

use crate::{msix::Message, preset::Part};

/// Bytes of the MSI-X table: one vector.
const MSIX_TABLE_BYTES: usize = 16;

/// Offset of the vector's control word in the table, and its bit.
const VECTOR_CONTROL: u32 = 12;
const VECTOR_MASKED: u32 = 1;

#[derive(Debug)]
pub(crate) struct Store(Vec<u8>);

impl Store {
    /// The bytes after a reset of the function.
    pub(crate) fn new(part: &Part) -> Self {
        let mut store = Self(vec![0; BAR_BYTES as usize]);
        for register in REGISTERS.iter().filter(|register| register.place == Place::General) {
            if let Reset::Value(value) = register.reset {
                store.save(register.offset, register.width.bytes(), value);
            }
        }
        store.mask_vector();
        store.save(table::CHANCNT.offset, 1, u64::from(part.channels));
        store.save(table::XFERCAP.offset, 1, u64::from(part.xfercap_log2));
        store.save(table::CBVER.offset, 1, u64::from(part.version.bits()));
        store.save(table::DMACAPABILITY.offset, 4, u64::from(part.capabilities.bits()));
        store
    }

    /// Up to eight bytes, little endian; 0 past the end.
    pub(crate) fn load(&self, offset: u32, bytes: u32) -> u64 {
        let start = offset as usize;
        let stored = self.0.get(start..start + bytes as usize).unwrap_or_default();
        stored.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
    }

    /// Stores the lowest bytes of a value; nothing past the end.
    pub(crate) fn save(&mut self, offset: u32, bytes: u32, value: u64) {
        let stored = self.0.iter_mut().skip(offset as usize).take(bytes as usize);
        for (place, byte) in stored.zip(value.to_le_bytes()) {
            *place = byte;
        }
    }

    /// What a channel reset does on some parts.
    pub(crate) fn wipe_msix_table(&mut self) {
        let start = MSIX_TABLE_OFFSET as usize;
        if let Some(table) = self.0.get_mut(start..start + MSIX_TABLE_BYTES) {
            table.fill(0);
        }
        self.mask_vector();
    }

    /// The vector is masked after a reset, as the PCI specification has it.
    fn mask_vector(&mut self) {
        self.save(MSIX_TABLE_OFFSET + VECTOR_CONTROL, 4, VECTOR_MASKED.into());
    }

    /// The message of the vector, and whether it is masked.
    pub(crate) fn msix_vector(&self) -> (Message, bool) {
        let address = self.load(MSIX_TABLE_OFFSET, 8);
        let data = self.load(MSIX_TABLE_OFFSET + 8, 4) as u32;
        let control = self.load(MSIX_TABLE_OFFSET + VECTOR_CONTROL, 4) as u32;
        (Message { address, data }, control & VECTOR_MASKED != 0)
    }

    /// Sets or clears the pending bit of the vector.
    pub(crate) fn set_msix_pending(&mut self, pending: bool) {
        self.save(MSIX_PENDING_OFFSET, 1, pending.into());
    }

    /// Whether the vector's message waits for an unmasking.
    pub(crate) fn msix_pending(&self) -> bool {
        self.load(MSIX_PENDING_OFFSET, 1) & 1 != 0
    }
}
