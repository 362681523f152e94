//! States, commands, the count, and what must not be written.

use dmaring_emulated::{InternalErrors, ViolationKind};
use dmaring_ioat_spec::{ConfigIo, RegisterIo};

use crate::rig::*;

#[test]
fn a_channel_is_halted_then_armed_then_active_then_idle() {
    let mut rig = Rig::new(builder());
    assert_eq!(rig.status(), HALTED);
    rig.start();
    assert_eq!(rig.status(), ARMED);
    let (first, second) = (rig.push_copy(100), rig.push_null());
    rig.doorbell();
    assert_eq!(rig.status(), ACTIVE);
    assert_eq!(rig.device.step(1), 1);
    assert_eq!(rig.status(), first | ACTIVE);
    assert_eq!(rig.completion(), first | ACTIVE);
    assert_eq!(rig.device.step(5), 1);
    assert_eq!(rig.status(), second | IDLE);
    assert_eq!(rig.completion(), second | IDLE);
    assert_eq!(rig.bar.read64(rig.at(CDAR)), second);
    assert_eq!(rig.destination.bytes()[..100], rig.source.bytes()[..100]);
    assert!(rig.destination.bytes()[100..].iter().all(|byte| *byte == 0xee));
    assert_eq!((rig.device.violation_count(), rig.domain.faults()), (0, 0));
    assert!(!rig.device.has_work());
}

#[test]
fn the_count_crosses_65536() {
    let mut rig = Rig::started(builder());
    let total = 65_536 * 2 + 77;
    let mut last = 0;
    let mut pushed = 0;
    while pushed < total {
        let batch = 60.min(total - pushed);
        for _ in 0..batch {
            last = rig.push_null();
        }
        pushed += batch;
        assert_eq!(rig.go(batch + 1), batch, "{pushed}");
        assert_eq!(rig.completion(), last | IDLE);
    }
    assert_eq!(rig.device.executed(), total as u64);
    assert_eq!(rig.bar.read16(rig.at(DMACOUNT)), 77);
    assert_eq!(rig.device.violation_count(), 0);
}

#[test]
fn writing_the_chain_address_starts_the_count_again() {
    let mut rig = Rig::started(builder());
    for _ in 0..5 {
        rig.push_null();
    }
    assert_eq!(rig.go(9), 5);
    rig.chain();
    assert_eq!(rig.status(), ARMED);
    assert_eq!(rig.bar.read16(rig.at(DMACOUNT)), 0);
    let first = rig.push_null();
    assert_eq!(first, rig.ring.iova(0));
    assert_eq!(rig.go(9), 1);
    assert_eq!(rig.completion(), first | IDLE);
    assert_eq!(rig.device.violation_count(), 0);
}

#[test]
fn a_suspended_channel_goes_on_at_a_resume_or_a_doorbell() {
    let mut rig = Rig::started(builder());
    rig.command(SUSPEND);
    assert_eq!(rig.state(), ARMED);
    let (first, second) = (rig.push_null(), rig.push_null());
    rig.doorbell();
    rig.device.step(1);
    rig.command(SUSPEND);
    assert_eq!(rig.status(), first | SUSPENDED);
    assert_eq!(rig.device.step(1), 0);
    rig.command(RESUME);
    assert_eq!(rig.status(), first | ACTIVE);
    rig.device.step(1);
    assert_eq!(rig.status(), second | IDLE);
    rig.command(SUSPEND);
    assert_eq!(rig.state(), SUSPENDED);
    let third = rig.push_null();
    assert_eq!(rig.go(1), 1);
    assert_eq!(rig.status(), third | IDLE);
    rig.command(SUSPEND);
    rig.chain();
    assert_eq!(rig.state(), ARMED);
    assert_eq!((rig.errors(), rig.device.violation_count()), (0, 0));
}

#[test]
fn a_reset_halts_at_once_and_its_bit_stays_for_some_polls() {
    let mut rig = Rig::started(builder().reset_polls(3));
    rig.push_null();
    rig.push_null();
    rig.go(1);
    rig.command(RESET);
    assert_eq!(rig.status(), HALTED);
    let polls: Vec<u8> = (0..5).map(|_| rig.bar.read8(rig.at(CHANCMD))).collect();
    assert_eq!(polls, [RESET, RESET, RESET, 0, 0]);
    assert_eq!(rig.bar.read64(rig.at(CHANCMP)), 0);
    assert_eq!(rig.device.step(5), 0);
    rig.start();
    let first = rig.push_null();
    assert_eq!(rig.go(2), 1);
    assert_eq!(rig.completion(), first | IDLE);
}

#[test]
fn a_chain_address_right_after_a_reset_is_accepted() {
    let mut rig = Rig::started(builder().reset_polls(2));
    rig.command(RESET);
    rig.start();
    assert_eq!(rig.status(), ARMED);
    rig.push_null();
    rig.doorbell();
    assert_eq!(rig.device.step(1), 0, "one poll is left");
    assert_eq!(rig.device.step(1), 1);
    assert_eq!((rig.state(), rig.device.violation_count()), (IDLE, 0));
}

#[test]
fn errors_survive_a_reset_and_hold_the_channel_halted_until_both_are_written_back() {
    let mut rig = Rig::started(builder());
    let config = rig.device.config();
    rig.push(0, WRITE, 0, 0);
    rig.go(1);
    assert_eq!((rig.errors(), rig.state()), (1 << 11, HALTED));
    assert_eq!(config.read_config32(0x180), Some(1 << 11));
    rig.command(RESET);
    rig.await_reset();
    assert_eq!(rig.errors(), 1 << 11);
    rig.chain();
    assert_eq!(rig.state(), HALTED);
    rig.clear_errors();
    assert_eq!((rig.errors(), rig.state()), (0, HALTED));
    rig.chain();
    assert_eq!(rig.state(), HALTED, "CHANERR_INT still stands");
    assert!(config.write_config32(0x180, !(1 << 11)));
    assert_eq!(config.read_config32(0x180), Some(1 << 11));
    assert!(config.write_config32(0x180, u32::MAX));
    rig.start();
    assert_eq!(rig.state(), ARMED);
    let kinds: Vec<_> = rig.device.violations().into_iter().map(|found| found.kind).collect();
    assert_eq!(kinds, [ViolationKind::ChainAddressWithErrors; 2]);
}

#[test]
fn internal_errors_can_be_masked_and_turned_off() {
    for masked in [false, true] {
        let style = if masked { InternalErrors::Mirrored } else { InternalErrors::Never };
        let mut rig = Rig::started(builder().internal_errors(style));
        let config = rig.device.config();
        assert!(!masked || config.write_config32(0x184, 1 << 11));
        rig.push(0, WRITE, 0, 0);
        rig.go(1);
        assert_eq!((rig.errors(), config.read_config32(0x180)), (1 << 11, Some(0)));
        rig.clear_errors();
        rig.chain();
        assert_eq!(rig.state(), ARMED);
    }
}

#[test]
fn what_must_not_be_written_is_ignored_and_counted() {
    let mut rig = Rig::new(builder());
    rig.bar.write16(rig.at(DMACOUNT), 5);
    assert_eq!((rig.bar.read16(rig.at(DMACOUNT)), rig.state()), (0, HALTED));
    rig.start();
    rig.push_null();
    rig.push_null();
    rig.doorbell();
    let (chain, completion) = (rig.ring.iova(0), rig.status.iova(0));
    rig.bar.write64(rig.at(CHAINADDR), 64);
    rig.bar.write64(rig.at(CHANCMP), 64);
    assert_eq!(rig.bar.read64(rig.at(CHAINADDR)), chain);
    assert_eq!(rig.bar.read64(rig.at(CHANCMP)), completion);
    assert_eq!(rig.device.step(9), 2);
    rig.bar.write16(rig.at(DMACOUNT), 2);
    assert_eq!(rig.state(), IDLE, "the same count is nothing new");
    rig.push_null();
    rig.doorbell();
    rig.bar.write16(rig.at(DMACOUNT), 2);
    assert_eq!(rig.state(), IDLE);
    let kinds: Vec<_> = rig.device.violations().into_iter().map(|found| found.kind).collect();
    assert_eq!(
        kinds,
        [
            ViolationKind::CountWhileHalted,
            ViolationKind::ChainAddressWhileActive,
            ViolationKind::CompletionAddressWhileActive,
            ViolationKind::CountMovedBack,
        ]
    );
}
