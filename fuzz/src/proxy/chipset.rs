//! VT-d's registers as the input sets them, and what may be written to the chipset.

use std::sync::{Mutex, MutexGuard, PoisonError};

use dmaring_emulated::guest::{Chipset, ChipsetError};

const GSTS: u64 = 0xfed9_001c;
const RTADDR: u64 = 0xfed9_0020;
const IRTA: u64 = 0xfed9_00b8;

/// The registers, and what was asked of them.
#[derive(Debug, Default)]
pub(super) struct Registers {
    /// Bits 31 and 25: translation and interrupt remapping are on.
    pub(super) status: u32,
    /// Where the root table is.
    pub(super) root: u64,
    /// Where the interrupt remapping table is, and how long.
    pub(super) remapping: u64,
    /// Whether nobody answers.
    pub(super) gone: bool,
    reads: u64,
    writes: u64,
}

/// How often it was asked and written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Counts {
    pub(super) reads: u64,
    pub(super) writes: u64,
}

/// A chipset that answers at once and takes nothing but interrupts.
#[derive(Debug, Default)]
pub(super) struct FakeChipset(Mutex<Registers>);

impl FakeChipset {
    pub(super) fn registers(&self) -> MutexGuard<'_, Registers> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many reads and writes there were.
    pub(super) fn counts(&self) -> Counts {
        let registers = self.registers();
        Counts { reads: registers.reads, writes: registers.writes }
    }

    fn read(&self) -> Result<MutexGuard<'_, Registers>, ChipsetError> {
        let mut registers = self.registers();
        registers.reads += 1;
        if registers.gone { Err(ChipsetError::Closed) } else { Ok(registers) }
    }
}

impl Chipset for FakeChipset {
    fn read32(&self, address: u64) -> Result<u32, ChipsetError> {
        assert_eq!(address, GSTS, "no register of 32 bits that says anything");
        self.read().map(|registers| registers.status)
    }

    fn read64(&self, address: u64) -> Result<u64, ChipsetError> {
        let registers = self.read()?;
        match address {
            RTADDR => Ok(registers.root),
            IRTA => Ok(registers.remapping),
            _ => panic!("a read of {address:#x}"),
        }
    }

    fn write32(&self, address: u64, _value: u32) -> Result<(), ChipsetError> {
        assert_eq!(address >> 20, 0xfee, "an interrupt to {address:#x}");
        let mut registers = self.registers();
        registers.writes += 1;
        if registers.gone { Err(ChipsetError::Closed) } else { Ok(()) }
    }
}
