//! A child after fork has the parent's functions and mappings, and leaves them alone.

use dmaring_driver::{
    ioat::OpenError,
    vfio::{self, Container},
};
use dmaring_engine::{Engine, MapError, Rights};

use crate::{
    forking::in_child,
    rig::{Pages, assert_copies, command, function, functions, held},
};

const BUS_MASTER: u16 = 1 << 2;

#[test]
#[ignore = "needs I/OAT functions bound to vfio-pci and devdax nodes: `cargo xtask vm test` runs it"]
fn what_a_child_drops_stays_the_parents() {
    let function = function();
    let before = held();
    let container = Container::new().unwrap();
    let channel = container.open_ioat(function.as_str()).unwrap();
    let pages = Pages::new(channel.domain(), 8192, Rights::ReadWrite);
    let mut all = Some((channel, container));
    in_child(|| drop(all.take()));
    let (mut channel, container) = all.unwrap();
    assert_eq!(command(&function) & BUS_MASTER, BUS_MASTER, "mastering is as it was");
    assert_copies(&mut channel);
    drop((pages, channel, container));
    assert_eq!(held(), before);
}

#[test]
#[ignore = "needs I/OAT functions bound to vfio-pci and devdax nodes: `cargo xtask vm test` runs it"]
fn a_parked_function_that_a_child_drops_stays_open() {
    let function = function();
    let container = Container::new().unwrap();
    let channel = container.open_ioat(function.as_str()).unwrap();
    let domain = channel.domain();
    let pages = Pages::new(channel.domain(), 8192, Rights::ReadWrite);
    drop(channel);
    let mut all = Some((container, domain));
    in_child(|| drop(all.take()));
    let (container, _domain) = all.unwrap();
    assert_copies(&mut container.open_ioat(function.as_str()).unwrap());
    drop(pages);
}

#[test]
#[ignore = "needs I/OAT functions bound to vfio-pci and devdax nodes: `cargo xtask vm test` runs it"]
fn a_child_is_refused_opening_mapping_and_unmapping() {
    let functions = functions();
    let container = Container::new().unwrap();
    let mut channel = container.open_ioat(functions[0].as_str()).unwrap();
    let mut pages = Pages::new(channel.domain(), 8192, Rights::ReadWrite);
    in_child(|| {
        let error = container.open_ioat(functions[1].as_str()).map(drop).unwrap_err();
        let OpenError::Vfio(vfio::Error::OtherProcess { .. }) = error else { panic!("{error}") };
        assert!(error.to_string().contains("make one in this process"), "{error}");
        assert_eq!(pages.map(Rights::Read), Err(MapError::OtherProcess));
        assert_eq!(pages.try_unmap(), Err(MapError::OtherProcess));
        // The other function is free, and a container of the child's own takes it.
        let own = Container::new().unwrap();
        assert_copies(&mut own.open_ioat(functions[1].as_str()).unwrap());
    });
    assert_copies(&mut channel);
    pages.unmap();
}
