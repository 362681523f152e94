use super::{Fail, Skipped, Warn, after, diagnose, expect};
use crate::machine::{
    Access,
    tree::{FUNCTION, Tree},
};

#[test]
fn devices_in_another_mode_are_named_with_the_way_back() {
    let device = |driver| {
        move |tree: &Tree| {
            tree.remove("sys/bus/dax/devices/dax0.0/driver");
            tree.device("dax0.0", "132120576", driver);
        }
    };
    let reconfigure = "`sudo daxctl reconfigure-device --mode=devdax dax0.0`";
    after(device(Some("kmem")), "mode", Fail, &["system memory", reconfigure]);
    after(device(Some("other")), "mode", Fail, &["the driver other", reconfigure]);
    after(device(None), "mode", Fail, &["no driver", "`sudo daxctl enable-device dax0.0`"]);
    after(device(None), "permission", Skipped, &["dax0.0"]);
    let namespace = |tree: &Tree| tree.namespace("namespace1.0", "memory\n");
    let command = "`sudo ndctl create-namespace -f -e namespace1.0 -m devdax`";
    let parts = ["fsdax", "/dev/pmem0", "1 GiB", command, "ERASES"];
    after(namespace, "mode", Warn, &parts);
}

#[test]
fn what_is_wrong_with_a_device_is_named_with_its_remedy() {
    let missing = |tree: &Tree| tree.remove("dev/dax0.0");
    after(missing, "permission", Fail, &["no /dev/dax0.0"]);
    for (access, part) in [
        (Access::Denied, "`sudo chown \"$USER\" /dev/dax0.0`"),
        (Access::Failed(String::from("odd")), "odd"),
    ] {
        let mut machine = Tree::ready().machine();
        machine.devices.as_mut().unwrap()[0].access = access;
        expect(&diagnose(&machine, &[]), "permission", Fail, &["dax0.0", part]);
    }
    let sized = |size| move |tree: &Tree| tree.device("dax0.0", size, Some("device_dax"));
    after(sized("2097153"), "alignment", Fail, &["2097153", "2 MiB", "2097152 bytes"]);
    after(sized("0"), "alignment", Fail, &["0 bytes", "--size"]);
}

#[test]
fn devices_far_from_every_function_are_named() {
    let node = |node| move |tree: &Tree| tree.write("sys/bus/dax/devices/dax0.0/numa_node", node);
    after(node("1"), "distance", Warn, &["dax0.0", "node 1", "dmaring list"]);
    after(node("-1"), "distance", Skipped, &["unknown"]);
    let unknown = |tree: &Tree| {
        tree.write(&format!("sys/bus/pci/devices/{FUNCTION}/numa_node"), "-1\n");
    };
    after(unknown, "distance", Skipped, &["no function's"]);
}
