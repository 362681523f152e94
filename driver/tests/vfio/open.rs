//! What opening takes, refuses and sets.

use std::fs;

use dmaring_driver::{
    IoatChannel,
    ioat::{OpenError, Options, StartError},
    vfio::{self, Container},
};
use dmaring_engine::Engine;

use crate::rig::{
    self, assert_copies, command, device_control, function, held, set_device_control,
};

const BUS_MASTER: u16 = 1 << 2;
const INTX_DISABLE: u16 = 1 << 10;
/// Relaxed ordering and no-snoop, in the device control register.
const UNORDERED: u16 = 1 << 4 | 1 << 11;

#[test]
#[ignore = "needs I/OAT functions bound to vfio-pci and devdax nodes: `cargo xtask vm test` runs it"]
fn an_open_channel_has_the_address_as_its_name_and_copies() {
    let function = function();
    let mut channel = IoatChannel::open(function.as_str()).unwrap();
    assert_eq!(channel.name(), function);
    assert_copies(&mut channel);
    assert_eq!(channel.violations(), 0);
}

#[test]
#[ignore = "needs I/OAT functions bound to vfio-pci and devdax nodes: `cargo xtask vm test` runs it"]
fn mastering_is_on_while_a_channel_is_open_and_interrupts_are_off() {
    let function = function();
    let options = Options { name: "copier".to_owned(), ring_entries: 64, ..Options::default() };
    let channel = IoatChannel::open_with(function.as_str(), options).unwrap();
    assert_eq!(channel.name(), "copier");
    assert_eq!(command(&function) & (BUS_MASTER | INTX_DISABLE), BUS_MASTER | INTX_DISABLE);
    let interrupts = fs::read_to_string("/proc/interrupts").unwrap();
    assert!(!interrupts.contains("vfio"), "{interrupts}");
    drop(channel);
    assert_eq!(command(&function) & BUS_MASTER, 0);
}

#[test]
#[ignore = "needs I/OAT functions bound to vfio-pci and devdax nodes: `cargo xtask vm test` runs it"]
fn relaxed_ordering_and_no_snoop_are_off_while_a_channel_is_open() {
    let function = function();
    let before = device_control(&function);
    set_device_control(&function, before | UNORDERED);
    assert_eq!(device_control(&function) & UNORDERED, UNORDERED, "firmware may leave it so");
    let channel = IoatChannel::open(function.as_str()).unwrap();
    assert_eq!(device_control(&function) & UNORDERED, 0);
    drop(channel);
}

#[test]
#[ignore = "needs I/OAT functions bound to vfio-pci and devdax nodes: `cargo xtask vm test` runs it"]
fn a_function_in_use_is_busy_and_its_user_named_and_undisturbed() {
    let function = function();
    let container = Container::new().unwrap();
    let mut channel = container.open_ioat(function.as_str()).unwrap();
    let before = held();
    let elsewhere = IoatChannel::open(function.as_str());
    let here = container.open_ioat(function.as_str());
    for refused in [elsewhere, here] {
        let error = refused.map(drop).unwrap_err();
        let pid = std::process::id();
        let OpenError::Vfio(vfio::Error::Busy { users, .. }) = &error else { panic!("{error}") };
        assert!(users.iter().any(|user| user.pid == pid), "{error}");
        let message = error.to_string();
        assert!(
            message.contains(&function) && message.contains(&format!("pid {pid}")),
            "{message}"
        );
        assert_copies(&mut channel);
    }
    assert_eq!(held(), before);
}

#[test]
#[ignore = "needs I/OAT functions bound to vfio-pci and devdax nodes: `cargo xtask vm test` runs it"]
fn a_channel_that_does_not_start_leaves_nothing_open_and_no_mastering() {
    let function = function();
    let container = Container::new().unwrap();
    let before = held();
    let options = Options { channel: 200, ..Options::default() };
    let error = container.open_ioat_with(function.as_str(), options).map(drop).unwrap_err();
    let OpenError::Start { source: StartError::NoSuchChannel { channel: 200, .. }, .. } = error
    else {
        panic!("{error}")
    };
    assert_eq!(held(), before, "but the container itself nothing is open");
    assert_eq!(command(&function) & BUS_MASTER, 0);
    assert_copies(&mut container.open_ioat(function.as_str()).unwrap());
}

#[test]
#[ignore = "needs I/OAT functions bound to vfio-pci and devdax nodes: `cargo xtask vm test` runs it"]
fn a_function_of_another_kind_is_refused() {
    let ours = rig::functions();
    let other = fs::read_dir("/sys/bus/pci/devices")
        .unwrap()
        .flatten()
        .map(|entry| entry.file_name().into_string().unwrap())
        .find(|name| {
            let class = fs::read_to_string(format!("/sys/bus/pci/devices/{name}/class")).unwrap();
            !ours.contains(name) && !class.starts_with("0x0880")
        })
        .expect("a host bridge at least");
    let error = IoatChannel::open(other.as_str()).map(drop).unwrap_err();
    assert!(matches!(error, OpenError::Vfio(vfio::Error::NotIoat { .. })), "{error}");
    assert!(error.to_string().contains(&other), "{error}");
}

#[test]
#[ignore = "needs I/OAT functions bound to vfio-pci and devdax nodes: `cargo xtask vm test` runs it"]
fn a_function_without_vfio_pci_is_refused_with_the_command_that_binds_it() {
    let function = function();
    let driver = "/sys/bus/pci/drivers/vfio-pci";
    fs::write(format!("{driver}/unbind"), &function).unwrap();
    let error = IoatChannel::open(function.as_str()).map(drop).unwrap_err();
    fs::write(format!("{driver}/bind"), &function).unwrap();
    let OpenError::Vfio(vfio::Error::NotBound { driver: None, .. }) = error else {
        panic!("{error}")
    };
    assert!(error.to_string().contains(&format!("dmaring bind {function}")), "{error}");
    assert_copies(&mut IoatChannel::open(function.as_str()).unwrap());
}
