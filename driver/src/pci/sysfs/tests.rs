use dmaring_ioat_spec::device::Platform;

use super::{Sysfs, SysfsError};
use crate::pci::fake::Tree;

#[test]
fn a_function_is_what_its_attributes_say() {
    let tree = Tree::new();
    tree.function("0000:80:04.1", 0x2021).numa(1).group(42).driver("ioatdma");
    tree.function("0000:00:04.0", 0x2021).driver_override("vfio-pci");
    tree.function("0000:00:1f.0", 0xa1c1);
    let sysfs = tree.sysfs();
    let functions = sysfs.ioat_functions().unwrap();
    let [first, second] = functions.as_slice() else { panic!("{functions:?}") };
    assert_eq!(first.address.to_string(), "0000:00:04.0");
    assert_eq!((first.vendor, first.device, first.class), (0x8086, 0x2021, 0x08_8000));
    assert_eq!((first.revision, first.platform()), (7, Platform::SkylakeSp));
    assert_eq!((first.numa_node, first.iommu_group, first.driver.as_deref()), (None, None, None));
    assert_eq!(sysfs.driver_override(first.address).unwrap().as_deref(), Some("vfio-pci"));
    assert_eq!(second.address.to_string(), "0000:80:04.1");
    assert_eq!((second.numa_node, second.iommu_group), (Some(1), Some(42)));
    assert_eq!(second.driver.as_deref(), Some("ioatdma"));
    assert_eq!(sysfs.driver_override(second.address).unwrap(), None);
    let other = sysfs.function("0000:00:1f.0".parse().unwrap()).unwrap();
    assert!(!other.is_ioat());
}

#[test]
fn an_absent_function_is_refused_with_how_to_list_them() {
    let error = Tree::new().sysfs().function("0000:00:04.0".parse().unwrap()).unwrap_err();
    assert!(matches!(error, SysfsError::NoSuchFunction { .. }));
    let message = error.to_string();
    assert!(message.contains("0000:00:04.0") && message.contains("lspci -D"), "{message}");
}

#[test]
fn a_group_is_its_functions() {
    let tree = Tree::new();
    for address in ["0000:00:04.1", "0000:00:04.0"] {
        tree.function(address, 0x2021).group(7);
    }
    tree.function("0000:00:05.0", 0x2021).group(8);
    let members = tree.sysfs().group_members(7).unwrap();
    let addresses: Vec<_> = members.iter().map(|member| member.address.to_string()).collect();
    assert_eq!(addresses, ["0000:00:04.0", "0000:00:04.1"]);
    assert!(tree.sysfs().group_members(9).unwrap().is_empty());
    assert!(!tree.sysfs().is_no_iommu_group(7));
    tree.write("kernel/iommu_groups/7/name", "vfio-noiommu\n");
    assert!(tree.sysfs().is_no_iommu_group(7));
}

#[test]
fn an_iommu_is_there_when_a_unit_of_it_is() {
    let tree = Tree::new();
    assert!(!tree.sysfs().has_iommu());
    tree.write("class/iommu/dmar0/intel-iommu/version", "1:0");
    assert!(tree.sysfs().has_iommu());
    assert!(!tree.sysfs().has_driver("vfio-pci"));
    tree.vfio_pci();
    assert!(tree.sysfs().has_driver("vfio-pci"));
}

#[test]
fn the_channels_of_a_function_are_found_with_their_use() {
    let tree = Tree::new();
    tree.function("0000:00:04.0", 0x2021).channel("dma1chan0", 2).channel("dma0chan0", 0);
    tree.function("0000:00:04.1", 0x2021).channel("dma2chan0", 1);
    let channels = tree.sysfs().dma_channels("0000:00:04.0".parse().unwrap()).unwrap();
    let channels: Vec<_> =
        channels.iter().map(|channel| (channel.name.as_str(), channel.in_use)).collect();
    assert_eq!(channels, [("dma0chan0", 0), ("dma1chan0", 2)]);
}

#[test]
fn what_no_kernel_writes_is_an_error_that_names_the_file() {
    let path = "bus/pci/devices/0000:00:04.0";
    for (name, text) in [
        ("vendor", "8086"),
        ("vendor", "0x18086"),
        ("device", ""),
        ("class", "0xg"),
        ("revision", "0x100"),
        ("numa_node", "near"),
        ("numa_node", "-2"),
    ] {
        let tree = Tree::new();
        tree.function("0000:00:04.0", 0x2021);
        tree.write(&format!("{path}/{name}"), text);
        let error = tree.sysfs().ioat_functions().unwrap_err();
        assert!(matches!(error, SysfsError::Malformed { .. }), "{name} {text}: {error}");
        assert!(error.to_string().contains(name), "{error}");
    }
    let tree = Tree::new();
    tree.function("0000:00:04.0", 0x2021);
    tree.remove(&format!("{path}/device"));
    let error = tree.sysfs().function("0000:00:04.0".parse().unwrap()).unwrap_err();
    assert!(matches!(error, SysfsError::Io { .. }), "{error}");
}

#[test]
fn what_goes_meanwhile_is_not_listed_and_of_others_the_ids_alone_are_read() {
    let tree = Tree::new();
    tree.function("0000:00:04.0", 0x2021).group(7).channel("dma0chan0", 1);
    tree.function("0000:00:1f.0", 0xa1c1).attribute("numa_node", "odd").attribute("class", "odd");
    for link in ["bus/pci/devices/0000:00:05.0", "kernel/iommu_groups/7/devices/0000:00:05.0"] {
        let path = tree.root().join(link);
        std::os::unix::fs::symlink("../../../../devices/gone", path).unwrap();
    }
    // A channel of which only the link is left.
    tree.function("0000:00:04.1", 0x2021).channel("dma1chan0", 0);
    tree.remove("class/dma/dma1chan0/in_use");
    let sysfs = tree.sysfs();
    let functions = sysfs.ioat_functions().unwrap();
    let addresses: Vec<_> = functions.iter().map(|one| one.address.to_string()).collect();
    assert_eq!(addresses, ["0000:00:04.0", "0000:00:04.1"]);
    assert_eq!(sysfs.group_members(7).unwrap(), functions[..1]);
    assert_eq!(sysfs.dma_channels(functions[0].address).unwrap().len(), 1);
    assert_eq!(sysfs.dma_channels(functions[1].address).unwrap(), []);
}

#[test]
fn drivers_that_leave_dma_to_vfio_hold_no_group_back() {
    let tree = Tree::new();
    let held = |address: &str, driver: &str| {
        tree.function(address, 0x2021).driver(driver);
        tree.sysfs().function(address.parse().unwrap()).unwrap().holds_group_back()
    };
    for (number, driver) in
        ["vfio-pci", "mlx5_vfio_pci", "pci-stub", "pcieport"].into_iter().enumerate()
    {
        assert!(!held(&format!("0000:00:0{number}.0"), driver), "{driver}");
    }
    for (number, driver) in ["ioatdma", "shpchp"].into_iter().enumerate() {
        assert!(held(&format!("0000:01:0{number}.0"), driver), "{driver}");
    }
}

#[test]
fn an_empty_tree_has_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let sysfs = Sysfs::at(directory.path());
    assert!(sysfs.ioat_functions().unwrap().is_empty());
    assert!(sysfs.dma_channels("0000:00:04.0".parse().unwrap()).unwrap().is_empty());
}
