//! What is left when channels go, and in which order it goes.

use std::{
    panic,
    sync::{
        Arc, Barrier,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
};

use dmaring_driver::{
    IoatChannel,
    pci::Address,
    vfio::{Bar, Container},
};
use dmaring_engine::{Engine, Rights};
use nix::{
    mount::{MsFlags, mount, umount},
    sched::{CloneFlags, unshare},
};

use crate::{
    forking::in_child,
    rig::{Pages, assert_copies, command, function, functions, held, pair},
};

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

#[test]
#[ignore = "needs I/OAT functions bound to vfio-pci and devdax nodes: `cargo xtask vm test` runs it"]
fn a_function_that_is_not_open_any_more_can_be_opened_at_once() {
    let function = function();
    let address = format!("{:?}", function.parse::<Address>().unwrap());
    // With another function open the first one is closed at once, with its mappings left.
    let (container, first, _second) = pair();
    let mut first = Some(first);
    for _ in 0..10 {
        let channel = first.take().unwrap();
        let begin = Barrier::new(2);
        thread::scope(|scope| {
            scope.spawn(|| drop_after(&begin, channel));
            begin.wait();
            while format!("{container:?}").contains(&address) {
                thread::yield_now();
            }
            // Its group is closed as well, or this process itself would be named as the one that has it.
            first = Some(container.open_ioat(function.as_str()).unwrap());
        });
    }
}

fn drop_after(begin: &Barrier, channel: IoatChannel<Bar>) {
    begin.wait();
    drop(channel);
}

/// The function's directory in sysfs is hidden instead of the function being unplugged.
#[test]
#[ignore = "needs I/OAT functions bound to vfio-pci and devdax nodes: `cargo xtask vm test` runs it"]
fn a_function_that_has_gone_from_sysfs_is_closed_without_a_panic() {
    let function = function();
    in_child(|| {
        let panicked = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&panicked);
        panic::set_hook(Box::new(move |_| seen.store(true, Relaxed)));
        unshare(CloneFlags::CLONE_NEWNS).unwrap();
        let (none, private) = (None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE);
        mount(none, "/", none, private, none).unwrap();
        let container = Container::new().unwrap();
        let channel = container.open_ioat(function.as_str()).unwrap();
        mount(Some("none"), "/sys", Some("tmpfs"), MsFlags::empty(), none).unwrap();
        drop(channel);
        umount("/sys").unwrap();
        assert!(!panicked.load(Relaxed), "a panic ends programs that abort on it");
        assert_eq!(command(&function) & BUS_MASTER, 0);
        // The group is with the container still, which takes the function again.
        assert_copies(&mut container.open_ioat(function.as_str()).unwrap());
    });
    assert_copies(&mut IoatChannel::open(function.as_str()).unwrap());
}
