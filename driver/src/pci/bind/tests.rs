mod interrupted;

use std::{fs, os::unix::fs::symlink, path::Path, time::Duration};

use super::{BindError, Binder, Cause, Undone, fake_kernel::FakeKernel, record::Records};
use crate::pci::{Address, Holder, fake::Tree};

const ADDRESS: &str = "0000:00:04.0";

fn address() -> Address {
    ADDRESS.parse().unwrap()
}

/// A machine with an IOMMU, vfio-pci, and a function in group 7 that ioatdma has.
fn machine() -> (Tree, FakeKernel) {
    let tree = Tree::new();
    tree.write("class/iommu/dmar0/version", "");
    tree.vfio_pci();
    tree.function(ADDRESS, 0x2021).group(7).driver("ioatdma").channel("dma0chan0", 0);
    let kernel = FakeKernel::of(tree.root());
    (tree, kernel)
}

/// As every process makes one for itself.
fn binder(tree: &Tree, kernel: &FakeKernel) -> Binder {
    Binder {
        sysfs: tree.sysfs(),
        proc: tree.beside("proc"),
        dev: tree.beside("dev"),
        records: Records::at(tree.beside("run")),
        attributes: Box::new(kernel.clone()),
    }
}

/// The driver and the override.
fn state(tree: &Tree) -> (Option<String>, Option<String>) {
    let sysfs = tree.sysfs();
    let driver = sysfs.function(address()).unwrap().driver;
    (driver, sysfs.driver_override(address()).unwrap())
}

fn with(driver: &str) -> (Option<String>, Option<String>) {
    (Some(driver.to_owned()), None)
}

fn record_exists(tree: &Tree) -> bool {
    tree.beside("run").join(ADDRESS).exists()
}

/// What a function may have before: driver and override.
const BEFORE: [(Option<&str>, Option<&str>); 6] = [
    (Some("ioatdma"), None),
    (None, None),
    (None, Some("none")),
    (None, Some("vfio-pci")),
    (Some("ioatdma"), Some("ioatdma")),
    (Some("ioatdma"), Some("vfio-pci")),
];

/// The machine with a function that has these.
fn machine_with(driver: Option<&str>, name: Option<&str>) -> (Tree, FakeKernel) {
    let tree = Tree::new();
    tree.write("class/iommu/dmar0/version", "");
    tree.vfio_pci();
    let function = tree.function(ADDRESS, 0x2021);
    function.group(7);
    driver.map(|driver| function.driver(driver));
    name.map(|name| function.driver_override(name));
    let kernel = FakeKernel::of(tree.root());
    (tree, kernel)
}

#[test]
fn what_was_there_is_restored_by_another_process() {
    for (driver, name) in BEFORE {
        let (tree, kernel) = machine_with(driver, name);
        let before = state(&tree);

        let bound = binder(&tree, &kernel).bind(address()).unwrap();
        assert!(bound.changed && bound.held_back_by.is_empty());
        assert_eq!((bound.previous.as_deref(), bound.group), (driver, 7));
        assert_eq!(state(&tree), (Some("vfio-pci".into()), Some("vfio-pci".into())));

        let unbound = binder(&tree, &kernel).unbind(address()).unwrap();
        assert!(unbound.changed);
        assert_eq!(unbound.driver.as_deref(), driver);
        assert_eq!(state(&tree), before);
        assert!(!record_exists(&tree));
    }
}

#[test]
fn what_is_as_it_should_be_is_left_alone() {
    let (tree, kernel) = machine();
    let unbound = binder(&tree, &kernel).unbind(address()).unwrap();
    assert!(!unbound.changed);
    assert_eq!(unbound.driver.as_deref(), Some("ioatdma"));
    binder(&tree, &kernel).bind(address()).unwrap();
    kernel.writes();
    let bound = binder(&tree, &kernel).bind(address()).unwrap();
    assert!(!bound.changed && bound.previous.is_none());
    assert_eq!(kernel.writes(), [""; 0]);
    // The second time took nothing away from the record of the first.
    binder(&tree, &kernel).unbind(address()).unwrap();
    assert_eq!(state(&tree), with("ioatdma"));
}

/// Binding is refused, by `check_bind` and by `bind`, with nothing written; the message has all parts.
fn refused(tree: &Tree, kernel: &FakeKernel, parts: &[&str]) -> BindError {
    let binder = binder(tree, kernel);
    let before = state(tree);
    let error = binder.check_bind(address()).unwrap_err();
    assert_eq!(binder.bind(address()).unwrap_err().to_string(), error.to_string());
    assert_eq!(state(tree), before);
    assert!(kernel.writes().is_empty() && !record_exists(tree) && !error.is_midway());
    for part in parts {
        assert!(error.to_string().contains(part), "{part:?} is not in {error}");
    }
    error
}

#[test]
fn a_channel_with_users_is_not_taken_from_the_kernel() {
    let (tree, kernel) = machine();
    tree.write("class/dma/dma0chan0/in_use", "2\n");
    let error = refused(&tree, &kernel, &["in use by", "dma0chan0", "in_use 2"]);
    assert!(
        matches!(error, BindError::InUse { by, .. } if matches!(by[0], Holder::Channel { .. }))
    );
}

fn open_in_process(tree: &Tree, node: &str) {
    let process = tree.beside("proc").join("812");
    fs::create_dir_all(process.join("fd")).unwrap();
    fs::write(process.join("comm"), "qemu\n").unwrap();
    symlink(node, process.join("fd/3")).unwrap();
}

#[test]
fn a_function_that_a_process_has_open_is_not_taken_from_it() {
    let (tree, kernel) = machine();
    tree.write(&format!("bus/pci/devices/{ADDRESS}/uio/uio3/version"), "");
    open_in_process(&tree, "/dev/uio3");
    refused(&tree, &kernel, &["in use by", "pid 812 (qemu)"]);
}

#[test]
fn a_function_in_use_through_vfio_is_not_unbound() {
    let (tree, kernel) = machine();
    let binder = binder(&tree, &kernel);
    binder.bind(address()).unwrap();
    kernel.writes();
    open_in_process(&tree, "/dev/vfio/7");
    let error = binder.check_unbind(address()).unwrap_err();
    assert!(error.to_string().contains("in use by pid 812 (qemu)"), "{error}");
    assert!(binder.unbind(address()).is_err());
    assert!(kernel.writes().is_empty() && record_exists(&tree));
}

#[test]
fn what_is_missing_is_named_with_its_remedy() {
    let (tree, kernel) = machine();
    tree.remove(&format!("bus/pci/devices/{ADDRESS}/iommu_group"));
    refused(&tree, &kernel, &[ADDRESS, "no IOMMU group", "intel_iommu=on"]);
    fs::remove_dir_all(tree.root().join("class/iommu")).unwrap();
    refused(&tree, &kernel, &[ADDRESS, "no IOMMU is in use", "VT-d"]);

    let (tree, kernel) = machine();
    fs::remove_dir_all(tree.root().join("bus/pci/drivers/vfio-pci")).unwrap();
    refused(&tree, &kernel, &["vfio-pci", "`modprobe vfio-pci`"]);

    let (tree, kernel) = machine();
    kernel.deny();
    refused(&tree, &kernel, &["permission denied", "`sudo dmaring bind 0000:00:04.0`"]);

    let (tree, kernel) = machine();
    tree.write(&format!("bus/pci/devices/{ADDRESS}/device"), "0xa1c1\n");
    refused(&tree, &kernel, &["8086:a1c1", "no I/OAT function", "dmaring list"]);

    let binder = binder(&tree, &kernel);
    let error = binder.bind("0000:00:05.0".parse().unwrap()).unwrap_err();
    assert!(error.to_string().contains("no PCI function 0000:00:05.0"), "{error}");
}

#[test]
fn other_functions_of_the_group_in_host_drivers_are_named() {
    let (tree, kernel) = machine();
    tree.function("0000:00:04.1", 0x2021).group(7).driver("ioatdma");
    tree.function("0000:00:04.2", 0x2021).group(7);
    tree.function("0000:00:04.3", 0x2021).group(7).driver("vfio-pci");
    tree.function("0000:00:00.0", 0x2030)
        .group(7)
        .attribute("class", "0x060400")
        .driver("pcieport");
    let bound = binder(&tree, &kernel).bind(address()).unwrap();
    let others: Vec<_> =
        bound.held_back_by.iter().map(|function| function.address.to_string()).collect();
    assert_eq!(others, ["0000:00:04.1"]);
}

#[test]
fn whichever_write_fails_the_function_has_what_it_had() {
    let (tree, kernel) = machine();
    let binder = binder(&tree, &kernel);
    for number in 0..3 {
        kernel.fail(&[number]);
        let error = binder.bind(address()).unwrap_err();
        assert!(error.is_midway());
        let message = error.to_string();
        for part in [ADDRESS, "planted", "has been given back what it had"] {
            assert!(message.contains(part), "write {number}: {message}");
        }
        assert_eq!(state(&tree), with("ioatdma"), "write {number}");
        assert!(!record_exists(&tree));
    }
    kernel.fail(&[]);
    binder.bind(address()).unwrap();
    let bound = state(&tree);
    for number in 0..3 {
        kernel.fail(&[number]);
        let message = binder.unbind(address()).unwrap_err().to_string();
        assert!(message.contains("has been given back what it had"), "write {number}: {message}");
        assert_eq!(state(&tree), bound, "write {number}");
        assert!(record_exists(&tree));
    }
    kernel.fail(&[]);
    assert_eq!(kernel.writes(), [""; 0]);
    binder.unbind(address()).unwrap();
    let unbind = format!("unbind={ADDRESS}");
    assert_eq!(kernel.writes(), ["driver_override=", &unbind, &format!("bind={ADDRESS}")]);
}

#[test]
fn what_cannot_be_put_back_is_said_and_remembered() {
    let (tree, kernel) = machine();
    let binder = binder(&tree, &kernel);
    // Binding fails, and so does binding to what it had.
    kernel.fail(&[2, 4]);
    let error = binder.bind(address()).unwrap_err();
    let BindError::Midway { undone: Undone::Failed { .. }, .. } = &error else { panic!("{error}") };
    assert!(error.to_string().contains("it had the driver ioatdma and could not be"), "{error}");
    assert!(record_exists(&tree));
    assert_eq!(state(&tree), (None, None));
    // Unbinding gives it back, and so it does after binding it once more.
    for binds in [false, true] {
        let (tree, kernel) = machine();
        let binder = self::binder(&tree, &kernel);
        kernel.fail(&[2, 4]);
        binder.bind(address()).unwrap_err();
        kernel.fail(&[]);
        if binds {
            let bound = binder.bind(address()).unwrap();
            assert!(bound.changed && bound.previous.as_deref() == Some("ioatdma"));
        }
        assert!(binder.unbind(address()).unwrap().changed);
        assert_eq!(state(&tree), with("ioatdma"));
        assert!(!record_exists(&tree));
    }
}

#[test]
fn a_driver_that_does_not_take_the_function_is_found_out() {
    let (tree, kernel) = machine();
    kernel.make_reluctant("vfio-pci");
    let error = binder(&tree, &kernel).bind(address()).unwrap_err();
    assert!(matches!(&error, BindError::Midway { cause: Cause::Driver { .. }, .. }));
    assert!(error.to_string().contains("it has no driver and not the driver vfio-pci"), "{error}");
    assert_eq!(state(&tree), with("ioatdma"));
}

#[test]
fn what_somebody_else_bound_is_left_to_him_with_the_commands() {
    let tree = Tree::new();
    tree.write("class/iommu/dmar0/version", "");
    tree.function(ADDRESS, 0x2021).group(7).driver("vfio-pci");
    let kernel = FakeKernel::of(tree.root());
    let error = binder(&tree, &kernel).unbind(address()).unwrap_err();
    assert!(matches!(error, BindError::NotOurs { .. }));
    let message = error.to_string();
    for part in ["driver_override", "driver/unbind", "drivers_probe", "sudo"] {
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn unbinding_to_a_driver_that_has_gone_is_refused() {
    let (tree, kernel) = machine();
    let binder = binder(&tree, &kernel);
    binder.bind(address()).unwrap();
    fs::remove_dir_all(tree.root().join("bus/pci/drivers/ioatdma")).unwrap();
    let message = binder.unbind(address()).unwrap_err().to_string();
    assert!(message.contains("`modprobe ioatdma`"), "{message}");
    assert_eq!(state(&tree).0.as_deref(), Some("vfio-pci"));
}

#[test]
fn the_lock_is_held_by_one_process_at_a_time_and_a_second_is_told_by_which() {
    let (tree, kernel) = machine();
    let mut binder = binder(&tree, &kernel);
    let lock = binder.records.lock().unwrap();
    let other = fs::File::open(Path::new(&tree.beside("run")).join("lock")).unwrap();
    assert!(other.try_lock().is_err());
    binder.records.patience = Duration::ZERO;
    let error = binder.bind(address()).unwrap_err();
    let pid = format!("pid {} binds", std::process::id());
    assert!(matches!(error, BindError::Locked { .. }) && !error.is_midway(), "{error}");
    assert!(error.to_string().contains(&pid), "{error}");
    assert!(kernel.writes().is_empty() && !record_exists(&tree));
    binder.records.patience = Duration::from_secs(60);
    let waiting = std::thread::spawn(move || binder.bind(address()).unwrap().changed);
    drop(lock);
    assert!(waiting.join().unwrap());
}
