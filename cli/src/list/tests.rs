use serde_json::Value;

use super::Inventory;
use crate::machine::tree::{FUNCTION, Tree};

fn inventory(tree: &Tree) -> (String, Value) {
    let inventory = Inventory::look(&tree.roots());
    (inventory.to_string(), serde_json::to_value(&inventory).unwrap())
}

#[track_caller]
fn expect(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in\n{text}");
    }
}

#[test]
fn what_is_ready_lacks_nothing() {
    let (text, json) = inventory(&Tree::ready());
    let lines: Vec<_> = text.lines().collect();
    let [header, function, device_header, device, limits, ..] = lines.as_slice() else {
        panic!("{text}")
    };
    expect(header, &["FUNCTION", "IDS", "PLATFORM", "NODE", "GROUP", "DRIVER", "USED BY"]);
    expect(function, &[FUNCTION, "8086:2021", "Skylake-SP", " 0 ", " 7 ", "vfio-pci"]);
    expect(device_header, &["DEVICE", "SIZE", "ALIGNMENT", "NODE", "PERSISTENCE", "DRIVER"]);
    expect(device, &["dax0.0", "126 MiB", "2 MiB", " 0 ", "memory_controller", "device_dax"]);
    expect(limits, &["LIMIT", "IN USE", "MOST", "SET BY"]);
    let function = &json["functions"][0];
    assert_eq!((&function["vendor"], &function["device"]), (&0x8086.into(), &0x2021.into()));
    assert_eq!((&function["numa_node"], &function["iommu_group"]), (&0.into(), &7.into()));
    assert_eq!(function["missing"], Value::Array(Vec::new()));
    let device = &json["devices"][0];
    assert_eq!((&device["size"], &device["align"]), (&132_120_576.into(), &2_097_152.into()));
    assert_eq!(device["missing"], Value::Array(Vec::new()));
}

#[test]
fn what_is_missing_is_listed_with_the_command() {
    let tree = Tree::ready();
    tree.function(FUNCTION, "7", Some("ioatdma"));
    tree.function("0000:00:04.1", "8", Some("vfio-pci"));
    tree.write("dev/vfio/8", "");
    tree.process(812, "qemu", "/dev/vfio/8");
    tree.remove("sys/module/vfio_iommu_type1");
    tree.device("dax1.0", "2097152", Some("kmem"));
    tree.namespace("namespace1.0", "memory");
    let (text, json) = inventory(&tree);
    expect(
        &text,
        &[
            "missing: driver: ioatdma and not vfio-pci: `sudo dmaring bind 0000:00:04.0`",
            "missing: users: in use by pid 812 (qemu)",
            "before any can be used: module vfio_iommu_type1: not loaded: `sudo modprobe",
            "missing: mode: the kernel uses it as system memory: `sudo daxctl",
            "for devdax: `sudo ndctl create-namespace -f -e namespace1.0 -m devdax`, which ERASES",
        ],
    );
    assert_eq!(json["functions"][0]["missing"][0]["check"], "driver");
    assert_eq!(json["functions"][1]["users"][0], "pid 812 (qemu)");
    assert_eq!(json["missing"][0]["subject"], "vfio_iommu_type1");
    assert_eq!(json["devices"][1]["missing"][0]["check"], "mode");
    let namespace = &json["namespaces"][0];
    assert_eq!(
        (&namespace["mode"], &namespace["block_device"]),
        (&"fsdax".into(), &"pmem0".into())
    );
}

#[test]
fn a_machine_with_nothing_is_said_to_have_nothing() {
    let (text, json) = inventory(&Tree::empty());
    assert_eq!(text.lines().take_while(|line| !line.starts_with("LIMIT")).count(), 2, "{text}");
    expect(&text, &["no I/OAT functions", "--engine emulated", "no devdax devices"]);
    assert_eq!(json["missing"], Value::Array(Vec::new()));
}

#[test]
fn a_list_that_cannot_be_had_takes_none_of_the_others_with_it() {
    for (list, path) in [
        ("I/OAT functions", format!("bus/pci/devices/{FUNCTION}/numa_node")),
        ("devdax devices", "bus/dax/devices/dax0.0/size".to_owned()),
        ("namespaces", "bus/nd/devices/namespace0.0/size".to_owned()),
    ] {
        let tree = Tree::ready();
        tree.write(&format!("sys/{path}"), "odd");
        let (text, json) = inventory(&tree);
        let row = format!("{list} cannot be listed: ");
        let count = text.lines().filter(|line| line.starts_with(&row) && line.contains(&path));
        assert_eq!(count.count(), 1, "{text}");
        assert!(!text.contains(&format!("no {list}")), "{text}");
        assert_eq!(text.contains("8086:2021"), list != "I/OAT functions", "{text}");
        assert_eq!(text.contains("126 MiB"), list != "devdax devices", "{text}");
        assert_eq!(json["unlisted"][0]["list"], list);
    }
}

#[test]
fn listing_opens_no_group() {
    let tree = Tree::ready();
    // A directory has permissions, and cannot be opened for writing by anybody.
    tree.remove("dev/vfio/7");
    tree.write("dev/vfio/7/none", "");
    let (_, json) = inventory(&tree);
    assert_eq!(json["functions"][0]["missing"], Value::Array(Vec::new()));
}

#[test]
fn limits_are_listed_with_what_sets_them() {
    let tree = Tree::ready();
    tree.write("sys/module/vfio_iommu_type1/parameters/dma_entry_limit", "65535\n");
    tree.write("sys/class/iommu/dmar0/intel-iommu/cap", "d2008c22260286\n");
    tree.write("sys/class/iommu/dmar1/intel-iommu/cap", "d2008c222f0286\n");
    tree.write("proc/self/status", "VmLck:\t     64 kB\nCapEff:\t0000000000000000\n");
    tree.write(
        "proc/self/limits",
        "Max locked memory         8388608              8388608              bytes\n\
         Max address space         unlimited            unlimited            bytes\n",
    );
    let (text, json) = inventory(&tree);
    let row = |name: &str| text.lines().find(|line| line.starts_with(name)).unwrap().to_owned();
    expect(&row("mappings of a container"), &["65535", "dma_entry_limit"]);
    expect(&row("locked memory"), &["64 KiB", "8 MiB", "RLIMIT_MEMLOCK"]);
    // The narrowest unit counts, and no more than what every channel can name.
    expect(&row("device addresses"), &["512 GiB", "I/OAT"]);
    expect(&row("length of a region"), &["address space"]);
    expect(&row("operations in a ring"), &["32768"]);
    let limits = &json["limits"];
    assert_eq!(limits["mappings"], 65_535);
    assert_eq!(
        (&limits["locked_memory"]["used"], &limits["locked_memory"]["most"]),
        (&65_536.into(), &8_388_608.into())
    );
    assert_eq!(limits["device_address_bytes"], 1_u64 << 39);
    assert_eq!(limits["iommu_address_bits"], 39);
    assert_eq!(limits["ring_entries"], 32_768);
    tree.write("proc/self/status", "CapEff:\t0000000000004000\n");
    let (text, json) = inventory(&tree);
    assert!(text.contains("CAP_IPC_LOCK"), "{text}");
    assert_eq!(json["limits"]["locked_memory"]["most"], Value::Null);
}

#[test]
fn limits_that_are_not_known_are_said_to_be_unknown() {
    let (text, json) = inventory(&Tree::empty());
    expect(&text, &["mappings of a container", "unknown"]);
    assert_eq!(json["limits"]["mappings"], Value::Null);
    assert_eq!(json["limits"]["iommu_address_bits"], Value::Null);
}
