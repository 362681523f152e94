//! Access rules of BAR 0: every register of the table, every width, and what is no register.

use dmaring_emulated::{Device, ViolationKind};
use dmaring_ioat_spec::{
    RegisterIo,
    registers::{Access, Place, REGISTERS, RegisterSpec, Reset, channel_base},
};
use proptest::prelude::*;

use crate::rig::*;

/// A value with no two bytes alike and bits of both kinds in each.
const PATTERN: u64 = 0x8b7a_6958_4736_2514;

fn device() -> Device {
    builder().build().unwrap()
}

fn read(bar: &impl RegisterIo, offset: u32, bytes: u32) -> u64 {
    match bytes {
        1 => bar.read8(offset).into(),
        2 => bar.read16(offset).into(),
        4 => bar.read32(offset).into(),
        _ => bar.read64(offset),
    }
}

fn write(bar: &impl RegisterIo, offset: u32, bytes: u32, value: u64) {
    match bytes {
        1 => bar.write8(offset, value as u8),
        2 => bar.write16(offset, value as u16),
        4 => bar.write32(offset, value as u32),
        _ => bar.write64(offset, value),
    }
}

fn ones(bytes: u32) -> u64 {
    u64::MAX >> (64 - 8 * bytes)
}

/// What each register of the table holds at first, typed from the preset.
fn at_first(name: &str) -> u64 {
    match name {
        "CHANCNT" => 1,
        "XFERCAP" => 20,
        "CBVER" => 0x33,
        "DMACAPABILITY" => 0x40,
        "CHANSTS" => 3,
        _ => 0,
    }
}

#[test]
fn every_register_holds_at_first_what_the_table_says() {
    for register in REGISTERS {
        let bar = device().registers();
        let bytes = register.width.bytes();
        let value = read(&bar, register.bar_offset(0), bytes);
        assert_eq!(value, at_first(register.name), "{}", register.name);
        if let Reset::Value(reset) = register.reset {
            assert_eq!(value, reset, "{}", register.name);
        }
    }
}

#[test]
fn every_register_keeps_its_access_rule() {
    for register in REGISTERS {
        let device = device();
        let bar = device.registers();
        match register.access {
            Access::ReadOnly => refuses_writes(&device, register),
            Access::ReadWrite => reads_back(&bar, register),
            Access::ReadWriteWithReadEffect => is_claimed_by_its_first_reader(&bar, register),
            Access::WriteOneToClear => is_cleared_by_ones(&bar, register),
            Access::Command => {
                bar.write8(register.bar_offset(0), 0x20);
                assert_eq!(bar.read8(register.bar_offset(0)), 0x20);
            }
            Access::Doorbell => {
                bar.write64(0x90, 0x1_0000);
                bar.write16(register.bar_offset(0), 7);
                assert_eq!(bar.read16(register.bar_offset(0)), 7);
                assert_eq!(bar.read64(0x88), 0x0, "active");
            }
        }
    }
}

fn refuses_writes(device: &Device, register: &'static RegisterSpec) {
    let (bar, offset) = (device.registers(), register.bar_offset(0));
    let bytes = register.width.bytes();
    let before = read(&bar, offset, bytes);
    for value in [0, u64::MAX, PATTERN] {
        write(&bar, offset, bytes, value);
        assert_eq!(read(&bar, offset, bytes), before, "{}", register.name);
    }
    let kind = ViolationKind::ReadOnlyWritten { register: register.name };
    let found: Vec<_> = device.violations().into_iter().map(|found| found.kind).collect();
    assert_eq!(found, [kind; 3]);
}

/// Whole, in parts of every width in both orders, and byte by byte with the others kept.
fn reads_back(bar: &impl RegisterIo, register: &RegisterSpec) {
    let (offset, bytes) = (register.bar_offset(0), register.width.bytes());
    let expected = PATTERN & ones(bytes);
    for width in [1, 2, 4, 8].into_iter().filter(|width| *width <= bytes) {
        for high_first in [false, true] {
            write(bar, offset, bytes, 0);
            let mut parts: Vec<u32> = (0..bytes).step_by(width as usize).collect();
            if high_first {
                parts.reverse();
            }
            for part in &parts {
                write(bar, offset + part, width, PATTERN >> (8 * part));
            }
            assert_eq!(read(bar, offset, bytes), expected, "{} by {width}", register.name);
            for part in &parts {
                let value = read(bar, offset + part, width);
                assert_eq!(value, expected >> (8 * part) & ones(width), "{}", register.name);
            }
        }
    }
}

fn is_claimed_by_its_first_reader(bar: &impl RegisterIo, register: &RegisterSpec) {
    let offset = register.bar_offset(0);
    assert_eq!(bar.read8(offset), 0, "the low byte has no claim");
    assert_eq!([bar.read16(offset), bar.read16(offset)], [0, 0x100]);
    bar.write8(offset, 0x0c);
    assert_eq!(bar.read16(offset), 0x10c, "a write of the low byte keeps the claim");
    bar.write16(offset, 0x1d);
    assert_eq!([bar.read16(offset), bar.read16(offset)], [0x1d, 0x11d]);
    bar.write8(offset + 1, 0);
    assert_eq!([bar.read32(offset), bar.read32(offset)], [0x1d, 0x11d]);
    bar.write8(offset + 4, 0x20);
    assert_eq!(bar.read16(offset), 0x100, "a reset keeps the claim alone");
}

fn is_cleared_by_ones(bar: &impl RegisterIo, register: &RegisterSpec) {
    let offset = register.bar_offset(0);
    bar.write8(0x84, 0x40);
    assert_eq!(bar.read32(offset), 1 << 5);
    bar.write32(offset, 0);
    bar.write32(offset, !(1 << 5));
    bar.write8(offset + 1, 0xff);
    assert_eq!(bar.read32(offset), 1 << 5);
    bar.write8(offset, 0x20);
    assert_eq!(bar.read32(offset), 0);
}

#[test]
fn an_address_in_halves_works_as_one_write() {
    let mut rig = Rig::new(builder());
    let (completion, chain) = (rig.status.iova(0), rig.ring.iova(0));
    for (register, value) in [(CHANCMP, completion), (CHAINADDR, chain)] {
        rig.bar.write32(rig.at(register), value as u32);
        rig.bar.write32(rig.at(register) + 4, (value >> 32) as u32);
    }
    let first = rig.push_null();
    assert_eq!((rig.go(1), rig.completion()), (1, first | IDLE));
    let status = rig.at(CHANSTS);
    let halves = [rig.bar.read32(status), rig.bar.read32(status + 4)].map(u64::from);
    assert_eq!(halves[1] << 32 | halves[0], first | IDLE);
    assert_eq!(rig.device.violation_count(), 0);
}

#[test]
fn what_is_no_register_is_stored_and_what_is_no_access_reads_as_ones() {
    let device = device();
    let bar = device.registers();
    for offset in [0x18, 0x50, 0xb0, 0x180, 0x1000, 0x2000, 0x3ff8] {
        bar.write64(offset, PATTERN);
        assert_eq!(bar.read64(offset), PATTERN);
        bar.write16(offset + 2, 0x1234);
        assert_eq!(bar.read64(offset), PATTERN & !0xffff_0000 | 0x1234_0000);
    }
    assert_eq!(device.violation_count(), 0);
    for (offset, bytes) in [(0x4000, 1), (0x3fff, 2), (0x81, 2), (0x84, 8), (u32::MAX, 1)] {
        write(&bar, offset, bytes, 0);
        assert_eq!(read(&bar, offset, bytes), ones(bytes));
        let kind = ViolationKind::BadAccess { offset, bytes };
        assert_eq!(device.violations().last().unwrap().kind, kind);
    }
    assert_eq!(device.violation_count(), 10);
    assert_eq!(read(&bar, 0x80, 8), 0, "nothing reached the channel");
}

#[test]
fn one_access_may_touch_several_registers() {
    let device = device();
    let bar = device.registers();
    assert_eq!(bar.read64(0x00), 0x1401);
    assert_eq!(bar.read64(0x08), 0x33);
    bar.write64(0x90, 0x1_0000);
    // CHANCTRL 0x0c, compatibility read only, no command, DMACOUNT 3.
    bar.write64(0x80, 0x0003_0000_ffff_000c);
    assert_eq!(bar.read64(0x80), 0x0003_0000_0000_000c);
    assert_eq!(bar.read64(0x88), 0);
    assert_eq!(device.violation_count(), 1);
}

#[test]
fn channels_of_one_function_have_registers_of_their_own() {
    let device = builder().channels(31).channels_per_function(31).build().unwrap();
    let bar = device.registers();
    assert_eq!(bar.read8(0), 31);
    for channel in 0..31 {
        bar.write64(channel_base(channel) + 0x18, 0x1000 * u64::from(channel));
    }
    for channel in 0..31 {
        assert_eq!(bar.read64(channel_base(channel) + 0x18), 0x1000 * u64::from(channel));
        assert_eq!(bar.read64(channel_base(channel) + 0x08), 3);
    }
    assert!(bar.read64(channel_base(31) + 0x08) == 0, "past the last channel bytes are stored");
}

#[test]
fn interrupts_are_one_shot_and_show_in_attnstatus() {
    let mut rig = Rig::started(builder());
    let function = rig.device.function(0).unwrap();
    rig.bar.write16(rig.at(CHANCTRL), 0x1d);
    for _ in 0..3 {
        rig.push(1, NULL | 1, 0, 0);
    }
    rig.go(1);
    assert_eq!(function.interrupts(), 0, "INTRCTRL is off");
    rig.bar.write8(0x03, 1);
    rig.device.step(1);
    assert_eq!((function.interrupts(), rig.bar.read32(0x04)), (1, 1));
    rig.device.step(1);
    assert_eq!(function.interrupts(), 1);
    rig.bar.write16(rig.at(CHANCTRL), 0x1d);
    assert_eq!(rig.bar.read32(0x04), 0);
    rig.push(0, 0, 0, 0);
    rig.go(1);
    assert_eq!((function.interrupts(), rig.bar.read32(0x04)), (2, 1), "an error raises one, too");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_read_only_never_changes_by_writes(
        writes in prop::collection::vec((0u32..0x10, 0u32..4, any::<u64>()), 1..40),
        status in prop::collection::vec((0u32..8, 0u32..4, any::<u64>()), 1..10),
    ) {
        let bar = device().registers();
        let fixed = |register: &&RegisterSpec| {
            register.place == Place::General && register.access == Access::ReadOnly
        };
        let values = || -> Vec<u64> {
            let fixed = REGISTERS.iter().filter(fixed);
            fixed.map(|register| read(&bar, register.offset, register.width.bytes())).collect()
        };
        let before = values();
        for (word, log2, value) in writes {
            let bytes = 1 << log2;
            write(&bar, word * 8 / bytes * bytes, bytes, value);
        }
        for (byte, log2, value) in status {
            let bytes = 1 << log2;
            write(&bar, 0x88 + byte / bytes * bytes, bytes, value);
            write(&bar, 0xa0 + byte / bytes * bytes, bytes, value);
        }
        prop_assert_eq!(values(), before);
        prop_assert_eq!((bar.read64(0x88), bar.read64(0xa0)), (3, 0));
    }
}
