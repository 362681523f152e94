//! MSI-X: messages as the guest wrote them, remapped, masked and pending.

use std::sync::Arc;

use dmaring_emulated::guest::{GuestAccess, GuestFaultReason as Reason, GuestFunction};

use crate::rig::*;

const RING: u64 = 0x20_0000;
/// Where the interrupt remapping table is.
const TABLE: u64 = 0x30_0000;

/// A function whose channel is started, with the vector's message written and unmasked.
fn bench(address: u64, data: u64) -> (Ram, Arc<FakeChipset>, GuestFunction) {
    let (ram, chipset) = (Ram::new(16 << 20), FakeChipset::new());
    let function = function(&ram, &chipset);
    // Every descriptor asks for a completion word and an interrupt.
    for at in 0..32 {
        ram.descriptor(RING + at * 64, [8, 0x29, 0, 0, RING + (at + 1) * 64]);
    }
    function.write_bar(BAR + 0x2000, 8, address);
    function.write_bar(BAR + 0x2008, 4, data);
    function.write_bar(BAR + 0x200c, 4, 0);
    // MSI-X on; master enable.
    function.write_config(0x82, 2, 0x8000);
    function.write_bar(BAR + 0x03, 1, 0x01);
    start(&function, RING, RING + 0x1000, 0);
    (ram, chipset, function)
}

/// One more descriptor, interrupts armed again.
fn run(function: &GuestFunction, count: u64) {
    function.write_bar(BAR + 0x80, 2, 0x0d);
    function.write_bar(BAR + 0x86, 2, count);
    assert_eq!(function.step(1).unwrap(), 1);
}

fn pending(function: &GuestFunction) -> u64 {
    function.read_bar(BAR + 0x3000, 8)
}

#[test]
fn without_remapping_the_message_goes_out_as_it_is_and_once() {
    let (ram, chipset, function) = bench(0xfee0_3000, 0x4041);
    run(&function, 1);
    assert_eq!(chipset.written(), [(0xfee0_3000, 0x4041)]);
    assert_eq!(ram.word(RING + 0x1000), RING | IDLE);
    // One-shot: not armed again, it raises nothing.
    function.write_bar(BAR + 0x86, 2, 2);
    function.step(1).unwrap();
    assert_eq!((chipset.written().len(), function.status().interrupts), (1, 1));
    run(&function, 3);
    assert_eq!((chipset.written().len(), function.status().interrupts), (2, 2));
    assert_eq!(pending(&function), 0);
}

#[test]
fn with_remapping_the_message_is_what_the_entry_says() {
    // Index 0x8005: bits 14:0 in address 19:5, bit 15 in address 2; subhandle 3 is added.
    let address = 0xfee0_0000 | 5 << 5 | 1 << 4 | 1 << 3 | 1 << 2;
    let (ram, chipset, function) = bench(address, 0x0003);
    chipset.remap(TABLE | 0xf);
    // Vector 0x41, fixed, physical, xAPIC destination 7.
    ram.set_word(TABLE + 16 * 0x8008, 7 << 40 | 0x41 << 16 | 1);
    run(&function, 1);
    assert_eq!(chipset.written(), [(0xfee0_7000, 0x41)]);

    // Lowest priority, logical, with redirection hint; extended destination.
    chipset.remap(TABLE | 1 << 11 | 0xf);
    ram.set_word(TABLE + 16 * 0x8008, 0x21 << 32 | 0x99 << 16 | 1 << 5 | 1 << 3 | 1 << 2 | 1);
    run(&function, 2);
    assert_eq!(chipset.written()[1], (0xfee2_100c, 0x199));
    assert_eq!(function.status().iommu_faults, 0);
}

#[test]
fn an_interrupt_that_remapping_refuses_is_listed_and_not_sent() {
    let remappable = 0xfee0_0000 | 9 << 5 | 1 << 4;
    let refused = |address: u64, irta: u64, entry: u64, reason: Reason| {
        let (ram, chipset, function) = bench(address, 0);
        chipset.remap(irta);
        ram.set_word(TABLE + 16 * 9, entry);
        run(&function, 1);
        assert_eq!(chipset.written(), []);
        let faults = function.iommu_faults();
        assert_eq!((faults.len(), faults[0].access), (1, GuestAccess::Interrupt));
        assert_eq!((faults[0].address, faults[0].reason), (address, reason));
        assert_eq!((function.status().interrupts, state(&function)), (1, IDLE));
    };
    refused(remappable, TABLE | 0xf, 0, Reason::RemapNotPresent);
    refused(remappable, TABLE | 2, 1, Reason::RemapIndex);
    refused(remappable, TABLE | 1 << 11 | 0xf, 0x100 << 32 | 1, Reason::RemapDestination);
    let entry = (1 << 40) + 16 * 9;
    refused(remappable, 1 << 40 | 0xf, 1, Reason::TableNotMemory(entry));
    refused(0x1000, TABLE | 0xf, 1, Reason::NotAnInterrupt);
    // A table at the end of what can be addressed: entry 0xff is its last.
    let past_the_end = 0xfee0_0000 | 0x100 << 5 | 1 << 4;
    refused(past_the_end, u64::MAX, 1, Reason::RemapIndex);
    let last = 0xfee0_0000 | 0xff << 5 | 1 << 4;
    refused(last, u64::MAX, 1, Reason::TableNotMemory(u64::MAX - 15));
    // The older format is no index: it passes.
    let (_ram, chipset, function) = bench(0xfee0_1000, 0x31);
    chipset.remap(TABLE | 0xf);
    run(&function, 1);
    assert_eq!(chipset.written(), [(0xfee0_1000, 0x31)]);
}

#[test]
fn a_mask_keeps_the_interrupt_pending_and_its_end_sends_it() {
    let (_ram, chipset, function) = bench(0xfee0_1000, 0x31);
    // The vector's mask.
    function.write_bar(BAR + 0x200c, 4, 1);
    run(&function, 1);
    assert_eq!((chipset.written().len(), pending(&function)), (0, 1));
    // Pending bits are not written by software.
    function.write_bar(BAR + 0x3000, 8, 0);
    assert_eq!(pending(&function), 1);
    function.write_bar(BAR + 0x200c, 4, 0);
    assert_eq!(pending(&function), 0);
    function.step(0).unwrap();
    assert_eq!(chipset.written().len(), 1);
    // The function's mask, in configuration space.
    function.write_config(0x83, 1, 0xc0);
    run(&function, 2);
    assert_eq!((chipset.written().len(), pending(&function)), (1, 1));
    function.write_config(0x83, 1, 0x80);
    function.step(0).unwrap();
    assert_eq!((chipset.written().len(), pending(&function)), (2, 0));
}

#[test]
fn without_msix_an_interrupt_is_counted_and_goes_nowhere() {
    let (_ram, chipset, function) = bench(0xfee0_1000, 0x31);
    function.write_config(0x82, 2, 0);
    run(&function, 1);
    assert_eq!((chipset.written().len(), function.status().interrupts), (0, 1));
    assert_eq!((pending(&function), function.status().iommu_faults), (0, 0));
}

#[test]
fn a_reset_masks_the_vector_and_forgets_what_was_pending() {
    let (_ram, chipset, function) = bench(0xfee0_1000, 0x31);
    function.write_bar(BAR + 0x200c, 4, 1);
    run(&function, 1);
    // Function-level reset: bit 15 of the device control register.
    function.write_config(0x98, 2, 0x8000);
    enable(&function);
    assert_eq!((pending(&function), function.read_bar(BAR + 0x200c, 4)), (0, 1));
    assert_eq!(function.read_bar(BAR + 0x2000, 8), 0);
    assert_eq!(function.read_config(0x82, 2), 0);
    function.write_bar(BAR + 0x200c, 4, 0);
    function.step(0).unwrap();
    assert_eq!(chipset.written().len(), 0);
}

#[test]
fn without_bus_mastering_a_message_stays_pending() {
    let (_ram, chipset, function) = bench(0xfee0_1000, 0x31);
    function.write_config(0x04, 2, 0x2);
    raise(&function);
    function.step(0).unwrap();
    assert_eq!((chipset.written().len(), pending(&function)), (0, 1));
    // Neither the mask nor anything but the one bit lets it go.
    function.write_bar(BAR + 0x200c, 4, 1);
    function.write_bar(BAR + 0x200c, 4, 0);
    function.step(0).unwrap();
    assert_eq!((chipset.written().len(), pending(&function)), (0, 1));
    function.write_config(0x04, 2, 0x6);
    function.step(0).unwrap();
    assert_eq!((chipset.written(), pending(&function)), (vec![(0xfee0_1000, 0x31)], 0));
    assert_eq!(function.status().iommu_faults, 0);
}

/// An interrupt raised by a register: an error, from two commands at a time.
fn raise(function: &GuestFunction) {
    function.write_bar(BAR + 0x80, 2, 0x11);
    function.write_bar(BAR + 0x84, 1, 0x06);
}

/// An interrupt with this data in the vector.
fn raise_with(function: &GuestFunction, data: u64) {
    function.write_bar(BAR + 0x2008, 4, data);
    raise(function);
}

#[test]
fn messages_that_the_chipset_does_not_take_go_on_waiting_in_their_order() {
    let (_ram, chipset, function) = bench(0xfee0_1000, 0);
    for data in 1..4 {
        raise_with(&function, data);
    }
    chipset.0.lock().unwrap().deaf = true;
    assert!(function.step(0).is_err());
    assert!(function.step(0).is_err());
    chipset.0.lock().unwrap().deaf = false;
    function.step(0).unwrap();
    assert_eq!(chipset.written(), [(0xfee0_1000, 1), (0xfee0_1000, 2), (0xfee0_1000, 3)]);
    assert_eq!(function.status().interrupts_dropped, 0);
}

#[test]
fn messages_that_there_is_no_room_for_are_counted() {
    let (_ram, chipset, function) = bench(0xfee0_1000, 0);
    for data in 0..20 {
        raise_with(&function, data);
    }
    // One that waits already is not dropped: it is the same.
    raise_with(&function, 3);
    function.step(0).unwrap();
    let sent: Vec<_> = (0..16).map(|data| (0xfee0_1000, data)).collect();
    assert_eq!(chipset.written(), sent);
    let status = function.status();
    assert_eq!((status.interrupts, status.interrupts_dropped), (21, 4));
    // It counts for as long as the function is there.
    function.reset();
    assert_eq!(function.status().interrupts_dropped, 4);
}

#[test]
fn a_reset_forgets_messages_and_what_was_known_of_remapping() {
    let (_ram, chipset, function) = bench(0xfee0_1000, 0x31);
    run(&function, 1);
    assert_eq!((chipset.written().len(), chipset.asked()), (1, 1));
    raise_with(&function, 0x32);
    function.reset();
    function.step(0).unwrap();
    assert_eq!((chipset.written().len(), chipset.asked()), (1, 1));

    // The machine comes up anew, with remapping and before any start: the message is remapped.
    chipset.remap(TABLE | 0xf);
    enable(&function);
    function.write_bar(BAR + 0x2000, 8, 0xfee0_0000 | 9 << 5 | 1 << 4);
    function.write_bar(BAR + 0x200c, 4, 0);
    function.write_config(0x82, 2, 0x8000);
    function.write_bar(BAR + 0x03, 1, 0x01);
    raise(&function);
    function.step(0).unwrap();
    assert_eq!((chipset.written().len(), chipset.asked()), (1, 2));
    let faults = function.iommu_faults();
    assert_eq!((faults.len(), faults[0].reason), (1, Reason::RemapNotPresent));
}
