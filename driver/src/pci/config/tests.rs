use std::cell::RefCell;

use dmaring_ioat_spec::ConfigIo;
use proptest::prelude::*;

use super::{ConfigError, disable_bus_mastering, enable};

/// 256 bytes in which control registers keep what they are allowed to, and status bits are cleared by ones.
struct Space {
    words: RefCell<[u32; 64]>,
    writes: RefCell<Vec<(u16, u32)>>,
    /// Bits that a register takes, where not all.
    taken: Vec<(u16, u32)>,
}

impl Space {
    fn new(words: &[(u16, u32)]) -> Self {
        let mut all = [0; 64];
        for (offset, word) in words {
            all[usize::from(*offset) / 4] = *word;
        }
        Self { words: RefCell::new(all), writes: RefCell::default(), taken: Vec::new() }
    }

    fn word(&self, offset: u16) -> u32 {
        self.words.borrow()[usize::from(offset) / 4]
    }
}

impl ConfigIo for Space {
    fn read_config32(&self, offset: u16) -> Option<u32> {
        self.words.borrow().get(usize::from(offset) / 4).copied()
    }

    fn write_config32(&self, offset: u16, value: u32) -> bool {
        let mask =
            self.taken.iter().find(|(at, _)| *at == offset).map_or(0xffff, |(_, mask)| *mask);
        let mut words = self.words.borrow_mut();
        let Some(word) = words.get_mut(usize::from(offset) / 4) else { return false };
        let status = (*word & !value) >> 16;
        *word = status << 16 | (*word & 0xffff & !mask) | (value & mask);
        self.writes.borrow_mut().push((offset, value));
        true
    }
}

/// A header as VFIO opens it: bus mastering off, errors in the status registers, MSI-X before PCI Express.
const FUNCTION: [(u16, u32); 5] = [
    (0x00, 0x2021_8086),
    (0x04, 0x2010_0102),
    (0x34, 0x80),
    (0x80, 0x8000_9011),
    (0x90, 0x0002_0010),
];

#[test]
fn memory_and_mastering_go_on_and_interrupts_ordering_and_snoop_off() {
    let space = Space::new(&FUNCTION);
    space.words.borrow_mut()[0x98 / 4] = 0x000f_2950;
    enable(&space).unwrap();
    assert_eq!(space.word(0x04), 0x2010_0506, "status bits are not cleared");
    assert_eq!(space.word(0x98), 0x000f_2140, "neither are the device's");
    let places: Vec<u16> = space.writes.borrow().iter().map(|(offset, _)| *offset).collect();
    assert_eq!(places, [0x98, 0x04], "bus mastering is last");
    assert!(disable_bus_mastering(&space));
    assert_eq!(space.word(0x04), 0x2010_0502, "memory space stays");
}

#[test]
fn what_does_not_keep_its_bits_is_refused() {
    let mut space = Space::new(&FUNCTION);
    space.taken = vec![(0x04, 0x0402)];
    let refused = ConfigError::NotTaken { offset: 0x04, wanted: 0x0506, found: 0x0502 };
    assert_eq!(enable(&space), Err(refused));
    let mut space = Space::new(&FUNCTION);
    space.words.borrow_mut()[0x98 / 4] = 0x0010;
    space.taken = vec![(0x98, 0)];
    let refused = ConfigError::NotTaken { offset: 0x98, wanted: 0, found: 0x10 };
    assert_eq!(enable(&space), Err(refused));
    assert_eq!(space.word(0x04) & 4, 0, "bus mastering stayed off");
    // A function that has no INTx.
    let mut space = Space::new(&FUNCTION);
    space.taken = vec![(0x04, 0xfbff)];
    assert_eq!(enable(&space), Ok(()));
}

#[test]
fn an_absent_function_is_absent() {
    let space = Space::new(&[]);
    space.words.borrow_mut().fill(u32::MAX);
    assert_eq!(enable(&space), Err(ConfigError::Absent));
    assert!(!disable_bus_mastering(&space));
    assert!(space.writes.borrow().is_empty());
}

#[test]
fn a_function_without_capabilities_is_taken() {
    for first in [0, 0x80] {
        let space = Space::new(&[(0x04, if first == 0 { 0x0010_0000 } else { 0 }), (0x34, first)]);
        assert_eq!(enable(&space), Ok(()));
        assert_eq!(space.word(0x04) & 0xffff, 0x0406);
    }
}

#[test]
fn lists_without_an_end_are_refused_and_nothing_is_switched_on() {
    for (words, offset, next) in [
        (vec![(0x34, 0x40), (0x40, 0x4001)], 0x40, 0x40),
        (vec![(0x34, 0x43), (0x40, 0x8001), (0x80, 0x4001)], 0x80, 0x40),
        (vec![(0x34, 0x10)], 0x34, 0x10),
        (vec![(0x34, 0x80), (0x80, 0x0c01)], 0x80, 0x0c),
    ] {
        let space = Space::new(&words);
        space.words.borrow_mut()[1] = 0x0010_0000;
        assert_eq!(enable(&space), Err(ConfigError::Capabilities { offset, next }));
        assert!(space.writes.borrow().is_empty());
    }
    // Out of the space that can be reached: the control register of a capability at its very end.
    let space = Space::new(&[(0x04, 0x0010_0000), (0x34, 0xfc), (0xfc, 0x10)]);
    assert_eq!(enable(&space), Err(ConfigError::Unreachable { offset: 0x104 }));
}

proptest! {
    #[test]
    fn no_content_panics(words in prop::array::uniform32(any::<u32>()), lists in any::<bool>()) {
        let space = Space::new(&[]);
        space.words.borrow_mut()[..32].copy_from_slice(&words);
        space.words.borrow_mut()[32..].copy_from_slice(&words);
        if lists {
            space.words.borrow_mut()[1] |= 0x0010_0000;
        }
        let _ = enable(&space);
        let _ = disable_bus_mastering(&space);
    }
}
