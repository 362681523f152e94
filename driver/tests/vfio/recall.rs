//! The kernel is to unbind a function that is in use, and gets it.

use std::{
    fs,
    task::Poll,
    thread::{self, Builder, ScopedJoinHandle},
};

use dmaring_driver::{
    IoatChannel,
    ioat::OpenError,
    vfio::{self, Container},
};
use dmaring_engine::{Engine, Outcome, Rights, StatusKind};

use crate::rig::{Channel, Pages, assert_copies, copy, function, functions, held, pair};

const DRIVER: &str = "/sys/bus/pci/drivers/vfio-pci";

/// A function that is given to vfio-pci again at the end.
struct Unbound(String);

impl Unbound {
    /// Has the kernel unbind the function, which waits until it is closed, while the channel is polled.
    fn from(function: &str, channel: &mut Channel) -> Self {
        let unbound = Self(function.to_owned());
        thread::scope(|scope| {
            let unbinding = scope.spawn(|| fs::write(format!("{DRIVER}/unbind"), function));
            while !unbinding.is_finished() {
                assert_eq!(channel.poll(&mut []), 0);
            }
            unbinding.join().unwrap().unwrap();
        });
        assert!(!fs::exists(format!("{DRIVER}/{function}")).unwrap());
        match channel.recover() {
            Poll::Ready(Err(status)) => assert_eq!(status.kind, StatusKind::Requested),
            other => panic!("the channel has no function any more: {other:?}"),
        }
        unbound
    }
}

/// Waits until a thread waits in the kernel, or has ended.
fn until_it_waits<T>(name: &str, thread: &ScopedJoinHandle<'_, T>) {
    let (name, mut looks) = (format!("({name}) "), 0);
    while looks < 100 && !thread.is_finished() {
        let tasks = fs::read_dir("/proc/self/task").unwrap().flatten();
        let mut stats = tasks.filter_map(|task| fs::read_to_string(task.path().join("stat")).ok());
        let state = stats.find_map(|stat| stat.split_once(&name)?.1.chars().next());
        looks = if matches!(state, Some('S' | 'D')) { looks + 1 } else { 0 };
        thread::yield_now();
    }
}

impl Drop for Unbound {
    fn drop(&mut self) {
        fs::write(format!("{DRIVER}/bind"), &self.0).unwrap();
    }
}

#[test]
#[ignore = "needs I/OAT functions bound to vfio-pci and devdax nodes: `cargo xtask vm test` runs it"]
fn the_last_function_goes_back_while_memory_is_mapped() {
    let (before, function) = (held(), function());
    let container = Container::new().unwrap();
    let mut channel = container.open_ioat(function.as_str()).unwrap();
    assert_copies(&mut channel);
    let mut pages = Pages::new(channel.domain(), 8192, Rights::ReadWrite);
    let unbound = Unbound::from(&function, &mut channel);
    // The mapping has gone with the function; whoever made it may still undo it, and make another.
    pages.unmap();
    pages.map(Rights::ReadWrite).unwrap();
    drop(unbound);
    let error = container.open_ioat(function.as_str()).unwrap_err();
    assert!(matches!(error, OpenError::Vfio(vfio::Error::Dissolved { .. })), "{error}");
    drop((channel, pages, container));
    assert_eq!(held(), before);
    assert_copies(&mut IoatChannel::open(function.as_str()).unwrap());
}

#[test]
#[ignore = "needs I/OAT functions bound to vfio-pci and devdax nodes: `cargo xtask vm test` runs it"]
fn one_of_two_functions_goes_back_and_the_other_reaches_what_is_mapped() {
    let (before, functions) = (held(), functions());
    let (container, mut first, mut second) = pair();
    let source = Pages::new(first.domain(), 8192, Rights::Read);
    let destination = Pages::new(first.domain(), 8192, Rights::ReadWrite);
    source.write(0x33);
    let unbound = Unbound::from(&functions[0], &mut first);
    let range = [source.iova(), destination.iova(), 8192];
    assert_eq!(copy(&mut second, range), Outcome::Done);
    assert!(destination.read() == source.read());
    drop(unbound);
    // It was closed and not lost.
    assert_copies(&mut IoatChannel::open(functions[0].as_str()).unwrap());
    drop((first, second, source, destination));
    // With nothing else in it the container takes it, too.
    assert_copies(&mut container.open_ioat(functions[0].as_str()).unwrap());
    drop(container);
    assert_eq!(held(), before);
}

#[test]
#[ignore = "needs I/OAT functions bound to vfio-pci and devdax nodes: `cargo xtask vm test` runs it"]
fn a_function_that_nobody_uses_goes_back_with_the_last_mapping_and_the_container_opens_others() {
    let (before, functions) = (held(), functions());
    let container = Container::new().unwrap();
    let channel = container.open_ioat(functions[0].as_str()).unwrap();
    let mut pages = Pages::new(channel.domain(), 8192, Rights::ReadWrite);
    drop(channel);
    let unbound = Unbound(functions[0].clone());
    let refused = thread::scope(|scope| {
        let unbind = || fs::write(format!("{DRIVER}/unbind"), &functions[0]);
        let unbinding = Builder::new().name("unbinding".to_owned()).spawn_scoped(scope, unbind);
        let unbinding = unbinding.unwrap();
        until_it_waits("unbinding", &unbinding);
        // Whoever opens it now does not wait for the other.
        let refused = container.open_ioat(functions[0].as_str()).map(drop);
        pages.unmap();
        unbinding.join().unwrap().unwrap();
        refused
    });
    let error = refused.unwrap_err();
    assert!(matches!(error, OpenError::Vfio(vfio::Error::NotBound { .. })), "{error}");
    assert!(!fs::exists(format!("{DRIVER}/{}", functions[0])).unwrap());
    assert_copies(&mut container.open_ioat(functions[1].as_str()).unwrap());
    drop((pages, unbound));
    assert_copies(&mut container.open_ioat(functions[0].as_str()).unwrap());
    drop(container);
    assert_eq!(held(), before);
}
