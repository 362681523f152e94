//! Engines that panic: nobody waits for ever, nothing is freed under an engine, and the process goes on.

use dmaring::{ErrorKind, Runtime};
use dmaring_manual::{Call, Control, ManualEngine};
use futures::{StreamExt, executor::block_on};

use crate::common::{
    LONG, READ_ERROR, eventually, kind, never_parking, pattern, poll_once, region_of,
};

fn pair() -> (Runtime, [Control; 2]) {
    let (left, left_control) = ManualEngine::builder().name("left").build();
    let (right, right_control) = ManualEngine::builder().name("right").build();
    let builder = never_parking().engine(left).engine(right).ring_entries(8);
    (builder.build().unwrap(), [left_control, right_control])
}

/// Work on both engines, and in the queue for places.
fn work(runtime: &Runtime, controls: &[Control; 2]) -> Vec<dmaring::Copy> {
    let region = region_of(runtime, &pattern(1, 4096));
    let copies = (0..12).map(|n| region.copy(0, 1024 + n * 64, 64).submit()).collect();
    controls[0].wait_for_submitted(4);
    controls[1].wait_for_submitted(4);
    copies
}

#[test]
fn one_that_panics_over_short_copies_resolves_them_and_none_was_told_before_it_was_settled() {
    for call in [Call::Run, Call::Submit] {
        let (engine, control) = ManualEngine::builder().at_once(64).build();
        let runtime = Runtime::builder().engine(engine).build().unwrap();
        let region = region_of(&runtime, &pattern(1, 4096));
        assert_eq!(block_on(region.copy(0, 1024, 64)).unwrap(), 64);
        assert_eq!(control.run(), 1);
        control.panic_in(call);
        // Together: what is submitted after the panic is told that the runtime is closed.
        let mut copies = runtime.batch();
        (0..100).for_each(|n| copies.push(region.copy(0, 1024 + n * 8, 8)));
        let outcomes: Vec<_> = block_on(copies.submit().collect());
        assert_eq!(outcomes.len(), 100);
        for outcome in outcomes {
            assert_eq!(kind(outcome), ErrorKind::EngineLost, "{call:?}");
        }
        assert!(control.halted());
        assert_eq!(control.violations(), []);
    }
}

#[test]
fn an_engine_that_panics_resolves_everything_after_both_have_stopped() {
    for call in [Call::Room, Call::Enqueue, Call::Submit, Call::Poll, Call::Recover] {
        let (runtime, controls) = pair();
        let copies = work(&runtime, &controls);
        controls[0].panic_in(call);
        if call == Call::Recover {
            controls[0].fail_next(READ_ERROR);
        } else if call != Call::Poll {
            controls[0].complete_next();
        }
        let ended = copies.into_iter().map(block_on).filter(Result::is_ok).count();
        assert!(ended <= 1, "{call:?}");
        for control in &controls {
            assert!(control.halted(), "{call:?}");
            assert_eq!(control.violations(), [], "{call:?}");
        }
        let error = block_on(runtime.shutdown(LONG)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::EngineLost, "{call:?}");
        assert!(controls.iter().all(Control::dropped));
        eventually("the unmapping", || controls[0].domain().live() == 0);
    }
}

#[test]
fn an_engine_that_panics_in_halt_leaves_memory_in_place_and_the_other_is_halted() {
    for number in [0, 1] {
        let (runtime, controls) = pair();
        let copies = work(&runtime, &controls);
        controls[number].panic_in(Call::Halt);
        controls[0].panic_in(Call::Poll);
        for copy in copies {
            assert_eq!(kind(block_on(copy)), ErrorKind::EngineLost);
        }
        assert!(controls[1 - number].halted());
        assert!(!controls[number].halted());
        block_on(runtime.shutdown(LONG)).unwrap_err();
        // The one that did not halt may still write: its memory is left alone.
        assert_eq!(controls[number].domain().live(), 1);
        assert_eq!(controls[number].violations(), []);
    }
}

#[test]
fn a_panic_in_halt_at_the_end_is_told_and_resolves_what_is_left() {
    let (runtime, controls) = pair();
    let mut copies = work(&runtime, &controls);
    controls[0].panic_in(Call::Halt);
    assert!(poll_once(&mut copies[0]).is_pending());
    let error = block_on(runtime.shutdown(std::time::Duration::ZERO)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::EngineLost);
    assert!(error.to_string().contains("stay mapped"), "{error}");
    for copy in copies {
        assert_eq!(kind(block_on(copy)), ErrorKind::Shutdown);
    }
    assert!(controls[1].halted());
}

#[test]
fn an_engine_that_panics_when_dropped_spares_the_others() {
    let (runtime, controls) = pair();
    controls[0].panic_in(Call::Drop);
    controls[1].panic_in(Call::Drop);
    block_on(runtime.shutdown(LONG)).unwrap();
    assert!(controls.iter().all(|control| control.halted() && control.dropped()));
}

#[test]
fn who_waits_for_an_engine_to_come_back_is_told_of_a_panic() {
    let (runtime, controls) = pair();
    let copies = work(&runtime, &controls);
    controls[0].set_recovery(dmaring_manual::Recovery::Fails { steps: 0, status: READ_ERROR });
    let first = controls[0].outstanding()[0].serial;
    controls[0].fail_channel(first, READ_ERROR);
    eventually("the loss", || runtime.stats().engines[0].lost);
    controls[0].panic_in(Call::Recover);
    assert_eq!(kind(block_on(runtime.restore_engine("left"))), ErrorKind::Closed);
    for copy in copies {
        block_on(copy).unwrap_err();
    }
}
