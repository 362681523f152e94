//! Whatever QEMU or the guest says: an error or an answer, and never a panic, a hang or memory out of bounds.

use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
    thread,
};

use dmaring_emulated::{
    guest::{GuestAccess, GuestFunction, MemoryError, MemoryRegion},
    proxy::{self, Header},
};
use proptest::prelude::*;

use crate::{rig::*, tables::*};

fn plain(ram: &Ram) -> GuestFunction {
    function(ram, &FakeChipset::new())
}

fn region(address: u64, size: u64, offset: u64, bytes: u64) -> MemoryRegion {
    MemoryRegion { address, size, offset, file: Ram::new(bytes).file() }
}

#[test]
fn memory_that_cannot_be_is_refused_and_what_was_there_stays() {
    let ram = Ram::new(1 << 20);
    let function = plain(&ram);
    let refused = |regions: Vec<MemoryRegion>, message: &str| {
        let error = function.set_memory(regions).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    };
    refused(vec![region(0, 0, 0, 4096)], "whole pages of 4096 bytes");
    refused(vec![region(8, 4096, 0, 4096)], "whole pages");
    refused(vec![region(0, 4097, 0, 8192)], "whole pages");
    refused(vec![region(0, 4096, 512, 8192)], "whole pages");
    refused(vec![region(u64::MAX - 4095, 4096, 0, 4096)], "ends past the last address");
    refused(vec![region(0, 4096, u64::MAX - 4095, 4096)], "ends past the last address");
    refused(vec![region(0, 1 << 63, 0, 4096)], "ends past the last address");
    refused(vec![region(0, 8192, 0, 4096)], "has 4096 bytes where 8192 are needed");
    refused(vec![region(0, 4096, 4096, 4096)], "has 4096 bytes where 8192 are needed");
    let overlapping = vec![region(0x2000, 4096, 0, 4096), region(0x1000, 0x2000, 0, 8192)];
    refused(overlapping, "at 0x1000 and at 0x2000 overlaps");
    let many = (0..9).map(|at| region(at << 12, 4096, 0, 4096)).collect();
    refused(many, "9 regions of guest memory: at most 8");
    let zero = std::fs::File::open("/dev/zero").unwrap();
    let device = MemoryRegion { address: 0, size: 4096, offset: 0, file: zero.into() };
    refused(vec![device], "a regular file");
    let pipe = MemoryRegion { file: UnixStream::pair().unwrap().0.into(), ..region(0, 4096, 0, 1) };
    refused(vec![pipe], "a regular file");
    let huge = region(0, 1 << 50, 0, 1 << 50 >> 8 << 8);
    let error = function.set_memory(vec![huge]).unwrap_err();
    assert!(matches!(error, MemoryError::Map { .. } | MemoryError::Short { .. }), "{error}");

    ram.descriptor(0x1000, [8, 0x08, 0x1000, 0x2000, 0]);
    start(&function, 0x1000, 0x3000, 1);
    function.step(1).unwrap();
    assert_eq!((state(&function), ram.word(0x2000)), (IDLE, 0x08 << 32 | 8));
}

/// A file whose length cannot be had is as short as they come.
fn file(bytes: u64) -> std::os::fd::OwnedFd {
    Ram::new(bytes).file()
}

/// Any register; half of them long tables at the end of what can be addressed.
fn irta() -> impl Strategy<Value = u64> {
    prop_oneof![any::<u64>(), (0u64..64).prop_map(|page| u64::MAX - (page << 12))]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_message_is_answered_or_refused(
        messages in prop::collection::vec(
            (
                prop_oneof![0i32..8, any::<i32>()],
                prop::collection::vec(any::<u8>(), 0..200),
                0usize..9,
            ),
            1..20,
        ),
    ) {
        let ram = Ram::new(1 << 20);
        let function = plain(&ram);
        for (command, mut payload, files) in messages {
            // Payloads of the right size come often enough to be looked at.
            let sizes = [192, 0, 12, 12, 24, 24, 0, 0];
            if let Some(size) = usize::try_from(command).ok().and_then(|at| sizes.get(at)) {
                payload.resize(*size, 1);
                if (2..=5).contains(&command) {
                    let width = if command < 4 { 8 } else { 16 };
                    payload[width..width + 4].copy_from_slice(&[4, 0, 0, 0]);
                }
            }
            let mut header = [0; 16];
            header[..4].copy_from_slice(&command.to_le_bytes());
            header[8..].copy_from_slice(&(payload.len() as u64).to_le_bytes());
            if let Ok(header) = Header::decode(&header) {
                prop_assert!(header.payload_bytes() <= 192);
                let files = (0..files).map(|_| file(1 << 16)).collect();
                let answer = proxy::dispatch(&function, header, &payload, files);
                let wants = (2..=5).contains(&command) || command == 7;
                if let Ok(answer) = answer {
                    prop_assert_eq!(answer.is_some(), wants);
                }
            }
        }
        prop_assert!(function.step(10).unwrap() <= 10);
    }

    #[test]
    fn any_bytes_end_a_connection_that_ends(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let function = plain(&Ram::new(4096));
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        thread::scope(|scope| {
            let served = scope.spawn(move || proxy::serve(&theirs, &function));
            // The other end may have gone already.
            let _ = ours.write_all(&bytes);
            let _ = ours.shutdown(std::net::Shutdown::Write);
            let _ = ours.read_to_end(&mut Vec::new());
            let _ = served.join().unwrap();
        });
    }

    #[test]
    fn any_regions_are_mapped_or_refused(
        regions in prop::collection::vec(
            (0u64..20, prop_oneof![0u64..20, Just(u64::MAX >> 12)], 0u64..20, 0u64..40, 0u64..2),
            0..9,
        ),
    ) {
        let function = plain(&Ram::new(4096));
        let regions = regions.into_iter().map(|(address, size, offset, bytes, odd)| {
            region(address << 12, (size << 12) + odd, offset << 12, bytes << 12)
        });
        let _ = function.set_memory(regions.collect());
        start(&function, 0x1000, 0x2000, 2);
        prop_assert!(function.step(4).unwrap() <= 2);
    }

    #[test]
    fn any_tables_translate_or_fault(
        words in prop::collection::vec((0u64..8, 0u64..512, any::<u64>(), 0u64..16), 1..40),
        address in any::<u64>(),
        irta in irta(),
        message in any::<u32>(),
    ) {
        let (ram, chipset) = (Ram::new(2 << 20), FakeChipset::new());
        chipset.translate(ROOT);
        chipset.remap(irta);
        let function = function(&ram, &chipset);
        let mut tables = Tables::new(&ram);
        let top = (tables.domain(0x28, 4), 4);
        tables.map(top, 0x1000, 0x18_0000, 1);
        tables.map(top, 0x2000, 0x18_1000, 1);
        for (page, index, word, low) in words {
            // Half of the words lead to another table.
            let word = if low < 8 { word } else { (ROOT + (word % 16) * 0x1000) | low };
            ram.set_word(ROOT + page * 0x1000 + index * 8, word);
        }
        ram.descriptor(0x18_0000, [64, 0x09, address, 0x2000, 0x1040]);
        ram.descriptor(0x18_0040, [64, 0x09, 0x2000, address, 0x1000]);
        function.write_bar(BAR + 0x2000, 4, (0xfee0_0000 | message & 0xf_ffff).into());
        function.write_bar(BAR + 0x200c, 4, 0);
        function.write_config(0x82, 2, 0x8000);
        function.write_bar(BAR + 0x03, 1, 1);
        start(&function, 0x1000, 0x1800, 0);
        // Interrupts armed, of errors too.
        function.write_bar(BAR + 0x80, 2, 0x1d);
        function.write_bar(BAR + 0x86, 2, 2);
        prop_assert!(function.step(4).unwrap() <= 2);
        prop_assert_eq!(function.status().interrupts, 1);
        // It is sent, or refused.
        let refused = function.iommu_faults().into_iter();
        let refused = refused.filter(|fault| fault.access == GuestAccess::Interrupt).count();
        prop_assert_eq!(chipset.written().len() + refused, 1);
        prop_assert!([IDLE, HALTED].contains(&state(&function)));
    }
}
