//! Whatever is written, the device never panics and never touches what is not mapped for it.

use dmaring_emulated::{Device, Preset};
use dmaring_engine::Rights;
use dmaring_ioat_spec::{ConfigIo, RegisterIo};
use proptest::prelude::*;

use crate::rig::*;

#[derive(Clone, Debug)]
enum Act {
    Write(u32, u32, Value),
    Read(u32, u32),
    Config(u16, u32),
    /// A word of the ring.
    Word(usize, Value),
    /// A descriptor that makes sense but for its addresses.
    Descriptor(usize, u32, bool, Value, Value, usize),
    Start,
    Doorbell(u16),
    Step(usize),
}

/// A number, or an address near what is mapped.
#[derive(Clone, Debug)]
enum Value {
    Number(u64),
    Mapped(usize, i64),
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<u64>().prop_map(Value::Number),
        (0u64..100).prop_map(Value::Number),
        (0usize..3, -64i64..8192).prop_map(|(which, offset)| Value::Mapped(which, offset)),
    ]
}

fn act() -> impl Strategy<Value = Act> {
    let offset = || prop_oneof![0u32..0x4100, 0x80u32..0x180, any::<u32>()];
    let width = || prop::sample::select(vec![1u32, 2, 4, 8]);
    let descriptor = (0usize..64, 0u32..9000, any::<bool>(), value(), value(), 0usize..64);
    prop_oneof![
        3 => (offset(), width(), value()).prop_map(|(at, width, value)| Act::Write(at, width, value)),
        1 => (offset(), width()).prop_map(|(at, width)| Act::Read(at, width)),
        1 => (0u16..0x1100, any::<u32>()).prop_map(|(at, value)| Act::Config(at, value)),
        2 => (0usize..512, value()).prop_map(|(at, value)| Act::Word(at, value)),
        4 => descriptor.prop_map(|(at, size, fill, from, to, next)| {
            Act::Descriptor(at, size, fill, from, to, next)
        }),
        2 => Just(Act::Start),
        3 => (0u16..70).prop_map(Act::Doorbell),
        3 => (0usize..70).prop_map(Act::Step),
    ]
}

/// A page that may be written and one that may be read, each between two that are not mapped.
struct Bench {
    device: Device,
    ring: Pages,
    writable: Pages,
    readable: Pages,
}

impl Bench {
    fn new() -> Self {
        let device = Device::builder(Preset::Skx)
            .channels(2)
            .channels_per_function(2)
            .fault_plan("every=50:chanerr=9,every=31:duplicate-writeback".parse().unwrap())
            .build()
            .unwrap();
        let domain = device.domain();
        let ring = Pages::new(&domain, 1, Rights::Read);
        let writable = Pages::part(&domain, 3, 1, 1, Rights::ReadWrite);
        let readable = Pages::part(&domain, 3, 1, 1, Rights::Read);
        writable.set_bytes(|at| at as u8);
        readable.set_bytes(|at| at as u8);
        Self { device, ring, writable, readable }
    }

    fn value(&self, value: &Value) -> u64 {
        match value {
            Value::Number(number) => *number,
            Value::Mapped(which, offset) => {
                let pages = [&self.ring, &self.writable, &self.readable][*which];
                pages.iova(0).wrapping_add_signed(*offset)
            }
        }
    }

    fn act(&self, act: &Act) {
        let bar = self.device.registers();
        match act {
            Act::Write(at, width, value) => {
                let value = self.value(value);
                match width {
                    1 => bar.write8(*at, value as u8),
                    2 => bar.write16(*at, value as u16),
                    4 => bar.write32(*at, value as u32),
                    _ => bar.write64(*at, value),
                }
            }
            Act::Read(at, width) => {
                match width {
                    1 => u64::from(bar.read8(*at)),
                    2 => u64::from(bar.read16(*at)),
                    4 => u64::from(bar.read32(*at)),
                    _ => bar.read64(*at),
                };
            }
            Act::Config(at, value) => {
                self.device.config().write_config32(*at, *value);
            }
            Act::Word(at, value) => self.ring.set_word(at * 8, self.value(value)),
            Act::Descriptor(at, size, fill, from, to, next) => {
                let control = WRITE | if *fill { FILL } else { 0 };
                let next = self.ring.iova(next * 64);
                let words = descriptor(*size, control, self.value(from), self.value(to), next);
                for (word, value) in words.into_iter().enumerate() {
                    self.ring.set_word(at * 64 + word * 8, value);
                }
            }
            Act::Start => {
                let config = self.device.config();
                config.write_config32(0x04, 0x6);
                config.write_config32(0x180, u32::MAX);
                bar.write32(0xa8, u32::MAX);
                bar.write16(0x80, 0x0c);
                bar.write64(0x98, self.writable.iova(8));
                bar.write64(0x90, self.ring.iova(0));
            }
            Act::Doorbell(count) => bar.write16(0x86, *count),
            Act::Step(count) => {
                self.device.step(*count);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 400,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn no_sequence_of_accesses_panics_or_reaches_what_is_not_mapped(
        acts in prop::collection::vec(act(), 1..80),
    ) {
        let bench = Bench::new();
        for act in &acts {
            bench.act(act);
        }
        bench.device.step(500);
        let as_made = |bytes: &[u8]| bytes.iter().enumerate().all(|(at, byte)| *byte == at as u8);
        let writable = bench.writable.bytes();
        prop_assert!(as_made(&writable[..4096]) && as_made(&writable[8192..]));
        prop_assert!(as_made(&bench.readable.bytes()));
        prop_assert!(bench.device.domain().misuse().is_empty());
    }
}

#[test]
fn the_bench_of_the_property_does_move_memory() {
    let bench = Bench::new();
    let (from, to) = (Value::Mapped(2, 100), Value::Mapped(1, 512));
    for act in
        [Act::Descriptor(0, 64, false, from, to, 1), Act::Start, Act::Doorbell(1), Act::Step(1)]
    {
        bench.act(&act);
    }
    assert_eq!(bench.writable.bytes()[4096 + 512], 100);
    assert_eq!(bench.device.executed(), 1);
}
