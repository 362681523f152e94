//! The main job through a real kernel: I/OAT functions bound to vfio-pci, an IOMMU, device-dax nodes.
//!
//! `DMARING_TEST_FUNCTIONS` names the functions and `DMARING_TEST_DAX` two nodes, each list separated by
//! commas. The nodes' contents are lost.
#![cfg(all(not(loom), not(miri)))]

#[path = "../common/mod.rs"]
mod common;
mod durable;
mod ends;
mod gathered;

use std::{
    env, fs,
    time::{Duration, Instant},
};

use common::{LONG, bytes, pattern, region_of};
use dmaring::{ErrorKind, Region, Runtime};
use dmaring_cpu::CpuEngine;
use dmaring_driver::{pci::Address, vfio::Container};
use futures::{StreamExt, executor::block_on, stream::FuturesUnordered};

/// The longest transfer of the functions: XFERCAP.
const TRANSFER_CAP: u64 = 1 << 20;

fn list(variable: &str) -> Vec<String> {
    let list = env::var(variable).unwrap_or_else(|_| panic!("{variable} is not set"));
    list.split(',').map(str::to_owned).collect()
}

fn functions() -> Vec<Address> {
    list("DMARING_TEST_FUNCTIONS").iter().map(|text| text.parse().unwrap()).collect()
}

/// A runtime on these functions, in one container.
fn runtime(functions: &[Address]) -> Runtime {
    let container = Container::new().unwrap();
    let builder = functions.iter().fold(Runtime::builder(), |builder, address| {
        builder.engine(container.open_ioat(*address).unwrap())
    });
    builder.build().unwrap()
}

fn nodes(runtime: &Runtime) -> [Region; 2] {
    let nodes = list("DMARING_TEST_DAX");
    [&nodes[0], &nodes[1]].map(|node| runtime.open_dax(node).unwrap())
}

/// Lengths around every power of two up to beyond XFERCAP, and all short ones.
fn lengths() -> impl Iterator<Item = u64> {
    let around = (7..=20).flat_map(|log2| (1 << log2) - 1..=(1 << log2) + 1);
    let beyond = [TRANSFER_CAP + 4097, 2 * TRANSFER_CAP + 1, 5 * TRANSFER_CAP - 3];
    (1..=130).chain(around).chain(beyond)
}

#[test]
#[ignore = "needs I/OAT functions bound to vfio-pci and devdax nodes: `cargo xtask vm test` runs it"]
fn every_length_at_odd_offsets_from_node_to_node() {
    for function in functions() {
        let runtime = runtime(&[function]);
        let [src, dst] = nodes(&runtime);
        let room = 6 * TRANSFER_CAP as usize;
        let given = pattern(7, room);
        src.write_at(0, &given).unwrap();
        for (round, length) in lengths().enumerate() {
            let (from, to) = (round as u64 * 37 % 4096, round as u64 * 61 % 4096 + 64);
            dst.write_at(to - 64, &[0xa5; 64]).unwrap();
            dst.write_at(to + length, &[0xa5; 64]).unwrap();
            assert_eq!(block_on(src.copy_to(from, &dst, to, length)).unwrap(), length);
            let expected = &given[from as usize..][..length as usize];
            assert!(bytes(&dst, to, length as usize) == expected, "{length} bytes to {to}");
            let around = [bytes(&dst, to - 64, 64), bytes(&dst, to + length, 64)];
            assert!(around == [[0xa5; 64], [0xa5; 64]], "around {length} bytes at {to}");
        }
        block_on(runtime.shutdown(LONG)).unwrap();
    }
}

#[test]
#[ignore = "needs I/OAT functions bound to vfio-pci and devdax nodes: `cargo xtask vm test` runs it"]
fn copies_within_one_node_and_fills() {
    for function in functions() {
        let runtime = runtime(&[function]);
        let [node, _] = nodes(&runtime);
        let given = pattern(8, 100_000);
        node.write_at(5, &given).unwrap();
        assert_eq!(block_on(node.copy(5, 3 << 20, 100_000)).unwrap(), 100_000);
        assert!(bytes(&node, 3 << 20, 100_000) == given);
        let overlap = block_on(node.copy(0, 10, 20)).unwrap_err();
        assert_eq!(overlap.kind(), ErrorKind::Overlap);
        block_on(node.fill((3 << 20) + 3, 70_001, 0x0807_0605_0403_0201)).unwrap();
        let filled = bytes(&node, 3 << 20, 100_000);
        assert!(filled[..3] == given[..3] && filled[70_004..] == given[70_004..]);
        assert!((3..70_004).all(|at| filled[at] as usize == (at - 3) % 8 + 1));
    }
}

/// What a node does not have is refused with what would do, and the node is as good as before.
#[test]
#[ignore = "needs I/OAT functions bound to vfio-pci and devdax nodes: `cargo xtask vm test` runs it"]
fn ranges_that_a_node_does_not_have_are_refused() {
    let runtime = runtime(&functions()[..1]);
    let node = &list("DMARING_TEST_DAX")[0];
    let name = node.trim_start_matches("/dev/");
    let device = dmaring::dax::devices().unwrap().into_iter().find(|device| device.name == name);
    let device = device.expect("sysfs shows the node");
    assert_eq!(device.driver.as_deref(), Some("device_dax"));
    let (size, align) = (device.size, device.align);
    for (offset, length, kind, remedy) in [
        (0, align + 4096, ErrorKind::Misaligned, format!("use {}", 2 * align)),
        (4096, align, ErrorKind::Misaligned, format!("use {align}")),
        (0, size + align, ErrorKind::OutOfBounds, format!("{size} bytes")),
        (size, align, ErrorKind::OutOfBounds, format!("{size} bytes")),
    ] {
        let error = runtime.open_dax_range(node, offset, length).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(&remedy), "{error}");
    }
    let part = runtime.open_dax_range(node, size - align, align).unwrap();
    assert_eq!(block_on(part.fill(0, align, 7)).unwrap(), align);
    let error = block_on(part.fill(1, align, 7)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OutOfBounds);
}

/// Operations of two functions at once: both work, and every byte is right.
#[test]
#[ignore = "needs I/OAT functions bound to vfio-pci and devdax nodes: `cargo xtask vm test` runs it"]
fn two_functions_share_the_work() {
    let functions = functions();
    assert!(functions.len() >= 2, "two functions are needed");
    let runtime = runtime(&functions);
    let [src, dst] = nodes(&runtime);
    let pieces = 400u64;
    let place = |n: u64| n * 40_009;
    let length = |n: u64| n * 997 % 40_000 + 1;
    let given = pattern(9, (place(pieces)) as usize);
    src.write_at(0, &given).unwrap();
    let mut copies: FuturesUnordered<_> = (0..pieces)
        .map(|n| src.copy_to(place(n) + 3, &dst, place(n), length(n)).submit())
        .collect();
    block_on(async {
        while let Some(outcome) = copies.next().await {
            outcome.unwrap();
        }
    });
    for n in 0..pieces {
        let expected = &given[place(n) as usize + 3..][..length(n) as usize];
        assert!(bytes(&dst, place(n), length(n) as usize) == expected, "piece {n}");
    }
    let stats = runtime.stats();
    assert_eq!((stats.failed, stats.violations), (0, 0));
    for engine in &stats.engines {
        assert!(engine.transfers > 0, "{engine:?} did nothing");
    }
    block_on(runtime.shutdown(LONG)).unwrap();
}

/// Memory of the runtime's own and the sixteen bits of DMACOUNT.
#[test]
#[ignore = "needs I/OAT functions bound to vfio-pci and devdax nodes: `cargo xtask vm test` runs it"]
fn seventy_thousand_transfers_cross_the_wrap() {
    let runtime = runtime(&functions()[..1]);
    let region = region_of(&runtime, &[0; 64 * 64]);
    let rounds = 1100u64;
    for round in 0..rounds {
        let mut batch = runtime.batch();
        (0..64).for_each(|place| batch.push(region.fill(place * 64, 64, round * 64 + place)));
        assert_eq!(block_on(batch.submit().all()).unwrap(), 64 * 64);
    }
    for place in 0..64 {
        assert_eq!(bytes(&region, place * 64, 8), ((rounds - 1) * 64 + place).to_le_bytes());
    }
    assert!(runtime.stats().engines[0].transfers > 1 << 16);
}

/// What is dropped while copies are in flight: futures, regions, the runtime. Nothing stays behind.
#[test]
#[ignore = "needs I/OAT functions bound to vfio-pci and devdax nodes: `cargo xtask vm test` runs it"]
fn everything_may_be_dropped_in_flight_and_opened_again() {
    let functions = functions();
    for round in 0..8 {
        let runtime = runtime(&functions);
        let [src, dst] = nodes(&runtime);
        let contents = pattern(round, 1 << 16);
        src.write_at(0, &contents).unwrap();
        let copies: Vec<_> =
            (0..40u64).map(|n| src.copy_to(0, &dst, n << 17, 1 << 16).submit()).collect();
        let kept = copies.into_iter().skip(20).collect::<Vec<_>>();
        if round % 2 == 0 {
            drop((src, dst));
            assert!(kept.into_iter().all(|copy| block_on(copy).is_ok()));
        } else {
            drop(kept);
            assert_eq!(block_on(src.copy_to(0, &dst, 0, 1 << 16).fence()).unwrap(), 1 << 16);
            assert!(bytes(&dst, 39 << 17, 1 << 16) == contents);
        }
    }
    let open = fs::read_dir("/proc/self/fd").unwrap();
    let targets = open.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    let left: Vec<_> = targets.filter(|target| target.to_string_lossy().contains("vfio")).collect();
    assert!(left.is_empty(), "open when everything was dropped: {left:?}");
}

/// The kernel unbinds a function of a runtime whose poller sleeps. The regions outlive it, and the CPU takes over.
#[test]
#[ignore = "needs I/OAT functions bound to vfio-pci and devdax nodes: `cargo xtask vm test` runs it"]
fn a_sleeping_runtime_gives_its_function_back() {
    const DRIVER: &str = "/sys/bus/pci/drivers/vfio-pci";
    let function = functions()[0];
    let channel = Container::new().unwrap().open_ioat(function).unwrap();
    let runtime = Runtime::builder().engine(channel).engine(CpuEngine::new()).build().unwrap();
    let [src, dst] = nodes(&runtime);
    let given = pattern(3, 1 << 16);
    src.write_at(0, &given).unwrap();
    let parks = runtime.stats().parks;
    while runtime.stats().parks == parks {
        std::thread::yield_now();
    }

    let begin = Instant::now();
    fs::write(format!("{DRIVER}/unbind"), function.to_string()).unwrap();
    let took = begin.elapsed();
    fs::write(format!("{DRIVER}/bind"), function.to_string()).unwrap();
    // The kernel asks once in 10 s, and the poller sleeps for a second at most.
    assert!(took < Duration::from_secs(9), "unbinding took {took:?}");

    for round in 0..8 {
        assert_eq!(block_on(src.copy_to(0, &dst, round << 16, 1 << 16)).unwrap(), 1 << 16);
        assert!(bytes(&dst, round << 16, 1 << 16) == given, "{round}");
    }
    let memory = region_of(&runtime, &given);
    assert_eq!(block_on(memory.copy_to(0, &dst, 0, 4096)).unwrap(), 4096);
    let stats = runtime.stats();
    assert!(stats.engines[0].lost && stats.engines[0].transfers == 0, "{stats:?}");
    let status = block_on(runtime.restore_engine(&function.to_string())).unwrap_err();
    assert!(status.to_string().contains("the host asks for the device back"), "{status}");
    drop((src, dst, memory));
    block_on(runtime.shutdown(LONG)).unwrap();
    drop(Container::new().unwrap().open_ioat(function).unwrap());
}
