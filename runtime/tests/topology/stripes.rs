//! Large operations are striped: right in every byte, over all engines, and fair to others.

use dmaring::{Builder, Runtime, Striping};
use dmaring_cpu::CpuEngine;
use dmaring_manual::{Control, ManualEngine, Order};
use futures::executor::block_on;
use proptest::prelude::*;

use crate::{
    common::{bytes, eventually, never_parking, pattern, region_of},
    manual, moved,
};

const STRIPE: u64 = 4096;

fn striped() -> Builder {
    never_parking().ring_entries(64).striping(Striping { from: 2 * STRIPE, stripe: STRIPE })
}

/// Eight engines that hold 16 transfers of 4 KiB each.
fn eight(builder: Builder) -> (Runtime, [Control; 8]) {
    manual(builder, |_, engine| engine.depth(16).max_transfer(4096))
}

#[test]
fn an_operation_is_one_however_many_engines_it_is_on() {
    let (runtime, controls) = eight(striped());
    let source = region_of(&runtime, &pattern(1, 1 << 16));
    let destination = runtime.allocate(1 << 16).unwrap();
    let copy = source.copy_to(0, &destination, 0, 1 << 16).submit();
    // Sixteen stripes: two for each engine.
    for control in &controls {
        control.wait_for_submitted(2);
        assert_eq!((control.submitted(), control.doorbells()), (2, 1));
    }
    for control in &controls[1..] {
        control.complete_all();
    }
    eventually("the others' ends", || moved(&runtime.stats())[7] == 2 * STRIPE);
    assert_eq!(runtime.stats().completed, 0, "one engine is not through");
    controls[0].complete_all();
    assert_eq!(block_on(copy).unwrap(), 1 << 16);
    assert_eq!(bytes(&destination, 0, 1 << 16), pattern(1, 1 << 16));
    let stats = runtime.stats();
    assert_eq!((stats.submitted, stats.completed, stats.bytes), (1, 1, 1 << 16));
}

#[test]
fn an_engine_that_is_through_takes_the_next_stripe() {
    let (runtime, controls) = eight(striped());
    let region = runtime.allocate(1 << 20).unwrap();
    let fill = region.fill(0, 1 << 20, 7).submit();
    for control in &controls {
        control.wait_for_submitted(2);
    }
    // Of 256 stripes seven engines do none: the other does all but the fourteen that they have.
    for done in 0..(256 - 16) {
        controls[3].complete_next();
        controls[3].wait_for_submitted(2);
        assert_eq!(controls[3].submitted(), 2, "after {done}");
    }
    controls.iter().for_each(Control::release);
    assert_eq!(block_on(fill).unwrap(), 1 << 20);
    let moved = moved(&runtime.stats());
    assert_eq!(moved[3], (256 - 14) * STRIPE);
    assert_eq!(moved.iter().sum::<u64>(), 1 << 20);
}

/// In steps: no transfer of the large copy ends before the small ones do.
#[test]
fn small_copies_behind_one_of_a_gibibyte_end_within_a_turn() {
    let (runtime, controls) = eight(never_parking().ring_entries(64));
    let source = runtime.allocate(1 << 30).unwrap();
    let destination = runtime.allocate((1 << 30) + 8 * 64).unwrap();
    let large = source.copy_to(0, &destination, 0, 1 << 30).submit();
    for control in &controls {
        control.wait_for_submitted(8);
    }
    controls[7].wait_for_polls(5);
    assert!(controls.iter().all(|control| control.submitted() == 8), "half of each");
    let small: Vec<_> =
        (0..8).map(|n| source.copy_to(0, &destination, (1 << 30) + n * 64, 64).submit()).collect();
    for control in &controls {
        let outstanding = control.wait_for_submitted(9);
        assert_eq!(outstanding[8].transfer.length, 64);
        control.complete_last();
    }
    small.into_iter().for_each(|copy| assert_eq!(block_on(copy).unwrap(), 64));
    assert_eq!(runtime.stats().completed, 8);
    drop(large);
    drop(runtime.shutdown(std::time::Duration::ZERO));
    assert_eq!(
        block_on(runtime.shutdown(std::time::Duration::ZERO)).unwrap_err().kind(),
        dmaring::ErrorKind::TimedOut
    );
}

#[test]
fn two_large_operations_share_every_engine() {
    let (runtime, controls) = eight(striped());
    let region = runtime.allocate(1 << 21).unwrap();
    let fills = [0, 1].map(|n| region.fill(n << 20, 1 << 20, n).submit());
    for control in &controls {
        control.wait_for_submitted(4);
    }
    let base = region.as_mut_ptr().unwrap().addr().get() as u64;
    for _ in 0..50 {
        for control in &controls {
            control.complete_next();
            let both = control.wait_for_submitted(4);
            let first = both.iter().filter(|one| one.transfer.destination.get() < base + (1 << 20));
            assert_eq!(first.count(), 2, "two stripes of each");
        }
    }
    controls.iter().for_each(Control::release);
    fills.into_iter().for_each(|fill| assert_eq!(block_on(fill).unwrap(), 1 << 20));
}

#[test]
fn a_fence_waits_for_every_stripe_and_is_waited_for() {
    let (runtime, controls) = eight(striped());
    let region = region_of(&runtime, &pattern(2, 1 << 17));
    let first = region.copy(0, 1 << 16, 8 * STRIPE).submit();
    let fenced = region.copy(1 << 16, 0, 8 * STRIPE).fence().submit();
    for control in &controls {
        control.wait_for_submitted(1);
    }
    for control in &controls[..7] {
        control.complete_all();
    }
    eventually("seven stripes", || moved(&runtime.stats()).iter().sum::<u64>() == 7 * STRIPE);
    controls[0].wait_for_polls(5);
    assert!(controls[..7].iter().all(|control| control.submitted() == 0), "the fence holds");
    controls[7].complete_all();
    assert_eq!(block_on(first).unwrap(), 8 * STRIPE);
    for control in &controls {
        control.wait_for_submitted(1);
        control.release();
    }
    assert_eq!(block_on(fenced).unwrap(), 8 * STRIPE);
    assert_eq!(bytes(&region, 0, 8 * 4096), pattern(2, 1 << 17)[..8 * 4096]);
}

/// More pieces than there may be at a time: they stand in line, and all come.
#[test]
fn more_pieces_than_places_are_made_one_after_another() {
    let (runtime, controls) = eight(
        never_parking().ring_entries(256).striping(Striping { from: 2 * STRIPE, stripe: STRIPE }),
    );
    let region = runtime.allocate(100 << 16).unwrap();
    // A hundred operations of sixteen stripes.
    let fills: Vec<_> = (0..100).map(|n| region.fill(n << 16, 1 << 16, n).submit()).collect();
    controls[7].wait_for_submitted(16);
    controls.iter().for_each(Control::release);
    fills.into_iter().for_each(|fill| assert_eq!(block_on(fill).unwrap(), 1 << 16));
    for n in 0..100 {
        assert_eq!(bytes(&region, (n << 16) + (1 << 16) - 8, 8), n.to_le_bytes());
    }
}

#[test]
fn nothing_is_striped_with_one_engine_or_where_that_is_off() {
    let (runtime, [control]) = manual(striped(), |_, engine| engine);
    let region = runtime.allocate(1 << 16).unwrap();
    let fill = region.fill(0, 1 << 16, 1).submit();
    assert_eq!(control.wait_for_submitted(1)[0].transfer.length, 1 << 16);
    control.release();
    block_on(fill).unwrap();
    let (runtime, controls) = manual::<2>(striped().striping(Striping::OFF), |_, engine| engine);
    let region = runtime.allocate(1 << 16).unwrap();
    let fill = region.fill(0, 1 << 16, 1).submit();
    eventually("the fill", || controls.iter().any(|control| control.submitted() == 1));
    assert_eq!(controls.iter().map(Control::submitted).sum::<usize>(), 1);
    controls.iter().for_each(Control::release);
    block_on(fill).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Engines of different limits, one of them the CPU, in any order of ends: every byte is right, and none beside it.
    #[test]
    fn striped_copies_and_fills_write_every_byte_and_no_other(
        from in 0u64..100, to in 0u64..100, length in 1u64..200_000, stripe in 4096u64..20_000,
        seed: u64, fills: bool
    ) {
        let striping = Striping { from: 4096, stripe };
        let mut builder = never_parking().striping(striping).engine(CpuEngine::with_depth(4));
        for (number, limit) in (0..).zip([64, 5000, 1 << 20]) {
            let (engine, control) = ManualEngine::builder().max_transfer(limit).depth(8).build();
            control.set_auto_order(Order::Random { seed: seed ^ number });
            control.release();
            builder = builder.engine(engine);
        }
        let runtime = builder.build().unwrap();
        let contents = pattern(seed as usize % 1000, 200_100);
        let source = region_of(&runtime, &contents);
        let destination = runtime.allocate(200_200).unwrap();
        let (at, end) = (to as usize, (to + length) as usize);
        let found = || bytes(&destination, 0, 200_200);
        if fills {
            prop_assert_eq!(block_on(destination.fill(to, length, seed)).unwrap(), length);
            let right = found()[at..end].iter().enumerate()
                .all(|(n, &byte)| byte == seed.to_le_bytes()[n % 8]);
            prop_assert!(right);
        } else {
            prop_assert_eq!(block_on(source.copy_to(from, &destination, to, length)).unwrap(), length);
            let from = from as usize;
            prop_assert!(found()[at..end] == contents[from..from + end - at]);
        }
        prop_assert!(found()[..at].iter().chain(&found()[end..]).all(|&byte| byte == 0));
    }
}
