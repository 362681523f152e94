use std::{fs, io, path::PathBuf};

use nix::errno::Errno;

use super::{check, container_error, group_error, not_viable, probe};
use crate::{
    pci::{Address, fake::Tree},
    vfio::Error,
};

const FUNCTION: &str = "0000:00:05.0";

fn address() -> Address {
    FUNCTION.parse().unwrap()
}

/// A system on which nothing stands in the way, and its directory of nodes.
fn ready() -> (Tree, PathBuf) {
    let tree = Tree::new();
    tree.function(FUNCTION, 0x2021).group(7).driver("vfio-pci");
    tree.write("class/iommu/dmar0/uevent", "");
    let nodes = tree.beside("dev/vfio");
    fs::create_dir_all(&nodes).unwrap();
    for node in ["vfio", "7"] {
        fs::write(nodes.join(node), "").unwrap();
    }
    (tree, nodes)
}

#[track_caller]
fn refused(tree: &Tree, nodes: &std::path::Path, words: &[&str]) -> Error {
    let error = check(&tree.sysfs(), nodes, address()).unwrap_err();
    let message = error.to_string();
    for word in words {
        assert!(message.contains(word), "`{word}` is not in: {message}");
    }
    error
}

#[test]
fn where_nothing_stands_in_the_way_the_group_is_given() {
    let (tree, nodes) = ready();
    assert_eq!(check(&tree.sysfs(), &nodes, address()).unwrap(), 7);
}

#[test]
fn an_absent_function_is_refused() {
    let (_, nodes) = ready();
    let error = refused(&Tree::new(), &nodes, &[FUNCTION, "dmaring list"]);
    assert!(matches!(error, Error::Sysfs(_)));
}

#[test]
fn another_kind_of_function_is_refused_by_its_ids() {
    let (_, nodes) = ready();
    let tree = Tree::new();
    tree.function(FUNCTION, 0x1533).attribute("class", "0x020000\n");
    let error = refused(&tree, &nodes, &[FUNCTION, "8086:1533", "class 020000", "dmaring list"]);
    assert!(matches!(error, Error::NotIoat { .. }) && !error.to_string().contains("DSA"));
    let tree = Tree::new();
    tree.function(FUNCTION, 0x0b25);
    refused(&tree, &nodes, &["8086:0b25", "DSA"]);
}

#[test]
fn without_an_iommu_the_command_line_is_named() {
    let (_, nodes) = ready();
    let tree = Tree::new();
    tree.function(FUNCTION, 0x2021).driver("vfio-pci");
    assert!(matches!(refused(&tree, &nodes, &["intel_iommu=on", "VT-d"]), Error::NoIommu));
    tree.write("class/iommu/dmar0/uevent", "");
    assert!(matches!(refused(&tree, &nodes, &[FUNCTION, "intel_iommu=on"]), Error::NoGroup { .. }));
}

#[test]
fn no_iommu_mode_is_refused() {
    let (tree, nodes) = ready();
    fs::write(nodes.join("noiommu-7"), "").unwrap();
    refused(&tree, &nodes, &["group 7", "no-IOMMU mode", "intel_iommu=on"]);
    let (tree, nodes) = ready();
    tree.write("kernel/iommu_groups/7/name", "vfio-noiommu\n");
    let error = refused(&tree, &nodes, &["no-IOMMU mode"]);
    assert!(matches!(error, Error::NoIommuMode { group: 7 }));
}

#[test]
fn modules_and_driver_are_named_with_what_loads_and_binds_them() {
    let (tree, nodes) = ready();
    tree.remove(&format!("bus/pci/devices/{FUNCTION}/driver"));
    let words = [FUNCTION, "no driver", "dmaring bind 0000:00:05.0"];
    assert!(matches!(refused(&tree, &nodes, &words), Error::NotBound { driver: None, .. }));
    let other = Tree::new();
    other.function(FUNCTION, 0x2021).group(7).driver("ioatdma");
    other.write("class/iommu/dmar0/uevent", "");
    refused(&other, &nodes, &["ioatdma", "dmaring bind 0000:00:05.0"]);
    fs::remove_file(nodes.join("vfio")).unwrap();
    let error = refused(&other, &nodes, &["dev/vfio/vfio", "modprobe vfio-pci"]);
    assert!(matches!(error, Error::NoVfio { .. }));
}

#[test]
fn what_keeps_a_node_from_being_opened_is_told_apart() {
    let path = PathBuf::from("/dev/vfio/7");
    let of = |errno: Errno| group_error(&path, address(), 7, io::Error::from(errno));
    let error = of(Errno::EACCES);
    assert!(error.to_string().contains("chown $USER /dev/vfio/7"), "{error}");
    assert!(matches!(of(Errno::ENOENT), Error::NoNode { .. }));
    let error = of(Errno::EBUSY);
    assert!(matches!(error, Error::Busy { group: 7, .. }));
    assert!(error.to_string().contains("in use"), "{error}");
    assert!(matches!(of(Errno::EIO), Error::Call { .. }));
    let path = PathBuf::from("/dev/vfio/vfio");
    let of = |errno: Errno| container_error(&path, io::Error::from(errno));
    assert!(matches!(of(Errno::EACCES), Error::Permission { .. }));
    assert!(matches!(of(Errno::ENOENT), Error::NoVfio { .. }));
    assert!(matches!(of(Errno::ENODEV), Error::NoVfio { .. }));
    assert!(matches!(of(Errno::EMFILE), Error::Call { .. }));
}

#[test]
fn a_group_that_is_no_group_is_refused_by_the_kernel() {
    let (tree, nodes) = ready();
    let error = probe(&tree.sysfs(), &nodes, address(), 7).unwrap_err();
    assert!(matches!(error, Error::Call { call: "VFIO_GROUP_GET_STATUS", .. }), "{error}");
    fs::remove_file(nodes.join("7")).unwrap();
    let error = probe(&tree.sysfs(), &nodes, address(), 7).unwrap_err();
    assert!(matches!(error, Error::NoNode { .. }), "{error}");
}

#[test]
fn functions_of_the_host_in_the_group_are_named_with_their_drivers() {
    let (tree, _) = ready();
    tree.function("0000:00:05.1", 0x2021).group(7).driver("ioatdma");
    tree.function("0000:00:05.2", 0x1533).group(7).driver("igb");
    tree.function("0000:00:05.3", 0x2021).group(7);
    tree.function("0000:00:01.0", 0x2030)
        .attribute("class", "0x060400\n")
        .group(7)
        .driver("pcieport");
    let message = not_viable(&tree.sysfs(), 7).to_string();
    for part in [
        "group 7",
        "0000:00:05.1 (ioatdma), 0000:00:05.2 (igb); ",
        // `dmaring bind` would refuse what is no I/OAT function.
        "`sudo dmaring bind 0000:00:05.1` and `echo 0000:00:05.2 | sudo tee \
         /sys/bus/pci/devices/0000:00:05.2/driver/unbind` take them from the host",
    ] {
        assert!(message.contains(part), "{message}");
    }
    assert!(!message.contains("05.3") && !message.contains("pcieport"), "{message}");
    tree.function("0000:00:06.0", 0x1533).group(9).driver("igb");
    let foreign = not_viable(&tree.sysfs(), 9).to_string();
    assert!(foreign.contains("driver/unbind` takes it"), "{foreign}");
    assert!(!foreign.contains("dmaring bind"), "{foreign}");
    tree.function("0000:00:07.0", 0x2021).group(10).driver("ioatdma");
    let ours = not_viable(&tree.sysfs(), 10).to_string();
    assert!(ours.ends_with("; `sudo dmaring bind 0000:00:07.0` takes it from the host"), "{ours}");
    let unknown = not_viable(&tree.sysfs(), 8).to_string();
    assert!(unknown.contains("dmesg"), "{unknown}");
}
