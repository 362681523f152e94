//! Any messages of QEMU's proxy to the emulated function, and any guest behind them.
//!
//! A message is answered, taken in silence or refused as the protocol has it, and one that is refused changes
//! nothing. A guest's tables, descriptors and VT-d registers may say anything: nothing panics, a step does
//! no more than it was asked to, interrupts go where interrupts go, and no byte changes that was not lent. What
//! comes with a message and is not memory is closed with it.

mod chipset;
mod exchange;
mod memory;
mod protocol;
mod tables;

use std::sync::Arc;

use arbitrary::Unstructured;
use dmaring_emulated::{
    Device, Preset,
    guest::{GuestFunction, Slot},
};

use self::{
    chipset::FakeChipset,
    memory::{Memory, RAM, Region, Sent},
    protocol::{BAR_READ, BAR_WRITE, CONFIG_READ, CONFIG_WRITE, Message, RESET, SET_IRQ, SYNC},
};
use crate::numbers::{byte, number, word};

/// How many calls an input makes at most.
const MOST_CALLS: usize = 256;

/// Where firmware puts BAR 0.
const BAR: u64 = 0xfebf_0000;

const SLOT: Slot = Slot::new(5, 0).expect("a slot that there is");

/// What goes wrong, by the first byte of the input.
const PLANS: [&str; 4] = [
    "",
    "every=5:duplicate-writeback,nth=3:short=100,every=7:silent-short=5",
    "nth=3:chanerr=9,nth=6:stall,every=4:lost-writeback",
    "nth=9:gone,channel=1:every=2:chanerr=31",
];

/// Does what the bytes say.
pub fn run(input: &[u8]) {
    let mut input = Unstructured::new(input);
    let mut bench = Bench::new(byte(&mut input));
    for _ in 0..MOST_CALLS {
        if input.is_empty() {
            break;
        }
        bench.call(&mut input);
    }
    bench.step(100);
    assert!(bench.function.violations().len() <= 1024);
    assert!(bench.function.iommu_faults().len() <= 1024);
}

struct Bench {
    function: GuestFunction,
    chipset: Arc<FakeChipset>,
    memory: Memory,
}

impl Bench {
    fn new(kind: u8) -> Self {
        let plan =
            PLANS[usize::from(kind) % PLANS.len()].parse().expect("a plan that is written so");
        let preset = [Preset::Skx, Preset::Icx, Preset::Bdx][usize::from(kind >> 2) % 3];
        let builder = Device::builder(preset).channels(2).channels_per_function(2).fault_plan(plan);
        let chipset = Arc::new(FakeChipset::default());
        let above = Arc::<FakeChipset>::clone(&chipset);
        let function = GuestFunction::new(builder, SLOT, kind & 0x80 != 0, above)
            .expect("a device that can exist");
        let memory = Memory::new();
        let mut bench = Self { function, chipset, memory };
        bench.boot();
        bench
    }

    fn call(&mut self, input: &mut Unstructured<'_>) {
        match byte(input) % 16 {
            0 => self.raw(input),
            1 => self.nearly(input),
            2 | 3 => self.config(input),
            4..=6 => self.bar(input),
            7 => self.send(&Message::new(RESET, Vec::new()), &[]),
            8 => self.sync(input),
            9 => tables::store(&mut self.memory, input),
            10 => tables::describe(&mut self.memory, input),
            11 => tables::translate(&mut self.memory, &self.chipset, input),
            12 => self.start(byte(input)),
            13 => self.step(u64::from(byte(input) % 70)),
            14 => self.stream(input),
            _ => self.other(byte(input), byte(input)),
        }
    }

    /// A header of any bytes, or of a command that there is; any payload.
    fn raw(&mut self, input: &mut Unstructured<'_>) {
        let (how, length) = (byte(input), usize::from(byte(input)));
        let mut header: [u8; 16] = number(input);
        if how & 1 != 0 {
            header = protocol::header(i32::from(how >> 4), length as u64);
        }
        let payload = input.bytes(length.min(input.len())).unwrap_or_default().to_vec();
        let regions = vec![region(input); usize::from(how >> 1 & 3)];
        self.send(&Message { header, payload }, &regions);
    }

    /// A message with one thing wrong, if any.
    fn nearly(&mut self, input: &mut Unstructured<'_>) {
        let (command, how) = (i32::from(byte(input) % 9), byte(input));
        let length = protocol::payload_bytes(command).unwrap_or(8);
        let mut message = Message::new(command, vec![1; length]);
        match how % 4 {
            0 => message.payload.resize(usize::from(byte(input)), 0),
            1 => message.header = protocol::header(command, word(input, length as u64)),
            2 => message.header[4..8].copy_from_slice(&number::<[u8; 4]>(input)),
            _ => {}
        }
        let regions = vec![region(input); usize::from(how >> 2 & 3)];
        self.send(&message, &regions);
    }

    fn config(&mut self, input: &mut Unstructured<'_>) {
        let how = byte(input);
        let offset = if how & 0x10 != 0 { number(input) } else { u32::from(byte(input)) };
        let (command, value) =
            if how & 0x20 != 0 { (CONFIG_WRITE, number(input)) } else { (CONFIG_READ, 0) };
        self.send(&Message::config(command, offset, width(how), value), &[]);
    }

    /// An access mostly where there are registers, or the vector of MSI-X.
    fn bar(&mut self, input: &mut Unstructured<'_>) {
        let how = byte(input);
        let address = match how >> 4 & 3 {
            0 => word(input, BAR),
            1 => BAR + u64::from(number::<u16>(input)) % 0x4100,
            2 => BAR + 0x2000 + u64::from(byte(input) & 0xf),
            _ => BAR + 0x80 + u64::from(byte(input)),
        };
        let (command, value) =
            if how & 0x40 != 0 { (BAR_READ, 0) } else { (BAR_WRITE, tables::value(input)) };
        self.send(&Message::bar(command, address, width(how), value, how & 0x8f != 0x80), &[]);
    }

    fn sync(&mut self, input: &mut Unstructured<'_>) {
        let count = usize::from(byte(input) % 10);
        let regions: Vec<_> = (0..count).map(|_| region(input)).collect();
        self.set_memory(&regions);
    }

    /// The memory that the guest has at first.
    fn boot(&mut self) {
        self.set_memory(&[
            Region { address: 0, size: RAM, offset: 0, behind: Sent::File(0) },
            Region { address: RAM, size: 0x3000, offset: 0, behind: Sent::File(1) },
        ]);
    }

    fn set_memory(&mut self, regions: &[Region]) {
        let mut payload = vec![0; 192];
        for (row, region) in regions.iter().enumerate().take(8) {
            for (column, word) in [region.address, region.size, region.offset].iter().enumerate() {
                let at = 8 * (8 * column + row);
                payload[at..at + 8].copy_from_slice(&word.to_le_bytes());
            }
        }
        self.send(&Message::new(SYNC, payload), regions);
    }

    /// Brings a channel to where it takes descriptors, as firmware and a driver do.
    fn start(&mut self, how: u8) {
        if how & 0x40 != 0 {
            self.boot();
        }
        let channel = BAR + 0x80 + 0x80 * u64::from(how >> 7);
        for (offset, bytes, value) in [(0x10, 4, BAR as u32), (0x04, 2, 0x6), (0x80, 4, 1 << 31)] {
            self.send(&Message::config(CONFIG_WRITE, offset, bytes, value), &[]);
        }
        for (address, bytes, value) in [
            (BAR + 0x2000, 8, 0xfee0_0010 | u64::from(how & 7) << 2),
            (BAR + 0x2008, 8, 0x41),
            (BAR + 0x03, 1, 1),
            (channel + 0x28, 4, u64::from(u32::MAX)),
            (channel, 2, 0x1d),
            (channel + 0x18, 8, tables::COMPLETION),
            (channel + 0x10, 8, 0),
            (channel + 0x06, 2, u64::from(how & 0x3f)),
        ] {
            self.send(&Message::bar(BAR_WRITE, address, bytes, value, true), &[]);
        }
    }

    fn other(&mut self, which: u8, operand: u8) {
        match which % 8 {
            0 => self.function.set_paused(operand & 1 != 0),
            1 => self.chipset.registers().gone ^= true,
            2 => self.function.unplug(),
            3 => {
                self.function.clear_memory();
                self.memory.lend(Vec::new());
            }
            4 => {
                let plan = PLANS[usize::from(operand) % PLANS.len()];
                self.function.set_fault_plan(&plan.parse().expect("a plan that is written so"));
            }
            _ => {
                let files: Vec<_> = (0..operand % 5)
                    .map(|at| Region { behind: Sent::of(operand >> 3 ^ at), ..Region::NONE })
                    .collect();
                self.send(&Message::new(SET_IRQ, Vec::new()), &files);
            }
        }
    }

    /// Steps the device: a bounded time, whatever its memory says.
    fn step(&mut self, most: u64) {
        let before = self.chipset.counts();
        match self.function.step(most) {
            Ok(ended) => assert!(ended <= most, "{ended} of {most} descriptors"),
            Err(error) => assert!(self.chipset.registers().gone, "{error}"),
        }
        let after = self.chipset.counts();
        assert!(after.reads - before.reads <= 3, "VT-d was asked more than once");
        assert!(after.writes - before.writes <= most + 20, "more interrupts than descriptors");
        self.memory.check(true);
    }
}

/// A region of whole pages near the start of memory, unless the input has another idea.
fn region(input: &mut Unstructured<'_>) -> Region {
    let (behind, how) = (Sent::of(byte(input)), byte(input));
    let mut number = |any: bool, most: u8| {
        if any { word(input, RAM) } else { u64::from(byte(input) % most) << 12 }
    };
    let (address, size) = (number(how & 0x07 == 7, 32), number(how & 0x38 == 0x38, 6));
    Region { address, size, offset: number(how & 0xc0 == 0xc0, 4), behind }
}

fn width(how: u8) -> u32 {
    [1, 2, 4, 8, 4, 8, 0, 3][usize::from(how & 7)]
}
