//! The address space of a container.

use std::fs;

use dmaring_driver::{IoatChannel, vfio::Container};
use dmaring_engine::{Engine, MapError, Outcome, Rights};

use crate::rig::{Pages, assert_copies, copy, function, pair};

/// How many mappings a container takes that is made after this is written.
const ENTRY_LIMIT: &str = "/sys/module/vfio_iommu_type1/parameters/dma_entry_limit";

#[test]
#[ignore = "needs I/OAT functions bound to vfio-pci and devdax nodes: `cargo xtask vm test` runs it"]
fn channels_of_a_container_have_one_address_space() {
    let (_container, first, second) = pair();
    assert!(std::ptr::addr_eq(&raw const *first.domain(), &raw const *second.domain()));
    assert_eq!(first.domain().granule(), 4096);
}

#[test]
#[ignore = "needs I/OAT functions bound to vfio-pci and devdax nodes: `cargo xtask vm test` runs it"]
fn the_limit_of_mappings_is_met_and_named() {
    let usual = fs::read_to_string(ENTRY_LIMIT).unwrap();
    fs::write(ENTRY_LIMIT, "40").unwrap();
    let container = Container::new();
    let channel = container.unwrap().open_ioat(function().as_str());
    fs::write(ENTRY_LIMIT, usual.trim()).unwrap();
    let mut channel = channel.unwrap();
    let mut pages = Pages::new(channel.domain(), 4096, Rights::ReadWrite);
    let mut made = 2;
    let error = loop {
        match pages.map(Rights::ReadWrite) {
            Ok(_) => made += 1,
            Err(error) => break error,
        }
    };
    assert_eq!((error, made), (MapError::Mappings { limit: 40 }, 40), "the ring is one of them");
    pages.unmap();
    pages.unmap();
    assert_copies(&mut channel);
}

#[test]
#[ignore = "needs I/OAT functions bound to vfio-pci and devdax nodes: `cargo xtask vm test` runs it"]
fn long_mappings_are_aligned_as_their_memory_is() {
    let mut channel = IoatChannel::open(function().as_str()).unwrap();
    let pages = Pages::new(channel.domain(), 6 << 20, Rights::ReadWrite);
    assert_eq!((pages.iova() ^ pages.address()) % (2 << 20), 0);
    pages.write(0x66);
    let half = 3 << 20;
    for offset in (0..half).step_by(512 << 10) {
        let range = [pages.iova() + offset, pages.iova() + half + offset, 512 << 10];
        assert_eq!(copy(&mut channel, range), Outcome::Done);
    }
    let bytes = pages.read();
    assert!(bytes[..3 << 20] == bytes[3 << 20..]);
}

#[test]
#[ignore = "needs I/OAT functions bound to vfio-pci and devdax nodes: `cargo xtask vm test` runs it"]
fn addresses_are_never_zero_and_below_two_to_the_39() {
    let channel = IoatChannel::open(function().as_str()).unwrap();
    let mut pages = Pages::new(channel.domain(), 4096, Rights::ReadWrite);
    for _ in 0..100 {
        let iova = pages.map(Rights::Read).unwrap();
        assert!(iova != 0 && iova < 1 << 39 && iova.is_multiple_of(4096), "{iova:#x}");
    }
}
