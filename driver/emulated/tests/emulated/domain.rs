//! The software IOMMU: addresses, rights, faults, and pages moved before a fault.

use std::sync::Arc;

use dmaring_emulated::{BusAccess, FaultReason, Iommu, Misuse};
use dmaring_engine::{DmaMap, Iova, Rights};
use dmaring_ioat_spec::RegisterIo;

use crate::rig::*;

#[test]
fn a_copy_that_faults_has_moved_the_pages_before() {
    let mut rig = Rig::started(builder());
    // Two pages mapped, the third not; the destination begins in the middle of a page.
    let source = Pages::part(&rig.domain, 3, 0, 2, Rights::Read);
    source.set_bytes(|at| at as u8 | 1);
    let (from, to) = (source.iova(100), rig.destination.iova(2000));
    rig.push(3 * 4096 - 100, WRITE, from, to);
    rig.go(1);
    assert_eq!((rig.errors(), rig.state()), (1, HALTED));
    let (bytes, moved) = (rig.destination.bytes(), 2 * 4096 - 100);
    assert_eq!(bytes[2000..2000 + moved], source.bytes()[100..100 + moved]);
    assert!(bytes[2000 + moved..].iter().all(|byte| *byte == 0xee));

    assert_eq!(rig.domain.faults(), 1);
    let fault = rig.domain.fault_list()[0];
    assert_eq!(fault.iova.get(), source.iova(2 * 4096));
    assert_eq!((fault.access, fault.reason), (BusAccess::Read, FaultReason::Unmapped));
    assert_eq!(fault.channel, 0);
}

#[test]
fn a_fill_that_faults_has_written_the_pages_before_and_read_only_memory_stays() {
    let mut rig = Rig::started(builder());
    let to = Pages::part(&rig.domain, 3, 0, 1, Rights::ReadWrite);
    rig.push(8192, FILL | WRITE, u64::MAX, to.iova(8));
    rig.go(1);
    assert_eq!(rig.errors(), 2);
    let bytes = to.bytes();
    assert!(bytes[8..4096].iter().all(|byte| *byte == 0xff));
    assert!(bytes[..8].iter().chain(&bytes[4096..]).all(|byte| *byte == 0));

    let mut rig = Rig::started(builder());
    let before = rig.source.bytes();
    let source = rig.source.iova(0);
    rig.push(64, FILL | WRITE, u64::MAX, source);
    rig.go(1);
    assert_eq!((rig.errors(), rig.source.bytes()), (2, before));
    let fault = rig.domain.fault_list()[0];
    assert_eq!((fault.access, fault.reason), (BusAccess::Write, FaultReason::ReadOnly));
}

#[test]
fn memory_is_out_of_reach_after_unmap_and_its_address_is_not_given_again() {
    let mut rig = Rig::started(builder());
    let mut gone = Pages::new(&rig.domain, 1, Rights::ReadWrite);
    let (iova, source) = (gone.iova(0), rig.source.iova(0));
    assert!(rig.domain.is_mapped(Iova::new(iova), 4096, Rights::ReadWrite));
    assert!(!rig.domain.is_mapped(Iova::new(iova), 4097, Rights::Read));
    assert!(!rig.domain.is_mapped(Iova::new(source), 1, Rights::ReadWrite));
    assert!(!rig.domain.is_mapped(Iova::new(u64::MAX), 1, Rights::Read));
    gone.unmap();
    let other = Pages::new(&rig.domain, 1, Rights::ReadWrite);
    assert_ne!(other.iova(0), iova);
    rig.push(4096, WRITE, source, iova);
    rig.go(1);
    assert_eq!((rig.errors(), rig.domain.faults()), (2, 1));
    assert!(gone.bytes().iter().all(|byte| *byte == 0));
    assert!(other.bytes().iter().all(|byte| *byte == 0));
}

#[test]
fn addresses_are_not_the_hosts_are_low_enough_and_have_gaps() {
    let domain = Arc::new(Iommu::with_seed(9));
    let mut pages: Vec<Pages> =
        (1..20).map(|count| Pages::new(&domain, count, Rights::ReadWrite)).collect();
    assert_eq!((domain.mappings(), domain.granule()), (19, 4096));
    pages.sort_by_key(|pages| pages.iova(0));
    for pair in pages.windows(2) {
        let end = pair[0].iova(pair[0].bytes().len());
        assert!(end + 4096 <= pair[1].iova(0));
        assert!(pair[0].iova(0) >= 0x10_0000_0000 && end < 1 << 39);
        assert!(!domain.is_mapped(Iova::new(end), 1, Rights::Read));
    }
    drop(pages);
    assert_eq!((domain.mappings(), domain.misuse()), (0, vec![]));
}

#[test]
fn misuse_is_refused_and_recorded() {
    let domain = Arc::new(Iommu::default());
    let pages = Pages::new(&domain, 2, Rights::Read);
    let iova = pages.iova(0);
    assert!(!unmap_anything(&domain, iova, 4096));
    assert!(!unmap_anything(&domain, iova + 4096, 8192));
    assert!(!map_anything(&domain, 0x1234, 4096));
    assert!(!map_anything(&domain, 0x1000, 0));
    assert_eq!(domain.mappings(), 1);
    assert_eq!(
        domain.misuse(),
        [
            Misuse::UnmapUnknown { iova: Iova::new(iova), length: 4096 },
            Misuse::UnmapUnknown { iova: Iova::new(iova + 4096), length: 8192 },
            Misuse::MapMisaligned { address: 0x1234, length: 4096 },
            Misuse::MapMisaligned { address: 0x1000, length: 0 },
        ]
    );
}

#[test]
fn without_bus_mastering_nothing_is_reached_and_the_iommu_sees_nothing() {
    let mut rig = Rig::started(builder().bus_master(false));
    rig.push_copy(64);
    rig.go(1);
    assert_eq!((rig.errors(), rig.status(), rig.completion()), (1 << 12 | 1 << 4, HALTED, 0));
    assert_eq!(rig.domain.faults(), 0);
    assert!(rig.destination.bytes().iter().all(|byte| *byte == 0xee));

    let mut rig = Rig::new(builder().bus_master(false));
    rig.device.function(0).unwrap().set_bus_master(true);
    rig.start();
    rig.push_copy(64);
    rig.go(1);
    assert_eq!((rig.errors(), rig.state()), (0, IDLE));
}

#[test]
fn devices_share_a_domain() {
    let domain = Arc::new(Iommu::with_seed(4));
    let [mut one, mut two] = [(); 2].map(|()| Rig::started(builder().iommu(Arc::clone(&domain))));
    let shared = Pages::new(&domain, 1, Rights::ReadWrite);
    one.push(64, WRITE, one.source.iova(0), shared.iova(0));
    one.go(1);
    two.push(64, WRITE, shared.iova(0), two.destination.iova(0));
    two.go(1);
    assert_eq!(two.destination.bytes()[..64], one.source.bytes()[..64]);
    assert_eq!((one.bar.read8(0), two.errors()), (1, 0));
}
