//! Copies through the IOMMU, and what it refuses.

use dmaring_driver::{IoatChannel, vfio::Container};
use dmaring_engine::{Engine, Outcome, Rights, StatusKind, Token};

use crate::rig::{Pages, assert_copies, copy, enqueue, function, functions, pair, recover, wait};

#[track_caller]
fn assert_failed(outcome: Outcome, kind: StatusKind) {
    let Outcome::Failed(status) = outcome else { panic!("{outcome:?}") };
    assert_eq!(status.kind, kind, "{status:?}");
}

#[test]
#[ignore = "needs I/OAT functions bound to vfio-pci and devdax nodes: `cargo xtask vm test` runs it"]
fn unaligned_copies_write_their_bytes_and_no_others() {
    let mut channel = IoatChannel::open(function().as_str()).unwrap();
    let source = Pages::new(channel.domain(), 64 << 10, Rights::Read);
    let destination = Pages::new(channel.domain(), 64 << 10, Rights::ReadWrite);
    source.write(0x33);
    let from_all = source.read();
    for (from, to, length) in [(0, 0, 1), (1, 4095, 2), (4093, 7, 8191), (13, 1, 65_000)] {
        destination.write(0xcc);
        let mut expected = destination.read();
        expected[to..to + length].copy_from_slice(&from_all[from..from + length]);
        let range = [source.iova() + from as u64, destination.iova() + to as u64, length as u64];
        assert_eq!(copy(&mut channel, range), Outcome::Done);
        assert!(destination.read() == expected, "{from} to {to}, {length} bytes");
    }
}

#[test]
#[ignore = "needs I/OAT functions bound to vfio-pci and devdax nodes: `cargo xtask vm test` runs it"]
fn what_is_written_after_it_was_mapped_for_reading_is_what_is_copied() {
    let mut channel = IoatChannel::open(function().as_str()).unwrap();
    let source = Pages::new(channel.domain(), 8192, Rights::Read);
    let destination = Pages::new(channel.domain(), 8192, Rights::ReadWrite);
    for seed in [1, 2, 3] {
        source.write(seed);
        let range = [source.iova(), destination.iova(), 8192];
        assert_eq!(copy(&mut channel, range), Outcome::Done);
        assert!(destination.read() == source.read(), "written for the {seed}. time");
    }
}

#[test]
#[ignore = "needs I/OAT functions bound to vfio-pci and devdax nodes: `cargo xtask vm test` runs it"]
fn devdax_is_copied_to_devdax() {
    const BYTES: usize = 4 << 20;
    let mut channel = IoatChannel::open(function().as_str()).unwrap();
    let source = Pages::of_device("/dev/dax0.0", channel.domain(), BYTES, Rights::Read);
    let destination = Pages::of_device("/dev/dax1.0", channel.domain(), BYTES, Rights::ReadWrite);
    assert_eq!((source.iova() ^ source.address()) % (2 << 20), 0);
    source.write(0x99);
    destination.write(0x11);
    let before = destination.read();
    let (from, to, length) = (4095, 2_097_151, 70_001);
    let range = [source.iova() + from as u64, destination.iova() + to as u64, length as u64];
    assert_eq!(copy(&mut channel, range), Outcome::Done);
    let (read, written) = (source.read(), destination.read());
    assert!(written[to..to + length] == read[from..from + length]);
    assert!(written[..to] == before[..to] && written[to + length..] == before[to + length..]);
}

#[test]
#[ignore = "needs I/OAT functions bound to vfio-pci and devdax nodes: `cargo xtask vm test` runs it"]
fn two_functions_of_one_container_reach_one_mapping() {
    let (_container, mut first, mut second) = pair();
    let source = Pages::new(first.domain(), 256 << 10, Rights::Read);
    let to_first = Pages::new(second.domain(), 256 << 10, Rights::ReadWrite);
    let to_second = Pages::new(first.domain(), 256 << 10, Rights::ReadWrite);
    source.write(0x77);
    for part in 0..16 {
        let offset = part * (16 << 10);
        let from = source.iova() + offset;
        enqueue(&mut first, part, [from, to_first.iova() + offset, 16 << 10]);
        enqueue(&mut second, part, [from, to_second.iova() + offset, 16 << 10]);
    }
    first.submit();
    second.submit();
    for channel in [&mut first, &mut second] {
        for part in 0..16 {
            let end = wait(channel);
            assert_eq!((end.token, end.outcome), (Token::new(part), Outcome::Done));
        }
    }
    assert!(to_first.read() == source.read() && to_second.read() == source.read());
}

#[test]
#[ignore = "needs I/OAT functions bound to vfio-pci and devdax nodes: `cargo xtask vm test` runs it"]
fn what_is_unmapped_faults_and_the_channel_comes_back() {
    let mut channel = IoatChannel::open(function().as_str()).unwrap();
    let mut gone = Pages::new(channel.domain(), 4096, Rights::ReadWrite);
    let stays = Pages::new(channel.domain(), 4096, Rights::ReadWrite);
    let at = gone.iova();
    assert_eq!(copy(&mut channel, [at, stays.iova(), 4096]), Outcome::Done);
    gone.unmap();
    stays.write(0x11);
    let before = stays.read();
    assert_failed(copy(&mut channel, [at, stays.iova(), 4096]), StatusKind::SourceAddress);
    recover(&mut channel);
    assert_failed(copy(&mut channel, [stays.iova(), at, 4096]), StatusKind::DestinationAddress);
    recover(&mut channel);
    assert!(stays.read() == before, "memory that is mapped is untouched");
    assert_copies(&mut channel);
}

#[test]
#[ignore = "needs I/OAT functions bound to vfio-pci and devdax nodes: `cargo xtask vm test` runs it"]
fn what_lies_behind_a_mapping_faults() {
    let mut channel = IoatChannel::open(function().as_str()).unwrap();
    let source = Pages::new(channel.domain(), 8192, Rights::ReadWrite);
    let neighbour = Pages::new(channel.domain(), 8192, Rights::ReadWrite);
    neighbour.write(0x22);
    let before = neighbour.read();
    let behind = [source.iova(), source.iova() + 8192, 4096];
    assert_failed(copy(&mut channel, behind), StatusKind::DestinationAddress);
    recover(&mut channel);
    assert!(neighbour.read() == before);
    assert_copies(&mut channel);
}

#[test]
#[ignore = "needs I/OAT functions bound to vfio-pci and devdax nodes: `cargo xtask vm test` runs it"]
fn what_may_only_be_read_is_not_written() {
    let mut channel = IoatChannel::open(function().as_str()).unwrap();
    let source = Pages::new(channel.domain(), 4096, Rights::Read);
    let destination = Pages::new(channel.domain(), 4096, Rights::Read);
    source.write(0x44);
    destination.write(0x55);
    let before = destination.read();
    let range = [source.iova(), destination.iova(), 4096];
    assert_failed(copy(&mut channel, range), StatusKind::DestinationAddress);
    recover(&mut channel);
    assert!(destination.read() == before);
    assert_copies(&mut channel);
}

#[test]
#[ignore = "needs I/OAT functions bound to vfio-pci and devdax nodes: `cargo xtask vm test` runs it"]
fn addresses_above_four_gib_are_taken() {
    let functions = functions();
    let container = Container::new().unwrap();
    let first = container.open_ioat(functions[0].as_str()).unwrap();
    let mut pages = Pages::new(first.domain(), 64 << 20, Rights::ReadWrite);
    let mut last = pages.iova();
    while last < 4 << 30 {
        last = pages.map(Rights::ReadWrite).unwrap();
    }
    // Whatever is mapped from here on lies behind: ring, source and destination.
    let mut second = container.open_ioat(functions[1].as_str()).unwrap();
    let source = Pages::new(second.domain(), 4096, Rights::Read);
    assert!(source.iova() > 4 << 30, "{:#x}", source.iova());
    assert_copies(&mut second);
}
