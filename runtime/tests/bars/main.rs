//! Memory of devices, peer to peer: who reads it, who writes it, what is refused. And regions as long as devices have them.
#![cfg(all(not(loom), not(miri)))]
#![allow(clippy::cast_possible_truncation, reason = "test bytes are cut from counters")]
#![allow(clippy::print_stderr, reason = "a test that cannot run says so")]

#[path = "../common/mod.rs"]
mod common;
mod device;
mod long;
mod matrix;
#[path = "../emulated/rig.rs"]
mod rig;
#[path = "../staged/mod.rs"]
mod staged;

use dmaring::{BarOptions, ErrorKind, Runtime};
use dmaring_cpu::CpuEngine;
use dmaring_engine::{MapError, Operation};
use dmaring_manual::{Control, ManualEngine};
use futures::executor::block_on;

use self::{
    common::{bytes, eventually, kind, never_parking, pattern, region_of},
    device::FakeBar,
};

const LENGTH: usize = 64 << 10;

/// A runtime on an engine that is a device and one that is the host's CPU.
fn pair() -> (Runtime, Control, Control) {
    let (device, devices) = ManualEngine::builder().name("device").build();
    let (cpu, cpus) = ManualEngine::builder().name("cpu").host_memory(true).build();
    let runtime = never_parking().engine(device).engine(cpu).build().unwrap();
    (runtime, devices, cpus)
}

#[test]
fn engines_write_to_a_bar_and_the_cpu_reads_from_it_by_words() {
    let (runtime, device, cpu) = pair();
    let (bar, outside) = FakeBar::new(LENGTH);
    let bar = runtime.open_bar(bar).unwrap();
    assert_eq!((bar.len(), bar.numa_node()), (LENGTH as u64, Some(1)));
    let memory = region_of(&runtime, &pattern(1, LENGTH));

    // However busy the device is: the CPU would wait for each word.
    let writes: Vec<_> = (0..4).map(|n| memory.copy_to(n, &bar, n * 64, 64).submit()).collect();
    let tickets = device.wait_for_submitted(4);
    assert!(tickets.iter().all(|t| matches!(t.transfer.operation, Operation::Copy { .. })));
    let read = bar.copy_to(0, &memory, 4096, 64).submit();
    let tickets = cpu.wait_for_submitted(1);
    assert!(matches!(tickets[0].transfer.operation, Operation::DeviceCopy { .. }));
    let within = bar.copy(0, 4096, 64).submit();
    let ticket = cpu.wait_for_submitted(2)[1];
    assert!(matches!(ticket.transfer.operation, Operation::DeviceCopy { .. }));
    let fill = bar.fill(8192, 64, 7).submit();
    let ticket = device.wait_for_submitted(5)[4];
    assert!(matches!(ticket.transfer.operation, Operation::Fill { .. }));
    assert_eq!((device.submitted(), cpu.submitted()), (5, 2));

    device.complete_all();
    cpu.complete_all();
    for write in writes {
        block_on(write).unwrap();
    }
    for operation in [read, within] {
        block_on(operation).unwrap();
    }
    block_on(fill).unwrap();
    assert_eq!(outside.read(192, 64), pattern(1, LENGTH)[3..67]);
    assert_eq!(outside.read(8192, 64), [7, 0, 0, 0, 0, 0, 0, 0].repeat(8));
    assert_eq!((device.violations(), cpu.violations()), (vec![], vec![]));
}

#[test]
fn a_copy_to_a_bar_that_the_engine_fails_is_made_by_words() {
    let (runtime, device, cpu) = pair();
    let (bar, outside) = FakeBar::new(LENGTH);
    let bar = runtime.open_bar(bar).unwrap();
    let memory = region_of(&runtime, &pattern(2, 64));
    let (copy, fill) = (memory.copy_to(0, &bar, 0, 64).submit(), bar.fill(64, 64, 9).submit());
    device.wait_for_submitted(2);
    device.fail_next(common::WRITE_ERROR);
    device.fail_next(common::WRITE_ERROR);
    let tickets = cpu.wait_for_submitted(2);
    let is_device = |operation| {
        matches!(operation, Operation::DeviceCopy { .. } | Operation::DeviceFill { .. })
    };
    assert!(tickets.iter().all(|ticket| is_device(ticket.transfer.operation)), "{tickets:?}");
    cpu.complete_all();
    block_on(copy).unwrap();
    block_on(fill).unwrap();
    assert_eq!(outside.read(0, 64), pattern(2, 64));
    assert_eq!(outside.read(64, 8), [9, 0, 0, 0, 0, 0, 0, 0]);
}

#[test]
fn an_engine_reads_a_bar_only_where_that_was_asked_for() {
    let (engine, control) = ManualEngine::builder().build();
    let runtime = never_parking().engine(engine).build().unwrap();
    let memory = region_of(&runtime, &[0; 64]);
    let (bar, _outside) = FakeBar::new(LENGTH);
    let guarded = runtime.open_bar(bar).unwrap();
    let error = block_on(guarded.copy_to(0, &memory, 0, 64)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("CpuEngine") && error.to_string().contains("engine_reads"));
    assert_eq!(control.submitted(), 0);

    let (bar, outside) = FakeBar::new(LENGTH);
    outside.write(0, &pattern(3, 64));
    let open = runtime.open_bar_with(bar, BarOptions::new().engine_reads_mmio()).unwrap();
    let copy = open.copy_to(0, &memory, 0, 64).submit();
    let ticket = control.wait_for_submitted(1)[0];
    assert!(matches!(ticket.transfer.operation, Operation::Copy { .. }));
    control.complete_all();
    block_on(copy).unwrap();
    assert_eq!(bytes(&memory, 0, 64), pattern(3, 64));
}

#[test]
fn registers_are_taken_when_asked_for_and_in_whole_doublewords() {
    let runtime = common::cpu(16);
    let registers = || {
        let (mut bar, outside) = FakeBar::new(LENGTH);
        bar.prefetchable = false;
        (bar, outside)
    };
    let error = runtime.open_bar(registers().0).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().starts_with("0000:00:0b.0 BAR 2 is not prefetchable"), "{error}");

    let (bar, outside) = registers();
    let bar = runtime.open_bar_with(bar, BarOptions::new().with_side_effects()).unwrap();
    let memory = region_of(&runtime, &pattern(4, 64));
    for (from, to, length) in [(0, 1, 4), (0, 4, 6), (0, 2, 2)] {
        let outcome = block_on(memory.copy_to(from, &bar, to, length));
        assert_eq!(kind(outcome), ErrorKind::Unsupported);
        assert_eq!(kind(block_on(bar.copy_to(to, &memory, from, length))), ErrorKind::Unsupported);
    }
    assert_eq!(kind(bar.read_at(2, &mut [0; 4])), ErrorKind::Unsupported);
    assert_eq!(kind(bar.write_at(0, &[0; 3])), ErrorKind::Unsupported);
    assert_eq!(outside.read(0, 64), [0; 64]);
    block_on(memory.copy_to(3, &bar, 4, 8)).unwrap();
    assert_eq!(outside.read(4, 8), pattern(4, 64)[3..11]);
}

#[test]
fn two_handles_to_the_same_bytes_are_told_by_their_address_on_the_bus() {
    let runtime = common::cpu(16);
    let (_, outside) = FakeBar::new(LENGTH);
    let open = |address| runtime.open_bar(FakeBar::again(&outside, LENGTH, address)).unwrap();
    let (one, same, other) = (open(0x1000_0000), open(0x1000_0000), open(0x2000_0000));
    assert_eq!(kind(block_on(one.copy_to(0, &same, 63, 64))), ErrorKind::Overlap);
    assert_eq!(block_on(one.copy_to(0, &same, 64, 64)).unwrap(), 64);
    assert_eq!(block_on(one.copy_to(0, &other, 128, 64)).unwrap(), 64);
}

#[test]
fn a_bar_is_let_go_when_it_is_unmapped_and_no_sooner() {
    let (engine, device) = ManualEngine::new();
    // One that parks, and reaps before it does: nobody else asks for the end of a copy that was dropped.
    let runtime = Runtime::builder().engine(engine).build().unwrap();
    let (bar, outside) = FakeBar::new(LENGTH);
    let bar = runtime.open_bar(bar).unwrap();
    let fill = bar.fill(0, 64, 1).submit();
    device.wait_for_submitted(1);
    drop((bar, fill));
    assert!(!outside.is_gone(), "the engine is at it");
    assert_eq!(device.domain().live(), 1);
    device.complete_all();
    eventually("the BAR was let go", || outside.is_gone());
    assert_eq!(device.domain().live(), 0);
}

#[test]
fn a_bar_that_no_engine_can_map_is_refused_and_let_go() {
    for (refusal, expected) in [
        (MapError::Os(22), ErrorKind::Unmapped),
        (MapError::Unsupported, ErrorKind::Unsupported),
        (MapError::Mappings { limit: 7 }, ErrorKind::LimitExceeded),
    ] {
        let (runtime, device, _cpu) = pair();
        device.domain().refuse_map(0, refusal);
        let (bar, outside) = FakeBar::new(LENGTH);
        let error = runtime.open_bar(bar).unwrap_err();
        assert_eq!(error.kind(), expected);
        let text = error.to_string();
        assert!(text.starts_with("0000:00:0b.0 BAR 2: cannot map 65536 bytes"), "{text}");
        let explained = text.contains("for no other device; the CPU can copy");
        assert_eq!(explained, expected != ErrorKind::LimitExceeded, "{text}");
        assert!(outside.is_gone());
    }
}

#[test]
fn the_cpu_reads_and_writes_every_range() {
    let runtime = Runtime::builder().engine(CpuEngine::new()).build().unwrap();
    let (bar, outside) = FakeBar::new(LENGTH);
    let bar = runtime.open_bar(bar).unwrap();
    for offset in 0..9 {
        for length in [1, 3, 4, 8, 13, 100] {
            let expected = pattern(offset + length, length);
            bar.write_at(offset as u64, &expected).unwrap();
            assert_eq!(outside.read(offset as u64, length), expected);
            assert_eq!(bytes(&bar, offset as u64, length), expected);
        }
    }
    assert_eq!(kind(bar.read_at(LENGTH as u64 - 1, &mut [0; 2])), ErrorKind::OutOfBounds);
}
