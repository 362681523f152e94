//! The end of regions that are being made durable, and of memory of devices.

use dmaring::{BarOptions, Durability, ErrorKind, Runtime, bounce::BouncePool};
use dmaring_cpu::CpuEngine;
use dmaring_manual::ManualEngine;
use futures::{FutureExt, executor::block_on};

use crate::{
    common::{bytes, eventually, kind, never_parking, pattern, poll_once, region_of},
    device::FakeBar,
    recorder::{persistent, recording},
};

const LENGTH: usize = 8192;

/// An engine is through with it, and a thread writes back what it wrote: closed, and replaced.
#[test]
fn what_is_being_made_durable_is_waited_for() {
    for zeroes in [false, true] {
        let (engine, control) = ManualEngine::builder().build();
        control.set_auto(true);
        let (builder, recorder) = recording();
        let runtime = builder.engine(engine).build().unwrap();
        let region = persistent(&runtime, LENGTH);
        let base = region.as_mut_ptr().unwrap();
        recorder.allow(0);
        let fill = region.fill(0, 200, 7).durable().submit();
        let persist = region.persist(4096..).submit();
        recorder.wait_for_held();
        let mut end =
            if zeroes { region.replace_with_zeroes().boxed() } else { region.close().boxed() };
        assert!(poll_once(&mut end).is_pending());
        assert_eq!(kind(block_on(region.persist(0..64))), ErrorKind::Closed);
        assert_eq!(kind(block_on(region.fill(0, 64, 1).durable())), ErrorKind::Closed);
        control.wait_for_polls(200);
        assert!(poll_once(&mut end).is_pending(), "its lines are written back");
        assert_eq!(control.domain().live(), 1);
        recorder.release();
        block_on(end).unwrap();
        assert_eq!((block_on(fill).unwrap(), block_on(persist).unwrap()), (200, 4096));
        assert_eq!((recorder.lines(), recorder.is_fenced()), (4 + 64, true));
        assert_eq!((control.domain().live(), control.violations()), (0, vec![]));
        // It takes the place of the one that has ended, of which nothing more can be said.
        let next = runtime.allocate(LENGTH).unwrap();
        assert_eq!(kind(region.assume_durability(Durability::NeedsFlush)), ErrorKind::Closed);
        let node = next.numa_node();
        region.set_numa_node(Some(77));
        assert_eq!((next.durability(), next.numa_node()), (Durability::Volatile, node));
        assert_eq!((region.durability(), region.numa_node()), (Durability::Volatile, None));
        assert_eq!(kind(block_on(next.fill(0, 64, 1).durable())), ErrorKind::Volatile);
        drop(next);
        assert_eq!(region.as_mut_ptr(), zeroes.then_some(base));
    }
}

/// A runtime on the host's CPU and an engine that is a device.
fn runtime() -> Runtime {
    let (engine, control) = ManualEngine::builder().name("device").build();
    control.set_auto(true);
    never_parking().engine(engine).engine(CpuEngine::new()).build().unwrap()
}

#[test]
fn a_bar_is_not_replaced_and_is_as_good_as_before() {
    let runtime = runtime();
    let (bar, outside) = FakeBar::new(LENGTH);
    let bar = runtime.open_bar(bar).unwrap();
    outside.write(0, &pattern(1, LENGTH));
    let error = block_on(bar.replace_with_zeroes()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("use close"), "{error}");
    assert_eq!(bytes(&bar, 0, LENGTH), pattern(1, LENGTH));
    block_on(bar.copy(0, 4096, 64)).unwrap();
    assert_eq!(outside.read(4096, 64), pattern(1, LENGTH)[..64]);
    assert!(!outside.is_gone());
}

#[test]
fn a_bar_that_is_closed_is_let_go_after_its_last_copy() {
    let (engine, control) = ManualEngine::builder().build();
    let runtime = never_parking().engine(engine).build().unwrap();
    let (bar, outside) = FakeBar::new(LENGTH);
    let bar = runtime.open_bar(bar).unwrap();
    let memory = region_of(&runtime, &pattern(2, LENGTH));
    let copy = memory.copy_to(0, &bar, 0, 64).submit();
    control.wait_for_submitted(1);
    let mut close = bar.close().boxed();
    assert!(poll_once(&mut close).is_pending());
    control.wait_for_polls(200);
    assert!(!outside.is_gone());
    control.release();
    block_on(close).unwrap();
    assert!(outside.is_gone(), "before it resolves");
    block_on(copy).unwrap();
    assert_eq!(outside.read(0, 64), pattern(2, LENGTH)[..64]);
    for refused in [bar.read_at(0, &mut [0; 4]), bar.write_at(0, &[0; 4])] {
        assert_eq!(kind(refused), ErrorKind::Closed);
    }
    assert_eq!(kind(block_on(memory.copy_to(0, &bar, 0, 64))), ErrorKind::Closed);
    assert_eq!(bar.as_mut_ptr(), None);
    assert_eq!((control.domain().live(), control.violations()), (1, vec![]));
}

/// Bounced to a BAR and from it: who may read it is asked for each piece as for any copy, and so is the width.
#[test]
fn bytes_are_bounced_to_a_bar_and_from_it() {
    let runtime = runtime();
    let (bar, outside) = FakeBar::new(LENGTH);
    let bar = runtime.open_bar(bar).unwrap();
    let pool = BouncePool::new(&runtime, 2, 64).unwrap();
    let contents = pattern(3, 1001);
    block_on(pool.copy_from_slice(&contents, &bar, 5)).unwrap();
    assert_eq!(outside.read(5, 1001), contents);
    assert_eq!(block_on(pool.copy_to_vec(&bar, 5, 1001)).unwrap(), contents);
    eventually("all buffers", || pool.available() == 2);

    // Registers: doublewords alone, whatever the length of a buffer.
    let (mut registers, outside) = FakeBar::new(LENGTH);
    registers.prefetchable = false;
    let options = BarOptions::new().with_side_effects();
    let registers = runtime.open_bar_with(registers, options).unwrap();
    let odd = BouncePool::new(&runtime, 1, 63).unwrap();
    block_on(odd.copy_from_slice(&contents[..1000], &registers, 8)).unwrap();
    assert_eq!(outside.read(8, 1000), contents[..1000]);
    let refused = block_on(odd.copy_to_vec(&registers, 2, 8));
    assert_eq!(kind(refused), ErrorKind::Unsupported);
    assert_eq!(odd.available(), 1);
}

/// Without the host's CPU nobody may read a BAR: bouncing says so, as copying does.
#[test]
fn nothing_is_bounced_from_a_bar_without_the_cpu() {
    let (engine, control) = ManualEngine::builder().build();
    control.set_auto(true);
    let runtime = never_parking().engine(engine).build().unwrap();
    let (bar, _outside) = FakeBar::new(LENGTH);
    let bar = runtime.open_bar(bar).unwrap();
    let pool = BouncePool::new(&runtime, 1, 64).unwrap();
    assert_eq!(kind(block_on(pool.copy_to_vec(&bar, 0, 64))), ErrorKind::Unsupported);
    assert_eq!(pool.available(), 1);
    block_on(pool.copy_from_slice(&[1; 64], &bar, 0)).unwrap();
    assert_eq!(control.violations(), []);
}
