//! The device while a thread steps it.

use dmaring_ioat_spec::RegisterIo;

use crate::rig::*;

/// Looks at a word until it has this value. A hang is found by the time limit of whoever runs tests.
fn await_word(rig: &Rig, expected: u64) {
    while rig.completion() & !63 != expected {
        std::thread::yield_now();
    }
}

#[test]
fn a_clock_serves_doorbells_until_it_is_dropped() {
    let mut rig = Rig::started(builder());
    let clock = rig.device.run().unwrap();
    for round in 0..200 {
        rig.push_copy(512);
        let last = rig.push_null();
        rig.doorbell();
        if round % 3 == 0 {
            assert_ne!(rig.state(), HALTED);
        }
        await_word(&rig, last);
    }
    assert_eq!(rig.destination.bytes()[..512], rig.source.bytes()[..512]);
    drop(clock);
    rig.push_null();
    rig.doorbell();
    assert_eq!((rig.state(), rig.device.executed()), (ACTIVE, 400));
    assert_eq!((rig.device.step(1), rig.device.violation_count()), (1, 0));
}

#[test]
fn a_clock_ends_a_reset_without_polls_and_stops_when_idle_or_stalled() {
    let plan = "nth=2:stall".parse().unwrap();
    let mut rig = Rig::started(builder().reset_polls(1000).fault_plan(plan));
    let clock = rig.device.run().unwrap();
    rig.command(RESET);
    rig.start();
    let first = rig.push_null();
    rig.doorbell();
    await_word(&rig, first);
    rig.push_null();
    rig.doorbell();
    drop(clock);
    rig.device.step(1);
    assert_eq!(rig.status(), first | ACTIVE);
}

#[test]
fn threads_share_a_device_with_its_clock() {
    let device = builder().channels(3).seed(5).build().unwrap();
    let _clock = device.run().unwrap();
    std::thread::scope(|scope| {
        for function in 0..3 {
            let mut rig = Rig::on(&device, function, 0);
            scope.spawn(move || {
                rig.start();
                for _ in 0..300 {
                    let last = rig.push_null();
                    rig.doorbell();
                    await_word(&rig, last);
                    assert_eq!(rig.bar.read32(rig.at(CHANERR)), 0);
                }
            });
        }
    });
    assert_eq!((device.executed(), device.violation_count()), (900, 0));
    assert_eq!((device.domain().faults(), device.domain().mappings()), (0, 0));
}
