//! BARs of other functions in a container.

use std::{
    env, fs,
    sync::{Arc, Mutex},
};

use dmaring_driver::{
    pci::{PeerBar, PeerError},
    vfio::{self, Container, MapProgress},
};
use dmaring_engine::{DeviceMemory, Engine, Rights};

use crate::rig::{Pages, assert_copies, command, function, held};

const MEMORY_SPACE: u16 = 1 << 1;
const BUS_MASTER: u16 = 1 << 2;

/// A function with memory behind its BAR 2 and no driver.
fn peer() -> String {
    let variable = "DMARING_TEST_PEER";
    env::var(variable).unwrap_or_else(|_| panic!("{variable} is not set: name a function"))
}

/// Binds the peer to vfio-pci while `work` runs.
fn bound<T>(work: impl FnOnce() -> T) -> T {
    let peer = peer();
    let place = format!("/sys/bus/pci/devices/{peer}");
    fs::write(format!("{place}/driver_override"), "vfio-pci").unwrap();
    fs::write("/sys/bus/pci/drivers_probe", &peer).unwrap();
    let result = work();
    fs::write("/sys/bus/pci/drivers/vfio-pci/unbind", &peer).unwrap();
    fs::write(format!("{place}/driver_override"), "\n").unwrap();
    fs::write(format!("{place}/enable"), "1").unwrap();
    result
}

#[test]
#[ignore = "needs I/OAT functions bound to vfio-pci and devdax nodes: `cargo xtask vm test` runs it"]
fn a_peer_is_open_once_decodes_and_masters_nothing() {
    let container = Container::new().unwrap();
    let mut channel = container.open_ioat(function().as_str()).unwrap();
    let before = held();
    bound(|| {
        let bar = container.bar(peer().as_str(), 2).unwrap();
        assert!(bar.prefetchable() && bar.len() == 4 << 20, "{bar:?}");
        assert_eq!(command(&peer()) & (MEMORY_SPACE | BUS_MASTER), MEMORY_SPACE);
        let again = container.bar(peer().as_str(), 2).unwrap_err();
        assert!(matches!(again, vfio::Error::Busy { .. }), "{again}");
        let absent = container.bar(peer().as_str(), 3).unwrap_err();
        assert!(matches!(absent, vfio::Error::Peer(PeerError::Empty { .. })), "{absent}");
        drop(bar);
        drop(container.bar(peer().as_str(), 2).unwrap());
        assert_copies(&mut channel);
    });
    assert_eq!(held(), before);
    let unbound = container.bar(peer().as_str(), 2).unwrap_err();
    assert!(matches!(unbound, vfio::Error::PeerNotBound { .. }), "{unbound}");
    drop(PeerBar::open(peer().parse().unwrap(), 2).unwrap());
}

#[test]
#[ignore = "needs I/OAT functions bound to vfio-pci and devdax nodes: `cargo xtask vm test` runs it"]
fn the_last_function_of_a_container_may_be_a_peer() {
    let before = held();
    bound(|| {
        let container = Container::new().unwrap();
        let channel = container.open_ioat(function().as_str()).unwrap();
        let bar = container.bar(peer().as_str(), 2).unwrap();
        let pages = Pages::new(channel.domain(), 4096, Rights::ReadWrite);
        drop(channel);
        drop(bar);
        // Parked for the mapping's sake, and taken again.
        drop(container.bar(peer().as_str(), 2).unwrap());
        drop(pages);
    });
    assert_eq!(held(), before);
}

#[test]
#[ignore = "needs I/OAT functions bound to vfio-pci and devdax nodes: `cargo xtask vm test` runs it"]
fn limits_are_those_of_the_container_and_long_mappings_tell_how_far_they_are() {
    let container = Container::new().unwrap();
    let told = Arc::new(Mutex::new(Vec::new()));
    let tell = told.clone();
    container.on_progress(move |progress: MapProgress| {
        tell.lock().unwrap().push((progress.done, progress.total));
    });
    let channel = container.open_ioat(function().as_str()).unwrap();
    let domain = channel.domain();
    let before = domain.limits();
    let (mappings, addresses) = (before.mappings.unwrap(), before.addresses.unwrap());
    assert_eq!((mappings.used, mappings.most), (1, 65_535), "the ring is mapped");
    assert!(addresses.used > 0 && addresses.most > 1 << 38 && addresses.most <= 1 << 39);
    assert_eq!(before.locked, None, "root has CAP_IPC_LOCK");
    let length = 264 << 20;
    let pages = Pages::new(channel.domain(), length, Rights::ReadWrite);
    let mapped = domain.limits();
    assert_eq!(mapped.mappings.unwrap().used, 1 + told.lock().unwrap().len() as u64);
    assert_eq!(mapped.addresses.unwrap().used, addresses.used + length as u64);
    assert_eq!(told.lock().unwrap().last(), Some(&(length as u64, length as u64)));
    drop(pages);
    assert_eq!(domain.limits(), before);
}
