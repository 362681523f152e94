//! What descriptors do, in which order, and the completion words they leave.

use dmaring_emulated::{CompletionState, Device, Preset};
use dmaring_ioat_spec::{
    ConfigIo, RegisterIo,
    registers::{DmaCapability, Version},
};

use crate::rig::*;

#[test]
fn a_completion_word_is_written_where_the_flag_is_set_alone() {
    let mut rig = Rig::started(builder());
    rig.push(1, NULL, 0, 0);
    let second = rig.push_null();
    let third = rig.push(1, NULL, 0, 0);
    assert_eq!(rig.go(1), 1);
    assert_eq!(rig.completion(), 0);
    rig.go(1);
    assert_eq!(rig.completion(), second);
    rig.go(1);
    assert_eq!((rig.completion(), rig.status()), (second, third | IDLE));
}

#[test]
fn the_last_completion_word_says_idle_or_active_as_the_knob_has_it() {
    for (knob, state) in [(CompletionState::Idle, IDLE), (CompletionState::Active, ACTIVE)] {
        let mut rig = Rig::started(builder().completion_state(knob));
        let only = rig.push_null();
        rig.go(1);
        assert_eq!(rig.completion(), only | state);
        assert_eq!(rig.status(), only | IDLE);
    }
}

#[test]
fn an_error_writes_the_last_good_descriptor_and_halted() {
    for (control, told) in [(0x0c, true), (0x08, false)] {
        let mut rig = Rig::started(builder());
        rig.bar.write16(rig.at(CHANCTRL), control);
        let good = rig.push(1, NULL, 0, 0);
        rig.push(0, WRITE, 0, 0);
        rig.push_null();
        assert_eq!(rig.go(9), 2);
        assert_eq!(rig.status(), good | HALTED);
        assert_eq!(rig.completion(), if told { good | HALTED } else { 0 });

        let mut rig = Rig::started(builder());
        rig.bar.write16(rig.at(CHANCTRL), control);
        rig.status.set_word(0, 0x40);
        rig.push(0, WRITE, 0, 0);
        rig.go(9);
        assert_eq!(rig.completion(), if told { HALTED } else { 0x40 });
    }
}

#[test]
fn a_fill_repeats_its_pattern_from_the_first_byte_and_cuts_the_last() {
    let mut rig = Rig::started(builder());
    let to = rig.destination.iova(4093);
    rig.push(4111, FILL | WRITE, 0x0807_0605_0403_0201, to);
    assert_eq!(rig.go(1), 1);
    let bytes = rig.destination.bytes();
    for (at, byte) in bytes.iter().enumerate() {
        let inside = (4093..4093 + 4111).contains(&at);
        let expected = if inside { ((at - 4093) % 8) as u8 + 1 } else { 0xee };
        assert_eq!(*byte, expected, "{at}");
    }
}

#[test]
fn copies_between_odd_addresses_cross_pages() {
    let mut rig = Rig::started(builder());
    let (from, to) = (rig.source.iova(3), rig.destination.iova(4001));
    rig.push(9001, WRITE | FENCE, from, to);
    assert_eq!(rig.go(1), 1);
    assert_eq!(rig.destination.bytes()[4001..13_002], rig.source.bytes()[3..9004]);
    assert!(rig.destination.bytes()[..4001].iter().all(|byte| *byte == 0xee));
    assert!(rig.destination.bytes()[13_002..].iter().all(|byte| *byte == 0xee));
}

#[test]
fn descriptors_of_a_channel_run_in_order() {
    let mut rig = Rig::started(builder());
    let [a, b, c] = [0, 256, 512].map(|at| rig.destination.iova(at));
    let source = rig.source.iova(0);
    rig.push(256, FENCE, source, a);
    rig.push(256, FENCE, a, b);
    rig.push(256, WRITE, b, c);
    rig.go(3);
    assert_eq!(rig.destination.bytes()[512..768], rig.source.bytes()[..256]);
}

#[test]
fn a_null_descriptor_of_no_bytes_is_for_versions_above_3_0() {
    for (version, errors) in [(Version::V3_0, 1 << 11), (Version::V3_2, 0)] {
        let mut rig = Rig::started(builder().version(version));
        rig.push(0, NULL | WRITE, 0, 0);
        rig.go(1);
        assert_eq!(rig.errors(), errors);
    }
}

#[test]
fn the_longest_transfer_is_what_xfercap_says() {
    for (size, errors) in [(4096, 0), (4097, 1 << 11)] {
        let mut rig = Rig::started(builder().xfercap(12));
        rig.push_copy(size);
        rig.go(1);
        assert_eq!(rig.errors(), errors);
    }
    let mut rig = Rig::started(builder().xfercap(0));
    rig.push_copy(16_384);
    rig.go(1);
    assert_eq!((rig.bar.read8(0x01), rig.errors()), (0, 0));
}

#[test]
fn presets_say_what_they_are() {
    let fill = DmaCapability::FILL_BLOCK.bits();
    for (preset, version, fills, config) in [
        (Preset::Skx, 0x33, true, 0x2021_8086),
        (Preset::Icx, 0x34, false, 0x0b00_8086),
        (Preset::Bdx, 0x32, true, 0x6f20_8086),
    ] {
        let device = Device::builder(preset).channels(4).build().unwrap();
        assert_eq!((device.functions(), device.channels()), (4, 4));
        let bar = device.registers();
        assert_eq!((bar.read8(0), bar.read8(1), bar.read8(8)), (1, 20, version));
        assert_eq!(bar.read32(0x10) & fill != 0, fills);
        assert_eq!(device.config().read_config32(0), Some(config));
    }
}

#[test]
fn channels_interleave_as_the_seed_says_and_each_keeps_its_order() {
    let order = |seed| {
        let device = builder().channels(4).channels_per_function(2).seed(seed).build().unwrap();
        let places = [(0, 0), (0, 1), (1, 0), (1, 1)];
        let mut rigs: Vec<Rig> = places.map(|(of, at)| Rig::on(&device, of, at)).into();
        for rig in &mut rigs {
            rig.start();
            for _ in 0..8 {
                rig.push_null();
            }
            rig.doorbell();
        }
        let mut order = Vec::new();
        while device.step(1) == 1 {
            order.push(rigs.iter().map(|rig| rig.completion() & !63).collect::<Vec<_>>());
        }
        for rig in &rigs {
            assert_eq!(rig.status(), rig.address(7) | IDLE);
        }
        order
    };
    assert_eq!(order(1).len(), 32);
    assert_eq!(order(1), order(1));
    assert!((2..10).any(|seed| order(seed).len() == 32 && moved(&order(seed)) != moved(&order(1))));
}

/// Which channel moved at each step.
fn moved(order: &[Vec<u64>]) -> Vec<usize> {
    let step = |pair: &[Vec<u64>]| pair[0].iter().zip(&pair[1]).position(|(was, is)| was != is);
    order.windows(2).filter_map(step).collect()
}

#[test]
fn one_channel_is_stepped_alone() {
    let device = builder().channels(2).build().unwrap();
    let mut rigs = [Rig::on(&device, 0, 0), Rig::on(&device, 1, 0)];
    for rig in &mut rigs {
        rig.start();
        rig.push_null();
        rig.doorbell();
    }
    assert_eq!(device.step_channel(1, 9), 1);
    assert_eq!((rigs[0].state(), rigs[1].state()), (ACTIVE, IDLE));
    assert_eq!(device.step_channel(7, 9), 0);
}
