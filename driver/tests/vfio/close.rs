//! What is left when channels go, and in which order it goes.

use dmaring_driver::{IoatChannel, vfio::Container};
use dmaring_engine::{Engine, Rights};

use crate::rig::{Pages, assert_copies, command, function, functions, held, pair};

const BUS_MASTER: u16 = 1 << 2;

#[test]
#[ignore = "needs I/OAT functions bound to vfio-pci and devdax nodes: `cargo xtask vm test` runs it"]
fn nothing_is_left_of_twenty_channels() {
    let function = function();
    let before = held();
    for _ in 0..20 {
        let mut channel = IoatChannel::open(function.as_str()).unwrap();
        assert!(held().len() > before.len(), "the count would not notice");
        assert_copies(&mut channel);
        drop(channel);
        assert_eq!(held(), before);
    }
}

#[test]
#[ignore = "needs I/OAT functions bound to vfio-pci and devdax nodes: `cargo xtask vm test` runs it"]
fn a_container_takes_a_function_again_and_again() {
    let function = function();
    let container = Container::new().unwrap();
    let before = held();
    for _ in 0..5 {
        assert_copies(&mut container.open_ioat(function.as_str()).unwrap());
        assert_eq!(held(), before);
    }
}

#[test]
#[ignore = "needs I/OAT functions bound to vfio-pci and devdax nodes: `cargo xtask vm test` runs it"]
fn memory_outlives_the_last_channel_and_is_unmapped_after_it() {
    let function = function();
    let before = held();
    let container = Container::new().unwrap();
    let channel = container.open_ioat(function.as_str()).unwrap();
    let mut pages = Pages::new(channel.domain(), 8192, Rights::ReadWrite);
    drop(channel);
    assert_eq!(command(&function) & BUS_MASTER, 0, "nothing reaches the memory any more");
    // The mapping is there for the next channel of the container.
    let channel = container.open_ioat(function.as_str()).unwrap();
    drop((channel, container));
    pages.unmap();
    drop(pages);
    assert_eq!(held(), before);
    assert_copies(&mut IoatChannel::open(function.as_str()).unwrap());
}

#[test]
#[ignore = "needs I/OAT functions bound to vfio-pci and devdax nodes: `cargo xtask vm test` runs it"]
fn one_of_two_channels_goes_and_the_other_copies_on() {
    let before = held();
    let functions = functions();
    let (container, first, mut second) = pair();
    let pages = Pages::new(first.domain(), 8192, Rights::ReadWrite);
    drop(first);
    assert_copies(&mut second);
    // The first function is free for others, and comes back to this container.
    drop(IoatChannel::open(functions[0].as_str()).unwrap());
    let mut first = container.open_ioat(functions[0].as_str()).unwrap();
    assert_copies(&mut first);
    drop((first, second));
    // Parked with a mapping left: the other function takes its place.
    let mut first = container.open_ioat(functions[0].as_str()).unwrap();
    assert_copies(&mut first);
    drop(IoatChannel::open(functions[1].as_str()).unwrap());
    drop((first, pages, container));
    assert_eq!(held(), before);
}
