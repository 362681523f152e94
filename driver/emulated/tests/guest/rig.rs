//! A guest by hand: memory in a memfd, a chipset of three registers, and a driver that types registers.

use std::{
    fs::File,
    os::unix::fs::FileExt,
    sync::{Arc, Mutex},
};

use dmaring_emulated::{
    Device, DeviceBuilder, Preset,
    guest::{Chipset, ChipsetError, GuestFunction, MemoryRegion, Slot},
};

pub(crate) const GSTS: u64 = 0xfed9_001c;
pub(crate) const RTADDR: u64 = 0xfed9_0020;
pub(crate) const IRTA: u64 = 0xfed9_00b8;

/// Where the guest's firmware put BAR 0.
pub(crate) const BAR: u64 = 0xfebf_0000;

pub(crate) const SKX: Preset = Preset::Skx;

/// The guest's memory, from guest-physical address 0 on.
pub(crate) struct Ram {
    file: File,
    size: u64,
}

impl Ram {
    pub(crate) fn new(size: u64) -> Self {
        let flags = rustix::fs::MemfdFlags::CLOEXEC;
        let file = File::from(rustix::fs::memfd_create("guest", flags).unwrap());
        file.set_len(size).unwrap();
        Self { file, size }
    }

    pub(crate) fn region(&self) -> MemoryRegion {
        MemoryRegion { address: 0, size: self.size, offset: 0, file: self.file() }
    }

    pub(crate) fn file(&self) -> std::os::fd::OwnedFd {
        self.file.try_clone().unwrap().into()
    }

    pub(crate) fn write(&self, at: u64, bytes: &[u8]) {
        self.file.write_all_at(bytes, at).unwrap();
    }

    pub(crate) fn read(&self, at: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.file.read_exact_at(&mut bytes, at).unwrap();
        bytes
    }

    pub(crate) fn set_word(&self, at: u64, word: u64) {
        self.write(at, &word.to_le_bytes());
    }

    pub(crate) fn word(&self, at: u64) -> u64 {
        u64::from_le_bytes(self.read(at, 8).try_into().unwrap())
    }

    /// A descriptor: size, control, source, destination, next.
    pub(crate) fn descriptor(&self, at: u64, words: [u64; 5]) {
        let [size, control, source, destination, next] = words;
        for (index, word) in
            [control << 32 | size, source, destination, next].into_iter().enumerate()
        {
            self.set_word(at + 8 * index as u64, word);
        }
    }
}

/// Registers of VT-d as they are now, and what was written where.
#[derive(Debug, Default)]
pub(crate) struct Registers {
    pub(crate) gsts: u32,
    pub(crate) rtaddr: u64,
    pub(crate) irta: u64,
    pub(crate) asked: u64,
    pub(crate) written: Vec<(u64, u32)>,
    pub(crate) gone: bool,
    /// Writes are not answered.
    pub(crate) deaf: bool,
}

/// A chipset that answers at once.
#[derive(Debug, Default)]
pub(crate) struct FakeChipset(pub(crate) Mutex<Registers>);

impl FakeChipset {
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Translation on, with the root table here.
    pub(crate) fn translate(&self, root: u64) {
        let mut registers = self.0.lock().unwrap();
        registers.gsts |= 1 << 31;
        registers.rtaddr = root;
    }

    /// Interrupt remapping on, with this in IRTA.
    pub(crate) fn remap(&self, irta: u64) {
        let mut registers = self.0.lock().unwrap();
        registers.gsts |= 1 << 25;
        registers.irta = irta;
    }

    pub(crate) fn asked(&self) -> u64 {
        self.0.lock().unwrap().asked
    }

    pub(crate) fn written(&self) -> Vec<(u64, u32)> {
        self.0.lock().unwrap().written.clone()
    }
}

impl Chipset for FakeChipset {
    fn read32(&self, address: u64) -> Result<u32, ChipsetError> {
        assert_eq!(address, GSTS);
        let mut registers = self.0.lock().unwrap();
        registers.asked += 1;
        if registers.gone { Err(ChipsetError::Closed) } else { Ok(registers.gsts) }
    }

    fn read64(&self, address: u64) -> Result<u64, ChipsetError> {
        let registers = self.0.lock().unwrap();
        match address {
            RTADDR => Ok(registers.rtaddr),
            IRTA => Ok(registers.irta),
            _ => panic!("a read of {address:#x}"),
        }
    }

    fn write32(&self, address: u64, value: u32) -> Result<(), ChipsetError> {
        let mut registers = self.0.lock().unwrap();
        if registers.deaf {
            return Err(ChipsetError::Closed);
        }
        registers.written.push((address, value));
        Ok(())
    }
}

pub(crate) fn slot(text: &str) -> Slot {
    text.parse().unwrap()
}

pub(crate) fn builder() -> DeviceBuilder {
    Device::builder(SKX)
}

/// The function at 05.0 with this memory, decoded and with bus mastering.
pub(crate) fn function(ram: &Ram, chipset: &Arc<FakeChipset>) -> GuestFunction {
    function_at("05.0", ram, chipset)
}

pub(crate) fn function_at(at: &str, ram: &Ram, chipset: &Arc<FakeChipset>) -> GuestFunction {
    let chipset = Arc::clone(chipset);
    let function = GuestFunction::new(builder(), slot(at), false, chipset).unwrap();
    function.set_memory(vec![ram.region()]).unwrap();
    enable(&function);
    function
}

/// What firmware and a driver do: BAR 0, memory decoding, bus mastering.
pub(crate) fn enable(function: &GuestFunction) {
    function.write_config(0x10, 4, BAR as u32);
    function.write_config(0x04, 2, 0x6);
}

/// Channel 0's CHANCTRL as DPDK has it, CHANCMP, CHAINADDR and a doorbell for `count` descriptors.
pub(crate) fn start(function: &GuestFunction, chain: u64, completion: u64, count: u64) {
    function.write_bar(BAR + 0x80, 2, 0x0c);
    function.write_bar(BAR + 0x98, 8, completion);
    function.write_bar(BAR + 0x90, 8, chain);
    function.write_bar(BAR + 0x86, 2, count);
}

/// The reset that drivers do: CHANERR written back, then the command.
pub(crate) fn recover(function: &GuestFunction) {
    let errors = function.read_bar(BAR + 0xa8, 4);
    function.write_bar(BAR + 0xa8, 4, errors);
    function.write_bar(BAR + 0x84, 1, 0x20);
    while function.read_bar(BAR + 0x84, 1) & 0x20 != 0 {}
}

pub(crate) fn state(function: &GuestFunction) -> u64 {
    function.read_bar(BAR + 0x88, 8) & 7
}

pub(crate) fn chanerr(function: &GuestFunction) -> u64 {
    function.read_bar(BAR + 0xa8, 4)
}

pub(crate) const ACTIVE: u64 = 0;
pub(crate) const IDLE: u64 = 1;
pub(crate) const HALTED: u64 = 3;

/// Bytes that differ from their neighbours.
pub(crate) fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 7 + at / 251) as u8 ^ 0x5a).collect()
}
