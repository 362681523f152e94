//! Any accesses to the emulated device, and any descriptors in mapped memory.
//!
//! The device never panics, a step carries out no more than it was asked to, and no byte changes that is not
//! mapped for writing. Two pages are lent, each between two that are not: one to be written, one to be read.

use std::sync::Arc;

use arbitrary::Unstructured;
use dmaring_emulated::{
    Bar, Config, Device, ExtendedConfig, FaultStyle, InternalErrors, Iommu, Preset,
};
use dmaring_engine::Rights;
use dmaring_ioat_spec::{ConfigIo, RegisterIo, registers::Version};

use crate::{
    memory::{PAGE_WORDS, Pages},
    numbers::{byte, number, word},
};

/// How many calls an input makes at most.
const MOST_CALLS: usize = 512;

/// What goes wrong, by the first byte of the input.
const PLANS: [&str; 4] = [
    "",
    "every=5:duplicate-writeback,nth=3:short=100,every=7:silent-short=5",
    "nth=3:chanerr=9,nth=6:stall,every=4:lost-writeback",
    "nth=9:gone,channel=1:every=2:chanerr=31,every=3:duplicate-writeback",
];

/// Does what the bytes say.
pub fn run(input: &[u8]) {
    let mut input = Unstructured::new(input);
    let mut bench = Bench::new(&mut input);
    for _ in 0..MOST_CALLS {
        if input.is_empty() {
            break;
        }
        bench.call(&mut input);
    }
    bench.step(500);
    bench.check();
}

struct Bench {
    device: Device,
    bar: Bar,
    config: Config,
    domain: Arc<Iommu>,
    ring: Pages,
    writable: Pages,
    readable: Pages,
}

impl Bench {
    fn new(input: &mut Unstructured<'_>) -> Self {
        let (kind, plan) = (byte(input), byte(input));
        let plan =
            PLANS[usize::from(plan) % PLANS.len()].parse().expect("a plan that is written so");
        let preset = [Preset::Skx, Preset::Icx, Preset::Bdx][usize::from(kind) % 3];
        let mut builder =
            Device::builder(preset).channels(2).channels_per_function(2).fault_plan(plan);
        if kind & 0x10 != 0 {
            builder = builder.fault_style(FaultStyle::Data).internal_errors(InternalErrors::Never);
        }
        if kind & 0x20 != 0 {
            builder = builder.extended_config(ExtendedConfig::AllOnes).version(Version::V3_0);
        }
        if kind & 0x40 != 0 {
            builder = builder.xfercap(0).channels(4);
        }
        let device = builder.build().expect("a device that can exist");
        let (bar, config, domain) = (device.registers(), device.config(), device.domain());
        let mut bench = Self {
            device,
            bar,
            config,
            domain,
            ring: Pages::new(1),
            writable: Pages::new(3),
            readable: Pages::new(3),
        };
        bench.map();
        for word in 0..3 * PAGE_WORDS {
            bench.writable.store(word, pattern(word));
            bench.readable.store(word, pattern(word));
        }
        bench
    }

    fn call(&mut self, input: &mut Unstructured<'_>) {
        match byte(input) % 16 {
            0 | 1 => self.access(input, true),
            2 => self.access(input, false),
            3 => {
                let (offset, value) = (number::<u16>(input) % 0x1100, number(input));
                let _ =
                    (self.config.read_config32(offset), self.config.write_config32(offset, value));
            }
            4 => {
                let at = usize::from(number::<u16>(input)) % PAGE_WORDS;
                let value = self.value(input);
                self.ring.store(at, value);
            }
            5..=8 => self.describe(input),
            9 => self.start(),
            10 | 11 => self.bar.write16(0x86, u16::from(byte(input) % 70)),
            12 | 13 => self.step(usize::from(byte(input) % 70)),
            14 => self.other(byte(input)),
            _ => {
                let at = 0x80 + u32::from(byte(input) & 0x7f);
                let value = self.value(input);
                self.bar.write64(at & !7, value);
            }
        }
    }

    /// A register access of any width, aligned or not, mostly where there are registers.
    fn access(&self, input: &mut Unstructured<'_>, write: bool) {
        let how = byte(input);
        let at = match how >> 2 & 3 {
            0 => number::<u32>(input),
            1 => u32::from(number::<u16>(input)) % 0x4100,
            _ => 0x80 + u32::from(byte(input)),
        };
        let value = if write { self.value(input) } else { 0 };
        match (how & 3, write) {
            (0, true) => self.bar.write8(at, value as u8),
            (1, true) => self.bar.write16(at, value as u16),
            (2, true) => self.bar.write32(at, value as u32),
            (_, true) => self.bar.write64(at, value),
            (0, false) => drop(self.bar.read8(at)),
            (1, false) => drop(self.bar.read16(at)),
            (2, false) => drop(self.bar.read32(at)),
            (_, false) => drop(self.bar.read64(at)),
        }
    }

    /// A number, or an address in or near what is mapped.
    fn value(&self, input: &mut Unstructured<'_>) -> u64 {
        let how = byte(input);
        match how & 3 {
            0 => word(input, 0x2000),
            which => {
                let base = self.mapped()[usize::from(which) - 1];
                base.wrapping_add_signed(i64::from(number::<i16>(input)) % 8192)
            }
        }
    }

    /// A descriptor that makes sense but for its addresses and flags.
    fn describe(&self, input: &mut Unstructured<'_>) {
        let (at, next, flags) = (byte(input) % 64, byte(input), byte(input));
        let operation = u32::from(flags >> 7) << 24;
        let size = u64::from(number::<u16>(input) % 9000);
        let (source, destination) = (self.value(input), self.value(input));
        let [ring, ..] = self.mapped();
        let next = if next < 0xf0 { ring + u64::from(next % 64) * 64 } else { self.value(input) };
        let control = u64::from(u32::from(flags & 0x3f) | 0x08 | operation);
        let words = [control << 32 | size, source, destination, next];
        for (word, value) in words.into_iter().enumerate() {
            self.ring.store(usize::from(at) * 8 + word, value);
        }
    }

    /// Brings the first channel to where it takes descriptors, as drivers do.
    fn start(&self) {
        let [ring, writable, _] = self.mapped();
        self.config.write_config32(0x04, 0x6);
        self.config.write_config32(0x180, u32::MAX);
        self.bar.write32(0xa8, u32::MAX);
        self.bar.write16(0x80, 0x0c);
        self.bar.write64(0x98, writable + 8);
        self.bar.write64(0x90, ring);
    }

    fn other(&mut self, which: u8) {
        match which % 6 {
            0 => self.device.function(0).expect("there is one").reset(),
            1 => self.device.function(0).expect("there is one").set_bus_master(which & 0x80 != 0),
            2 => self.ring.unmap(),
            3 => self.writable.unmap(),
            4 => self.readable.unmap(),
            _ => self.device.set_fault_plan(&PLANS[3].parse().expect("a plan that is written so")),
        }
        self.map();
    }

    fn step(&self, most: usize) {
        assert!(self.device.step(most) <= most);
    }

    /// Maps what is not mapped.
    fn map(&mut self) {
        self.ring.map(&self.domain, 0, 1, Rights::Read);
        self.writable.map(&self.domain, 1, 1, Rights::ReadWrite);
        self.readable.map(&self.domain, 1, 1, Rights::Read);
    }

    /// Where the ring, the writable and the readable page are, for the device.
    fn mapped(&self) -> [u64; 3] {
        [&self.ring, &self.writable, &self.readable].map(Pages::iova)
    }

    fn check(&self) {
        for word in 0..3 * PAGE_WORDS {
            assert_eq!(self.readable.load(word), pattern(word), "read-only word {word}");
            if word / PAGE_WORDS != 1 {
                assert_eq!(self.writable.load(word), pattern(word), "word {word} is not mapped");
            }
        }
        assert!(self.domain.misuse().is_empty());
        assert_eq!(self.domain.mappings(), 3);
        let _ = (self.device.violations().len(), self.domain.fault_list().len());
    }
}

fn pattern(word: usize) -> u64 {
    (word as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}
