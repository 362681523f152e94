//! Addresses through VT-d: pages of every size, rights at every level, and what is refused.

use std::sync::Arc;

use dmaring_emulated::guest::{GuestAccess, GuestFaultReason as Reason, GuestFunction};

use crate::{rig::*, tables::*};

/// Guest-physical places of the data, far from tables.
const RING: u64 = 0x20_0000;
const FROM: u64 = 0x40_0000;
const TO: u64 = 0x60_0000;

struct Bench {
    ram: Ram,
    chipset: Arc<FakeChipset>,
    function: GuestFunction,
}

impl Bench {
    fn new() -> Self {
        let ram = Ram::new(16 << 20);
        let chipset = FakeChipset::new();
        let function = function(&ram, &chipset);
        Self { ram, chipset, function }
    }

    /// One copy of `length` bytes, its addresses being these; the state it ends in.
    fn copy(&self, ring: u64, completion: u64, from: u64, to: u64, length: u64) -> u64 {
        self.ram.descriptor(RING, [length, 0x08, from, to, 0]);
        self.ram.set_word(RING + 0x100, u64::MAX);
        start(&self.function, ring, completion, 1);
        self.function.step(1).unwrap();
        state(&self.function)
    }

    fn fault(&self) -> (u64, GuestAccess, Reason) {
        let faults = self.function.iommu_faults();
        assert_eq!(faults.len() as u64, self.function.status().iommu_faults);
        let fault = faults.last().unwrap();
        assert_eq!(fault.source, slot("05.0"));
        (fault.address, fault.access, fault.reason)
    }
}

#[test]
fn with_translation_off_addresses_are_the_guests_own() {
    let bench = Bench::new();
    let data = pattern(10_000);
    bench.ram.write(FROM + 3, &data);
    assert_eq!(bench.copy(RING, RING + 0x100, FROM + 3, TO + 5, 10_000), IDLE);
    assert_eq!(bench.ram.read(TO + 5, 10_000), data);
    assert_eq!(bench.ram.read(TO, 5), [0; 5]);
    assert_eq!(bench.ram.read(TO + 10_005, 16), [0; 16]);
    assert_eq!(bench.ram.word(RING + 0x100), RING | IDLE);
    assert_eq!(bench.function.status().iommu_faults, 0);
}

#[test]
fn a_context_that_passes_through_leaves_addresses_alone() {
    let bench = Bench::new();
    bench.chipset.translate(ROOT);
    Tables::new(&bench.ram).context(0x28, 2 << 2 | 1, 2);
    bench.ram.write(FROM, &pattern(64));
    assert_eq!(bench.copy(RING, RING + 0x100, FROM, TO, 64), IDLE);
    assert_eq!(bench.ram.read(TO, 64), pattern(64));
}

#[test]
fn pages_of_every_size_are_walked_at_three_four_and_five_levels() {
    for levels in [3, 4, 5] {
        let bench = Bench::new();
        bench.chipset.translate(ROOT);
        let mut tables = Tables::new(&bench.ram);
        let top = (tables.domain(0x28, levels), levels);
        // Where the tables have room above: a high address for each level.
        let high = 1u64 << (12 + 9 * levels - 1);
        tables.map(top, high + 0x1000, RING, 1);
        // 2 MiB, and the two halves of a copy in pages of 4 KiB that are not neighbours.
        tables.map(top, high + 0x60_0000, FROM, 2);
        tables.map(top, high + 0x80_0000, TO + 0x5000, 1);
        tables.map(top, high + 0x80_1000, TO + 0x2000, 1);
        // 1 GiB from 0 on: RAM is at its beginning.
        tables.map(top, high + (1 << 30), 0, 3);
        let data = pattern(0x1800);
        bench.ram.write(FROM + 0x1f_f000, &data[..0x1000]);
        bench.ram.write(FROM + 0x1f_e800, &data);

        let (from, to) = (high + 0x7f_e800, high + 0x80_0400);
        let completion = high + (1 << 30) + RING + 0x100;
        assert_eq!(bench.copy(high + 0x1000, completion, from, to, 0x1800), IDLE, "{levels}");
        assert_eq!(bench.ram.read(TO + 0x5400, 0xc00), data[..0xc00]);
        assert_eq!(bench.ram.read(TO + 0x2000, 0xc00), data[0xc00..]);
        assert_eq!(bench.ram.word(RING + 0x100), (high + 0x1000) | IDLE);

        // The same through the page of 1 GiB.
        let (from, to) = (high + (1 << 30) + FROM + 0x1f_e800, high + (1 << 30) + TO);
        assert_eq!(bench.copy(high + 0x1000, completion, from, to, 0x1800), IDLE);
        assert_eq!(bench.ram.read(TO, 0x1800), data);
        assert_eq!(bench.function.status().iommu_faults, 0);
    }
}

#[test]
fn an_entry_that_is_absent_or_lacks_a_right_at_any_level_halts_the_channel() {
    type Case = (u64, fn(u8) -> Reason, GuestAccess);
    let cases: [Case; 3] = [
        (READ | WRITE, Reason::NotPresent, GuestAccess::Read),
        (READ, Reason::NotReadable, GuestAccess::Read),
        (WRITE, Reason::NotWritable, GuestAccess::Write),
    ];
    for (taken, reason, access) in cases {
        for level in 1..=4u8 {
            let bench = Bench::new();
            bench.chipset.translate(ROOT);
            let mut tables = Tables::new(&bench.ram);
            let top = (tables.domain(0x28, 4), 4);
            // The ring's own way shares no entry with the data's.
            tables.map(top, 0x1000, RING, 1);
            let iova = 0x7f12_3456_7000;
            let entries = tables.map(top, iova, FROM, 1);
            let entry = entries[4 - usize::from(level)];
            let whole = bench.ram.word(entry);
            bench.ram.set_word(entry, whole & !taken);

            let (from, to) =
                if access == GuestAccess::Read { (iova, 0x1800) } else { (0x1800, iova) };
            assert_eq!(bench.copy(0x1000, 0x1100, from, to, 64), HALTED);
            assert_eq!(chanerr(&bench.function), if from == iova { 1 } else { 2 });
            assert_eq!(bench.fault(), (iova, access, reason(level)));
            // The word after an error: no descriptor was completed.
            assert_eq!(bench.ram.word(RING + 0x100), HALTED);
            assert_eq!(bench.function.status().iommu_faults, 1);

            // Mapped, after the reset that drivers do, it works.
            bench.ram.set_word(entry, whole);
            recover(&bench.function);
            assert_eq!(bench.copy(0x1000, 0x1100, from, to, 64), IDLE);
            assert_eq!(bench.function.status().iommu_faults, 1);
        }
    }
}

#[test]
fn what_is_wrong_above_the_page_tables_is_refused_by_its_name() {
    let refused = |reason, prepare: &dyn Fn(&Bench)| {
        let bench = Bench::new();
        bench.chipset.translate(ROOT);
        let mut tables = Tables::new(&bench.ram);
        let top = (tables.domain(0x28, 3), 3);
        tables.map(top, 0x1000, RING, 1);
        prepare(&bench);
        assert_eq!(bench.copy(0x1000, 0x1100, 0x1000, 0x1800, 8), HALTED, "{reason:?}");
        assert_eq!(chanerr(&bench.function) & 0x10, 0x10, "the chain's address");
        // The completion word is refused like the descriptor.
        let faults = bench.function.iommu_faults();
        assert_eq!((faults[0].address, faults[0].access), (0x1000, GuestAccess::Read));
        assert_eq!(faults[0].reason, reason);
    };
    let context = CONTEXT + 16 * 0x28;
    refused(Reason::RootMode, &|bench| bench.chipset.translate(ROOT | 1 << 10));
    refused(Reason::RootNotPresent, &|bench| bench.ram.set_word(ROOT, CONTEXT));
    refused(Reason::TableNotMemory(1 << 40), &|bench| bench.chipset.translate(1 << 40));
    let beyond = (1 << 40) + 16 * 0x28;
    refused(Reason::TableNotMemory(beyond), &|bench| bench.ram.set_word(ROOT, 1 << 40 | 1));
    refused(Reason::ContextNotPresent, &|bench| {
        bench.ram.set_word(context, bench.ram.word(context) & !1);
    });
    refused(Reason::ContextType, &|bench| {
        bench.ram.set_word(context, bench.ram.word(context) | 3 << 2);
    });
    for width in [0, 4, 7] {
        refused(Reason::AddressWidth, &|bench| bench.ram.set_word(context + 8, width));
    }
}

#[test]
fn addresses_past_the_width_or_past_memory_are_refused() {
    let bench = Bench::new();
    bench.chipset.translate(ROOT);
    let mut tables = Tables::new(&bench.ram);
    let top = (tables.domain(0x28, 3), 3);
    tables.map(top, 0x1000, RING, 1);
    tables.map(top, 0x4000, 1 << 40, 1);
    assert_eq!(bench.copy(0x1000, 0x1100, 1 << 39, 0x1800, 8), HALTED);
    assert_eq!(bench.fault(), (1 << 39, GuestAccess::Read, Reason::BeyondWidth));
    recover(&bench.function);
    assert_eq!(bench.copy(0x1000, 0x1100, 0x1800, 0x4010, 8), HALTED);
    assert_eq!(bench.fault(), (0x4010, GuestAccess::Write, Reason::NotMemory));
}

#[test]
fn each_function_has_the_tables_of_its_own_slot() {
    let ram = Ram::new(16 << 20);
    let chipset = FakeChipset::new();
    chipset.translate(ROOT);
    let (first, second) =
        (function_at("05.0", &ram, &chipset), function_at("05.1", &ram, &chipset));
    let mut tables = Tables::new(&ram);
    for (devfn, ring) in [(0x28, RING), (0x29, RING + 0x1000)] {
        let top = (tables.domain(devfn, 4), 4);
        tables.map(top, 0x1000, ring, 1);
        ram.descriptor(ring, [8, 0x08, 0x1800, 0x1900, 0]);
        ram.set_word(ring + 0x800, ring);
    }
    for (function, ring) in [(&second, RING + 0x1000), (&first, RING)] {
        start(function, 0x1000, 0x1100, 1);
        assert_eq!(function.step(1).unwrap(), 1);
        assert_eq!(ram.word(ring + 0x900), ring);
    }
}

#[test]
fn pages_before_one_that_faults_have_been_moved_and_none_after() {
    let bench = Bench::new();
    bench.chipset.translate(ROOT);
    let mut tables = Tables::new(&bench.ram);
    let top = (tables.domain(0x28, 4), 4);
    tables.map(top, 0x1000, RING, 1);
    tables.map(top, 0x40_0000, FROM, 2);
    tables.map(top, 0x80_0000, TO, 1);
    tables.map(top, 0x80_2000, TO + 0x2000, 1);
    bench.ram.write(FROM + 0x10_0000, &pattern(0x3000));
    assert_eq!(bench.copy(0x1000, 0x1100, 0x50_0000, 0x80_0000, 0x3000), HALTED);
    assert_eq!(bench.fault(), (0x80_1000, GuestAccess::Write, Reason::NotPresent(1)));
    assert_eq!(bench.ram.read(TO, 0x1000), pattern(0x1000));
    assert_eq!(bench.ram.read(TO + 0x1000, 0x3000), vec![0; 0x3000]);
}

#[test]
fn without_bus_mastering_nothing_is_reached_and_nothing_is_asked_of_the_iommu() {
    let bench = Bench::new();
    bench.function.write_config(0x04, 2, 0x2);
    assert_eq!(bench.copy(RING, RING + 0x100, FROM, TO, 8), HALTED);
    assert_eq!(bench.function.status().iommu_faults, 0);
    assert_eq!(bench.ram.word(RING + 0x100), u64::MAX);
}
