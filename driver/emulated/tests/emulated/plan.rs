//! Planned faults at work.

use dmaring_emulated::{Fault, FaultPlan, PlannedFault};
use dmaring_ioat_spec::{ConfigIo, RegisterIo};

use crate::rig::*;

fn planned(text: &str) -> Rig {
    Rig::started(builder().channels(1).fault_plan(text.parse().unwrap()))
}

#[test]
fn the_nth_descriptor_fails_and_moves_nothing() {
    let mut rig = planned("nth=3:chanerr=8");
    let good = [rig.push_null(), rig.push_null()][1];
    rig.push_copy(64);
    rig.push_null();
    assert_eq!(rig.go(9), 3);
    assert_eq!((rig.errors(), rig.status()), (1 << 8, good | HALTED));
    assert_eq!(rig.completion(), good | HALTED);
    assert_eq!((rig.device.faults_fired(), rig.domain.faults()), (1, 0));
    assert!(rig.destination.bytes().iter().all(|byte| *byte == 0xee));
}

#[test]
fn every_nth_descriptor_fails_and_counts_go_on_through_resets() {
    let mut rig = planned("every=3:chanerr=9");
    let mut ended = Vec::new();
    for _ in 0..3 {
        for _ in 0..5 {
            rig.push_null();
        }
        ended.push(rig.go(5));
        rig.clear_errors();
        rig.device.config().write_config32(0x180, u32::MAX);
        rig.chain();
    }
    assert_eq!((ended, rig.device.faults_fired()), (vec![3, 3, 3], 3));
}

#[test]
fn a_short_copy_moves_the_first_bytes_and_fails() {
    for (text, errors) in [("nth=1:short=100", 1 << 9), ("nth=1:short=100,nth=1:chanerr=7", 1 << 7)]
    {
        let mut rig = planned(text);
        rig.push_copy(4096);
        rig.go(1);
        assert_eq!((rig.errors(), rig.status()), (errors, HALTED));
        assert_eq!(rig.destination.bytes()[..100], rig.source.bytes()[..100]);
        assert!(rig.destination.bytes()[100..].iter().all(|byte| *byte == 0xee));
    }
}

#[test]
fn a_silent_short_copy_lies() {
    let mut rig = planned("nth=1:silent-short=100");
    let only = rig.push_copy(4096);
    rig.go(1);
    assert_eq!((rig.errors(), rig.status(), rig.completion()), (0, only | IDLE, only | IDLE));
    assert_eq!(rig.destination.bytes()[..100], rig.source.bytes()[..100]);
    assert!(rig.destination.bytes()[100..].iter().all(|byte| *byte == 0xee));
}

#[test]
fn a_stalled_channel_stays_active_until_a_reset() {
    let mut rig = planned("nth=2:stall");
    let good = rig.push_null();
    rig.push_null();
    assert_eq!(rig.go(9), 1);
    assert!(!rig.device.has_work());
    rig.command(SUSPEND);
    rig.doorbell();
    assert_eq!((rig.device.step(9), rig.status()), (0, good | ACTIVE));
    rig.bar.write16(rig.at(DMACOUNT), 1);
    assert_eq!(rig.status(), good | ACTIVE, "even if nothing is asked for any more");
    rig.command(RESET);
    rig.await_reset();
    rig.start();
    rig.push_null();
    assert_eq!((rig.go(9), rig.state()), (1, IDLE));
}

#[test]
fn a_completion_word_is_lost_once() {
    let mut rig = planned("nth=2:lost-writeback");
    let first = rig.push_null();
    rig.push(1, NULL, 0, 0);
    let third = rig.push_null();
    let fourth = rig.push_null();
    rig.go(1);
    rig.device.step(2);
    assert_eq!((rig.completion(), rig.status()), (first, third | ACTIVE));
    rig.device.step(1);
    assert_eq!(rig.completion(), fourth | IDLE);
}

#[test]
fn a_completion_word_is_written_again_and_goes_back() {
    let mut rig = planned("nth=1:duplicate-writeback");
    let [first, second, third] = [(); 3].map(|()| rig.push_null());
    rig.go(1);
    assert_eq!(rig.completion(), first);
    rig.device.step(1);
    assert_eq!((rig.completion(), rig.status()), (first, second | ACTIVE));
    rig.device.step(1);
    assert_eq!(rig.completion(), third | IDLE);

    let mut rig = planned("nth=1:duplicate-writeback");
    let only = rig.push_null();
    rig.go(1);
    rig.status.set_word(0, 0);
    assert!(rig.device.has_work());
    assert_eq!(rig.device.step(1), 0);
    assert_eq!(rig.completion(), only | IDLE);
    assert!(!rig.device.has_work());
}

#[test]
fn a_completion_word_arrives_after_the_reset_where_it_belonged() {
    for (text, nulls) in [("nth=2:late-writeback=0", 0), ("nth=2:late-writeback=2", 2)] {
        let mut rig = planned(text);
        let first = rig.push_null();
        rig.go(1);
        assert_eq!(rig.completion(), first | IDLE);
        let second = rig.push_null();
        rig.go(1);
        assert_eq!((rig.completion(), rig.status()), (first | IDLE, second | IDLE), "{text}");
        assert_eq!(rig.device.held_words(), 1);
        rig.command(RESET);
        rig.await_reset();
        // The epoch that begins has a completion word of its own.
        rig.bar.write64(rig.at(CHANCMP), rig.status.iova(64));
        rig.chain();
        for left in (0..nulls).rev() {
            assert_eq!(rig.completion(), first | IDLE, "{text}");
            rig.push_null();
            rig.go(1);
            assert_eq!(rig.completion() == second | IDLE, left == 0, "{text}");
        }
        assert_eq!((rig.completion(), rig.device.held_words()), (second | IDLE, 0), "{text}");
        rig.status.set_word(0, 0);
        rig.push_null();
        rig.go(1);
        assert_eq!(rig.completion(), 0, "once");
        assert_ne!(rig.status.word(64), second | IDLE);
    }
}

#[test]
fn an_errors_completion_word_can_be_late_too() {
    let mut rig = planned("nth=2:late-writeback=0,nth=2:chanerr=9");
    let first = rig.push_null();
    rig.push_null();
    rig.go(2);
    assert_eq!((rig.completion(), rig.status()), (first, first | HALTED));
    rig.command(RESET);
    assert_eq!(rig.completion(), first | HALTED);
}

#[test]
fn a_device_that_is_gone_reads_as_ones_and_does_nothing() {
    let mut rig = planned("nth=2:gone");
    rig.push_null();
    rig.push_copy(64);
    rig.push_null();
    assert_eq!(rig.go(9), 1);
    assert_eq!((rig.status(), rig.errors(), rig.bar.read8(0)), (u64::MAX, u32::MAX, u8::MAX));
    assert_eq!(rig.device.config().read_config32(0), Some(u32::MAX));
    rig.command(RESET);
    rig.start();
    assert_eq!((rig.device.step(9), rig.device.has_work()), (0, false));
    assert!(rig.destination.bytes().iter().all(|byte| *byte == 0xee));
    assert_eq!(rig.device.violation_count(), 0);
}

#[test]
fn an_item_is_of_one_channel_or_of_all_together() {
    for (text, failed) in [
        ("channel=1:nth=1:chanerr=8", [false, true]),
        ("nth=3:chanerr=8", [false, true]),
        ("nth=2:chanerr=8", [true, false]),
        ("channel=0:nth=3:chanerr=8", [false, false]),
    ] {
        let device = builder().channels(2).fault_plan(text.parse().unwrap()).build().unwrap();
        let mut rigs = [Rig::on(&device, 0, 0), Rig::on(&device, 1, 0)];
        for rig in &mut rigs {
            rig.start();
            rig.push_null();
            rig.push_null();
            rig.go(2);
        }
        assert_eq!(rigs.map(|rig| rig.state() == HALTED), failed, "{text}");
    }
}

#[test]
fn a_plan_can_be_replaced() {
    let mut rig = planned("nth=1:stall");
    let plan = FaultPlan::new().with(PlannedFault::nth(2, Fault::ChanErr(6)).on_channel(0));
    rig.device.set_fault_plan(&plan);
    rig.push_null();
    rig.push_null();
    assert_eq!((rig.go(9), rig.errors()), (2, 1 << 6));
}
