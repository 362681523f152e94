//! Configuration space of one function.
//!
//! A word of it is writable bit by bit, cleared by writing ones, or neither; [`rule`] says which. What
//! no rule names reads as it was made and cannot be written.

use dmaring_ioat_spec::{
    device::{CLASS, VENDOR},
    registers::{
        BAR_BYTES, MSIX_PENDING_OFFSET, MSIX_TABLE_OFFSET,
        config::{
            CHANERR_INT, CHANERRMSK_INT, DMACTRL, DMAUNCERRSTS, DMAUNCERRSTS_CONFIG_PARITY,
            PCIE_DEVICE_CONTROL, PCIE_NO_SNOOP, PCIE_RELAXED_ORDERING,
        },
    },
};

use crate::{
    knobs::{BarWidth, ExtendedConfig, InternalErrors, Knobs},
    preset::Part,
};

const BYTES: u16 = 4096;
const PLAIN_BYTES: u16 = 256;

/// The command register, and status above it.
pub(crate) const COMMAND: u16 = 0x04;
const BAR0: u16 = 0x10;
const BAR0_HIGH: u16 = 0x14;
const MSIX: u16 = 0x80;
const PCIE: u16 = 0x90;
const DEVICE_CONTROL: u16 = PCIE + PCIE_DEVICE_CONTROL;

const COMMAND_MEMORY: u32 = 1 << 1;
/// Bus mastering is on.
pub(crate) const COMMAND_MASTER: u32 = 1 << 2;
const STATUS_CAPABILITIES: u32 = 1 << 20;
const START_RESET: u32 = 1 << 15;
const MSIX_ENABLE: u32 = 1 << 31;
const MSIX_MASK: u32 = 1 << 30;

/// What a write did, besides storing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    None,
    /// A function-level reset was asked for.
    Reset,
    /// Interrupts were enabled, disabled, masked or unmasked, or bus mastering was turned on or off.
    Interrupts,
}

#[derive(Clone, Debug)]
pub(crate) struct ConfigSpace {
    words: Vec<u32>,
    knobs: Knobs,
}

/// What a write does to the word at an offset.
#[derive(Clone, Copy, Default)]
struct Rule {
    writable: u32,
    write_one_to_clear: u32,
}

fn rule(offset: u16) -> Rule {
    let writable = |writable| Rule { writable, ..Rule::default() };
    let clears = |write_one_to_clear| Rule { write_one_to_clear, ..Rule::default() };
    match offset {
        COMMAND => Rule { writable: 0x0547, write_one_to_clear: 0xf900_0000 },
        0x0c | 0x3c => writable(0xff),
        BAR0 => writable(!(BAR_BYTES - 1)),
        BAR0_HIGH | DMACTRL | CHANERRMSK_INT => writable(u32::MAX),
        MSIX => writable(MSIX_ENABLE | MSIX_MASK),
        DEVICE_CONTROL => Rule { writable: 0x7fff, write_one_to_clear: 0x000f_0000 },
        DMAUNCERRSTS | CHANERR_INT => clears(u32::MAX),
        _ => Rule::default(),
    }
}

impl ConfigSpace {
    /// Configuration space after a reset of the function.
    pub(crate) fn new(part: &Part, knobs: Knobs) -> Self {
        let mut space = Self { words: vec![0; usize::from(BYTES / 4)], knobs };
        space.set(0x00, u32::from(part.device_id) << 16 | u32::from(VENDOR));
        space.set(COMMAND, STATUS_CAPABILITIES);
        space.set(0x08, u32::from(CLASS) << 16);
        space.set(0x0c, if part.multi_function { 0x0080_0000 } else { 0 });
        // Memory, not prefetchable.
        space.set(BAR0, if knobs.bar_width == BarWidth::Bits64 { 0x4 } else { 0 });
        space.set(0x2c, u32::from(VENDOR));
        space.set(0x34, u32::from(MSIX));
        space.set(0x3c, 0x0100);
        // MSI-X: one vector, table and pending bits in BAR 0.
        space.set(MSIX, u32::from(PCIE) << 8 | 0x11);
        space.set(MSIX + 4, MSIX_TABLE_OFFSET);
        space.set(MSIX + 8, MSIX_PENDING_OFFSET);
        // PCI Express: version 2, an endpoint of the root complex that can be reset by itself; relaxed
        // ordering and no snoop are on after a reset, as the PCI Express specification has it.
        space.set(PCIE, 0x0092_0010);
        space.set(PCIE + 4, 1 << 28);
        let control = 0x2000 | PCIE_RELAXED_ORDERING | PCIE_NO_SNOOP;
        space.set(DEVICE_CONTROL, u32::from(control));
        if part.platform().is_some_and(|spec| spec.spurious_config_parity) {
            space.set(DMAUNCERRSTS, DMAUNCERRSTS_CONFIG_PARITY);
        }
        space
    }

    /// What firmware and an operating system leave behind: memory decoded, bus mastering by the knob.
    pub(crate) fn enable(&mut self) {
        let master = if self.knobs.bus_master { COMMAND_MASTER } else { 0 };
        self.set(COMMAND, self.get(COMMAND) | COMMAND_MEMORY | master);
    }

    pub(crate) fn bus_master(&self) -> bool {
        self.get(COMMAND) & COMMAND_MASTER != 0
    }

    pub(crate) fn memory(&self) -> bool {
        self.get(COMMAND) & COMMAND_MEMORY != 0
    }

    pub(crate) fn read(&self, offset: u16) -> Option<u32> {
        if offset >= BYTES || !offset.is_multiple_of(4) {
            return None;
        }
        match self.knobs.extended_config {
            ExtendedConfig::AllOnes if offset >= PLAIN_BYTES => Some(u32::MAX),
            ExtendedConfig::Unreachable if offset >= PLAIN_BYTES => None,
            _ => Some(self.get(offset)),
        }
    }

    /// Writes the bits in `mask` of the word at an offset.
    pub(crate) fn write(&mut self, offset: u16, mask: u32, value: u32) -> Option<Effect> {
        self.read(offset)?;
        let rule = self.rule(offset);
        let (writable, value) = (rule.writable & mask, value & mask);
        let kept = self.get(offset) & !writable & !(value & rule.write_one_to_clear);
        self.set(offset, kept | value & writable);
        Some(match offset {
            DEVICE_CONTROL if value & START_RESET != 0 => Effect::Reset,
            MSIX | COMMAND => Effect::Interrupts,
            _ => Effect::None,
        })
    }

    /// Where BAR 0 begins, as was written.
    pub(crate) fn bar_base(&self) -> u64 {
        let low = u64::from(self.get(BAR0) & !0xf);
        match self.knobs.bar_width {
            BarWidth::Bits64 => u64::from(self.get(BAR0_HIGH)) << 32 | low,
            BarWidth::Bits32 => low,
        }
    }

    /// Whether interrupts are MSI-X messages.
    pub(crate) fn msix_enabled(&self) -> bool {
        self.get(MSIX) & MSIX_ENABLE != 0
    }

    /// Whether every vector is masked.
    pub(crate) fn msix_masked(&self) -> bool {
        self.get(MSIX) & MSIX_MASK != 0
    }

    /// CHANERR_INT.
    pub(crate) fn internal_errors(&self) -> u32 {
        self.get(CHANERR_INT)
    }

    /// Notes an error of a channel in CHANERR_INT.
    pub(crate) fn note_error(&mut self, bits: u32) {
        let reachable = self.knobs.extended_config == ExtendedConfig::Present;
        if reachable && self.knobs.internal_errors == InternalErrors::Mirrored {
            let shown = bits & !self.get(CHANERRMSK_INT);
            self.set(CHANERR_INT, self.get(CHANERR_INT) | shown);
        }
    }

    /// Takes over every writable bit of another one, as an operating system does around a reset.
    pub(crate) fn restore(&mut self, saved: &Self) {
        for offset in (0..BYTES).step_by(4) {
            let writable = self.rule(offset).writable;
            self.set(offset, self.get(offset) & !writable | saved.get(offset) & writable);
        }
    }

    fn rule(&self, offset: u16) -> Rule {
        match (offset, self.knobs.bar_width) {
            (BAR0_HIGH, BarWidth::Bits32) => Rule::default(),
            _ => rule(offset),
        }
    }

    fn get(&self, offset: u16) -> u32 {
        self.words.get(usize::from(offset / 4)).copied().unwrap_or(u32::MAX)
    }

    fn set(&mut self, offset: u16, value: u32) {
        if let Some(word) = self.words.get_mut(usize::from(offset / 4)) {
            *word = value;
        }
    }
}

#[cfg(test)]
mod tests {
    use dmaring_ioat_spec::registers::{DmaCapability, Version, config::DMAUNCERRSTS};

    use super::{ConfigSpace, Knobs, Part};

    #[test]
    fn ones_outside_the_mask_clear_nothing() {
        let part = Part {
            device_id: 0x3430,
            version: Version::V3_0,
            xfercap_log2: 20,
            capabilities: DmaCapability::empty(),
            channels: 1,
            multi_function: false,
        };
        let mut space = ConfigSpace::new(&part, Knobs::default());
        assert_eq!(space.read(DMAUNCERRSTS), Some(0x10));
        space.write(DMAUNCERRSTS, 0xffff_ff00, u32::MAX);
        assert_eq!(space.read(DMAUNCERRSTS), Some(0x10));
        space.write(DMAUNCERRSTS, 0xff, u32::MAX);
        assert_eq!(space.read(DMAUNCERRSTS), Some(0));
    }
}
