use dmaring_driver::pci::GroupState;

use super::{Fail, Good, Skipped, after, diagnose, expect};
use crate::{
    doctor::{Diagnosis, probe::probe},
    machine::{
        FunctionFacts,
        tree::{FUNCTION, Tree},
    },
};

#[test]
fn a_function_of_another_driver_is_not_opened_and_bind_is_named() {
    let tree = Tree::ready();
    tree.function(FUNCTION, "7", Some("ioatdma"));
    let findings = diagnose(&tree.machine(), &[]);
    let bind = "`sudo dmaring bind 0000:00:04.0`";
    expect(&findings, "driver", Fail, &[FUNCTION, "ioatdma and not vfio-pci", bind]);
    expect(&findings, "permission", Skipped, &[FUNCTION, "/dev/vfio/7"]);
    expect(&findings, "channel", Skipped, &[FUNCTION, "not bound"]);
    tree.remove("sys/module/vfio_pci");
    tree.remove("sys/bus/pci/drivers/vfio-pci");
    tree.remove("sys/bus/pci/devices/0000:00:04.0/driver");
    let findings = diagnose(&tree.machine(), &[]);
    expect(&findings, "driver", Fail, &["none", "`sudo modprobe vfio-pci`", bind]);
}

#[test]
fn a_function_in_use_is_not_opened_and_its_users_are_named() {
    let tree = Tree::ready();
    tree.process(812, "qemu\n", "/dev/vfio/7");
    let findings = diagnose(&tree.machine(), &[]);
    expect(&findings, "users", Fail, &[FUNCTION, "pid 812 (qemu)", "`sudo kill 812` ends it"]);
    expect(&findings, "channel", Skipped, &[FUNCTION, "in use"]);
    let tree = Tree::ready();
    tree.write("sys/class/dma/dma0chan0/in_use", "3\n");
    tree.link("sys/class/dma/dma0chan0/device", format!("../../{FUNCTION}"));
    let parts = ["dma0chan0", "in_use 3", "`sudo modprobe -r dmatest`"];
    expect(&diagnose(&tree.machine(), &[]), "users", Fail, &parts);
}

#[test]
fn other_functions_of_the_group_are_in_the_way_if_the_host_has_them() {
    let tree = Tree::ready();
    tree.function("0000:00:04.1", "7", Some("ioatdma"));
    tree.function("0000:00:04.2", "7", Some("e1000e"));
    tree.write("sys/bus/pci/devices/0000:00:04.2/device", "0x10d3\n");
    tree.function("0000:00:04.3", "7", None);
    let machine = tree.machine();
    let refused = |facts: &FunctionFacts| probe(facts, || Err(String::from("group 7")));
    let target = ["0000:00:04.0".parse().unwrap()];
    let findings = Diagnosis::of(&machine, &target, refused).findings;
    let parts = [
        "0000:00:04.1 (ioatdma)",
        "0000:00:04.2 (e1000e)",
        "`sudo dmaring bind 0000:00:04.1`",
        "`echo 0000:00:04.2 | sudo tee /sys/bus/pci/devices/0000:00:04.2/driver/unbind`",
    ];
    expect(&findings, "group members", Fail, &parts);
    expect(&findings, "channel", Fail, &["group 7"]);
    // The kernel knows better what is in the way.
    expect(&diagnose(&machine, &["0000:00:04.0"]), "group members", Good, &["the kernel"]);
}

#[test]
fn a_function_without_protection_is_not_opened() {
    let tree = Tree::ready();
    tree.write("sys/kernel/iommu_groups/7/name", "vfio-noiommu\n");
    let findings = diagnose(&tree.machine(), &[]);
    expect(&findings, "group", Fail, &[FUNCTION, "no-IOMMU mode"]);
    expect(&findings, "channel", Skipped, &["no IOMMU keeps"]);
    tree.remove("sys/bus/pci/devices/0000:00:04.0/iommu_group");
    let findings = diagnose(&tree.machine(), &[]);
    expect(&findings, "group", Fail, &[FUNCTION, "no IOMMU group", "dmesg"]);
    expect(&findings, "group members", Skipped, &["no group"]);
    tree.remove("sys/class/iommu");
    expect(&diagnose(&tree.machine(), &[]), "group", Skipped, &["no IOMMU is in use"]);
}

#[test]
fn the_node_of_a_group_may_be_missing_or_forbidden() {
    let missing = |tree: &Tree| tree.remove("dev/vfio/7");
    after(missing, "permission", Fail, &[FUNCTION, "no /dev/vfio/7", "udevadm"]);
    for (state, expected, part) in [
        (GroupState::Denied, Fail, "`sudo chown \"$USER\" /dev/vfio/7`"),
        (GroupState::Busy, Skipped, "in use"),
        (GroupState::Failed(std::io::Error::other("odd")), Fail, "odd"),
    ] {
        let mut machine = Tree::ready().machine();
        machine.functions.as_mut().unwrap()[0].node = Some(state);
        let findings = diagnose(&machine, &[]);
        expect(&findings, "permission", expected, &[FUNCTION, part]);
        expect(&findings, "channel", Skipped, &["may not be opened"]);
    }
}

#[test]
fn a_function_that_does_not_open_fails_with_why() {
    let machine = Tree::ready().machine();
    let fails = |facts: &FunctionFacts| probe(facts, || Err(String::from("XFERCAP is 0")));
    let findings = Diagnosis::of(&machine, &[], fails).findings;
    expect(&findings, "channel", Fail, &[FUNCTION, "XFERCAP is 0", "`sudo dmesg"]);
}
