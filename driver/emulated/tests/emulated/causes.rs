//! Every cause of CHANERR, provoked through registers and descriptors of the model, and decoded by the driver.

use std::fmt::Write;

use dmaring_driver::ioat::{Causes, status_kind};
use dmaring_emulated::{DeviceBuilder, Fault, FaultPlan, FaultStyle, PlannedFault, Preset};
use dmaring_ioat_spec::{ConfigIo, RegisterIo, chanerr::ChannelError};

use crate::rig::*;

/// An address that is never given out.
const NOWHERE: u64 = 0x7_0000;

/// Bit, how it is provoked, on which device, and the provocation, which is stepped afterwards.
type Row = (u8, &'static str, fn() -> DeviceBuilder, fn(&mut Rig));

fn data() -> DeviceBuilder {
    builder().fault_style(FaultStyle::Data)
}

fn no_fill() -> DeviceBuilder {
    dmaring_emulated::Device::builder(Preset::Icx)
}

fn copy_to_read_only(rig: &mut Rig) {
    let source = rig.source.iova(0);
    rig.push(64, WRITE, source, source + 4096);
}

fn copy(rig: &mut Rig, source: Option<u64>, destination: Option<u64>) {
    let source = source.unwrap_or(rig.source.iova(0));
    let destination = destination.unwrap_or(rig.destination.iova(0));
    rig.push(64, WRITE, source, destination);
}

fn link(rig: &mut Rig, next: u64) {
    rig.push_words(descriptor(1, NULL, 0, 0, next));
    rig.push_null();
}

fn control(rig: &mut Rig, control: u32) {
    let (source, destination) = (rig.source.iova(0), rig.destination.iova(0));
    rig.push(64, control | WRITE, source, destination);
}

fn completion_at(rig: &mut Rig, address: u64) {
    rig.bar.write64(rig.at(CHANCMP), address);
    rig.push_null();
}

fn chain_at(rig: &mut Rig, address: u64) {
    rig.bar.write64(rig.at(CHAINADDR), address);
    rig.push_null();
}

const ROWS: &[Row] = &[
    (0, "source not mapped", builder, |rig| copy(rig, Some(NOWHERE), None)),
    (0, "source in the gap past a mapping", builder, |rig| {
        let end = rig.source.iova(0) + 4 * 4096;
        copy(rig, Some(end), None);
    }),
    (1, "destination not mapped", builder, |rig| copy(rig, None, Some(NOWHERE))),
    (1, "destination read only", builder, copy_to_read_only),
    (2, "`next` not mapped", builder, |rig| link(rig, NOWHERE)),
    (3, "`next` no multiple of 64", builder, |rig| {
        let next = rig.address(1) + 32;
        link(rig, next);
    }),
    (4, "CHAINADDR not mapped", builder, |rig| chain_at(rig, NOWHERE)),
    (4, "CHAINADDR no multiple of 64", builder, |rig| {
        let address = rig.address(0) + 8;
        chain_at(rig, address);
    }),
    (4, "bus mastering off", builder, |rig| {
        rig.device.config().write_config32(0x04, 0x0002);
        // No completion on an error: it could not be written either, which is bit 12 as well.
        rig.bar.write16(rig.at(CHANCTRL), 0x08);
        rig.push_null();
    }),
    (5, "CHANCMD 0x40", builder, |rig| rig.command(0x40)),
    (5, "CHANCMD 0x01, start", builder, |rig| rig.command(0x01)),
    (8, "source not mapped, `fault_style` data", data, |rig| copy(rig, Some(NOWHERE), None)),
    (9, "destination not mapped, `fault_style` data", data, |rig| copy(rig, None, Some(NOWHERE))),
    (9, "destination read only, `fault_style` data", data, copy_to_read_only),
    (10, "operation 0x42", builder, |rig| control(rig, 0x4200_0000)),
    (10, "operation 0x87, XOR", builder, |rig| control(rig, 0x8700_0000)),
    (10, "reserved control bit 20", builder, |rig| control(rig, 1 << 20)),
    (10, "null flag in a fill", builder, |rig| control(rig, FILL | NULL)),
    (10, "page break, which no preset has", builder, |rig| control(rig, 1 << 6)),
    (10, "fill without the capability", no_fill, |rig| control(rig, FILL)),
    (11, "size 0", builder, |rig| {
        rig.push_copy(0);
    }),
    (11, "size one above XFERCAP", builder, |rig| {
        rig.push_copy((1 << 20) + 1);
    }),
    (12, "CHANCMP 0", builder, |rig| completion_at(rig, 0)),
    (12, "CHANCMP not mapped", builder, |rig| completion_at(rig, NOWHERE)),
    (12, "CHANCMP read only", builder, |rig| {
        let address = rig.source.iova(0);
        completion_at(rig, address);
    }),
    (12, "CHANCMP no multiple of 8", builder, |rig| {
        let address = rig.status.iova(4);
        completion_at(rig, address);
    }),
];

/// Provokes one row and gives CHANERR.
fn provoke(bit: u8, builder: DeviceBuilder, provocation: impl Fn(&mut Rig)) -> u32 {
    let mut rig = Rig::started(builder);
    let before = rig.destination.bytes();
    provocation(&mut rig);
    if rig.state() != HALTED {
        rig.doorbell();
        rig.device.step(9);
    }
    assert_eq!(rig.state(), HALTED, "bit {bit}");
    assert_eq!(rig.destination.bytes(), before, "bit {bit} moved something");
    let errors = rig.errors();
    assert_eq!(rig.device.config().read_config32(0x180), Some(errors));

    // It works again after the reset sequence.
    assert!(rig.device.config().write_config32(0x04, 0x0006));
    rig.clear_errors();
    assert!(rig.device.config().write_config32(0x180, errors));
    rig.command(RESET);
    rig.await_reset();
    rig.start();
    rig.push_copy(64);
    assert_eq!((rig.go(1), rig.state(), rig.errors()), (1, IDLE, 0), "bit {bit}");
    errors
}

fn table() -> String {
    let mut lines = Vec::new();
    for (bit, how, builder, provocation) in ROWS {
        lines.push((*bit, (*how).to_owned(), provoke(*bit, builder(), provocation)));
    }
    for bit in (0..32).filter(|bit| ROWS.iter().all(|row| row.0 != *bit)) {
        let plan = FaultPlan::new().with(PlannedFault::nth(1, Fault::ChanErr(bit)));
        let copy = |rig: &mut Rig| {
            rig.push_copy(64);
        };
        let errors = provoke(bit, builder().fault_plan(plan), copy);
        lines.push((bit, format!("fault plan `nth=1:chanerr={bit}`"), errors));
    }
    lines.sort_by_key(|line| line.0);
    let mut table =
        "| bit | provoked by | CHANERR | the driver's status | the driver says |\n| --- | --- | --- | --- | --- |\n"
            .to_owned();
    for (bit, how, errors) in lines {
        assert_eq!(errors, 1 << bit, "{how}");
        let errors = ChannelError::from_bits_retain(errors);
        let (kind, causes) = (status_kind(errors), Causes(errors).to_string());
        let causes = causes.split_once(';').map_or(&*causes, |(causes, _)| causes);
        writeln!(table, "| {bit} | {how} | {:#010x} | {kind} | {causes} |", errors.bits()).unwrap();
    }
    table
}

#[test]
fn every_cause_is_provoked_and_the_docs_have_the_table() {
    let table = table();
    let docs = include_str!("../../../../docs/emulated-device.md");
    assert!(docs.contains(&table), "the table in docs/emulated-device.md should be\n\n{table}");
}

#[test]
fn a_channel_that_has_failed_says_what_it_was_doing() {
    let mut rig = Rig::started(builder());
    rig.push_null();
    let bad = rig.push(64, WRITE, NOWHERE, 0);
    rig.go(9);
    assert_eq!(rig.bar.read64(rig.at(CDAR)), bad);
    assert_eq!(rig.completion(), rig.address(0) | HALTED);
}

#[test]
fn errors_of_no_descriptor_show_in_the_status() {
    for (bit, shown) in [(15, 0x8), (14, 0x10)] {
        let plan = FaultPlan::new().with(PlannedFault::nth(1, Fault::ChanErr(bit)));
        let mut rig = Rig::started(builder().fault_plan(plan));
        rig.push_null();
        rig.go(1);
        assert_eq!(rig.status(), HALTED | shown);
    }
}

#[test]
fn the_first_thing_wrong_is_the_one_that_is_told() {
    let mut rig = Rig::started(builder());
    rig.push(0, 0x4200_0000, NOWHERE, NOWHERE);
    rig.go(1);
    assert_eq!(rig.errors(), 1 << 11);
    assert_eq!(rig.domain.faults(), 0);
}
