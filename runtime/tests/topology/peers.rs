//! Memory of devices among several engines: in segments, in stripes, by a calibration, and by engines' own threads.

use dmaring::{Calibration, ErrorKind, Pollers, Region, Runtime, Segment, Striping};
use dmaring_cpu::CpuEngine;
use dmaring_engine::Operation;
use dmaring_manual::{Control, ManualEngine};
use futures::executor::block_on;

use crate::{
    common::{bytes, kind, never_parking, pattern, region_of},
    device::FakeBar,
};

const LENGTH: usize = 64 << 10;
const STRIPING: Striping = Striping { from: 8192, stripe: 4096 };

/// Two engines that are devices, and one that is the host's CPU.
fn three(striping: Striping) -> (Runtime, [Control; 2], Control) {
    let (left, left_control) = ManualEngine::builder().name("left").build();
    let (right, right_control) = ManualEngine::builder().name("right").build();
    let (cpu, cpu_control) = ManualEngine::builder().name("cpu").host_memory(true).build();
    let builder = never_parking().striping(striping).engine(left).engine(right).engine(cpu);
    (builder.build().unwrap(), [left_control, right_control], cpu_control)
}

fn segment<'a>(source: &'a Region, destination: &'a Region, at: u64) -> Segment<'a> {
    Segment { source, source_offset: at, destination, destination_offset: at, length: 64 }
}

#[test]
fn a_segment_from_a_bar_goes_to_the_cpu_and_the_others_do_not() {
    let (runtime, devices, cpu) = three(Striping::OFF);
    let (bar, outside) = FakeBar::new(LENGTH);
    outside.write(0, &pattern(1, LENGTH));
    let bar = runtime.open_bar(bar).unwrap();
    let source = region_of(&runtime, &pattern(2, LENGTH));
    let destination = runtime.allocate(LENGTH).unwrap();
    let segments = [
        segment(&source, &destination, 0),
        segment(&bar, &destination, 64),
        segment(&source, &bar, 1024),
        segment(&bar, &destination, 128),
        segment(&source, &destination, 192),
    ];
    let copy = runtime.copy_vectored(&segments).submit();
    let words = cpu.wait_for_submitted(2);
    assert!(
        words
            .iter()
            .all(|ticket| { matches!(ticket.transfer.operation, Operation::DeviceCopy { .. }) })
    );
    devices[0].wait_for_submitted(3);
    assert_eq!(devices[1].submitted(), 0, "one engine for what no other must do");
    cpu.complete_all();
    devices[0].complete_all();
    assert_eq!(block_on(copy).unwrap(), 5 * 64);
    let (from_bar, from_memory) = (pattern(1, LENGTH), pattern(2, LENGTH));
    assert_eq!(bytes(&destination, 0, 64), from_memory[..64]);
    assert_eq!(bytes(&destination, 64, 128), from_bar[64..192]);
    assert_eq!(bytes(&destination, 192, 64), from_memory[192..256]);
    assert_eq!(outside.read(1024, 64), from_memory[1024..1088]);
    assert_eq!((cpu.violations(), devices[0].violations()), (vec![], vec![]));
}

#[test]
fn without_a_cpu_the_segment_from_a_bar_is_named() {
    let (engine, control) = ManualEngine::builder().build();
    let runtime = never_parking().engine(engine).build().unwrap();
    let bar = runtime.open_bar(FakeBar::new(LENGTH).0).unwrap();
    let memory = runtime.allocate(LENGTH).unwrap();
    let segments = [segment(&memory, &bar, 0), segment(&bar, &memory, 64)];
    let error = block_on(runtime.copy_vectored(&segments)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(
        error.to_string().starts_with("segment 1: the source is memory of a device"),
        "{error}"
    );
    assert_eq!(control.submitted(), 0);
}

#[test]
fn what_is_written_to_a_bar_is_striped_over_devices_and_what_is_read_is_the_cpus() {
    let (runtime, devices, cpu) = three(STRIPING);
    let (bar, outside) = FakeBar::new(LENGTH);
    let bar = runtime.open_bar(bar).unwrap();
    let memory = region_of(&runtime, &pattern(3, LENGTH));
    let copy = memory.copy_to(0, &bar, 0, LENGTH as u64).submit();
    devices.iter().for_each(|device| drop(device.wait_for_submitted(1)));
    devices.iter().for_each(Control::release);
    assert_eq!(block_on(copy).unwrap(), LENGTH as u64);
    assert_eq!(outside.read(0, LENGTH), pattern(3, LENGTH));
    assert_eq!(runtime.stats().engines[2].bytes, 0, "the CPU would wait for each access");

    cpu.release();
    let back = runtime.allocate(LENGTH).unwrap();
    assert_eq!(block_on(bar.copy_to(0, &back, 0, LENGTH as u64)).unwrap(), LENGTH as u64);
    assert_eq!(bytes(&back, 0, LENGTH), pattern(3, LENGTH));
    assert_eq!(runtime.stats().engines[2].bytes, LENGTH as u64);
}

#[test]
fn a_cpu_with_a_thread_of_its_own_reaches_a_bar_by_words() {
    let (engine, device) = ManualEngine::builder().build();
    let builder = never_parking().pollers(Pollers::PerEngine).engine(engine);
    let runtime = builder.engine(CpuEngine::new()).build().unwrap();
    let (bar, outside) = FakeBar::new(LENGTH);
    outside.write(0, &pattern(4, 1000));
    let bar = runtime.open_bar(bar).unwrap();
    let memory = runtime.allocate(LENGTH).unwrap();
    assert_eq!(block_on(bar.copy_to(1, &memory, 3, 900)).unwrap(), 900);
    assert_eq!(bytes(&memory, 3, 900), pattern(4, 1000)[1..901]);
    assert_eq!(device.enqueued(), 0);
}

#[test]
fn memory_of_a_device_is_not_calibrated() {
    let (runtime, devices, _cpu) = three(Striping::OFF);
    let bar = runtime.open_bar(FakeBar::new(LENGTH).0).unwrap();
    let memory = runtime.allocate(LENGTH).unwrap();
    for (source, destination) in [(&bar, &memory), (&memory, &bar)] {
        let measured = block_on(Calibration::measure(&runtime, source, destination));
        assert_eq!(kind(measured), ErrorKind::Unsupported);
    }
    assert_eq!(devices[0].submitted(), 0);
}
