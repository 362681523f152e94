use std::{fs, path::Path};

use tempfile::TempDir;

use super::{DeviceMemory, PeerBar, PeerError};
use crate::pci::{Address, Sysfs};

const RESOURCES: &str = "\
0x00000000febf1000 0x00000000febf10ff 0x0000000000040200
0x000000000000c000 0x000000000000c01f 0x0000000000040101
0x000000c000000000 0x000000c00000ffff 0x000000000014220c
0x0000000000000000 0x0000000000000000 0x0000000000000000
0x00000000fe000000 0x00000000fe000fff 0x0000000000040200
0x0000000000000000 0x00000000003fffff 0x0000000020042208
0x0000000000000000 0x0000000000000000 0x0000000000000000
";

fn address() -> Address {
    "0000:00:0b.0".parse().unwrap()
}

/// A function whose BARs are files.
fn tree() -> (TempDir, Sysfs) {
    let root = TempDir::new().unwrap();
    let directory = root.path().join("bus/pci/devices/0000:00:0b.0");
    fs::create_dir_all(&directory).unwrap();
    let write = |name: &str, text: &[u8]| fs::write(directory.join(name), text).unwrap();
    for (name, text) in [
        ("vendor", "0x1af4\n"),
        ("device", "0x1110\n"),
        ("class", "0x050000\n"),
        ("revision", "0x01\n"),
        ("numa_node", "1\n"),
        ("resource", RESOURCES),
        ("power_state", "D0\n"),
    ] {
        write(name, text.as_bytes());
    }
    write("config", &[0xf4, 0x1a, 0x10, 0x11, 0x02, 0x00]);
    write("resource2", &vec![0; 65536]);
    write("resource4", &vec![0; 4096]);
    let sysfs = Sysfs::at(root.path());
    (root, sysfs)
}

fn write(root: &TempDir, name: &str, text: &[u8]) {
    fs::write(root.path().join("bus/pci/devices/0000:00:0b.0").join(name), text).unwrap();
}

#[test]
fn a_bar_is_mapped_with_what_is_known_of_it() {
    let (root, sysfs) = tree();
    let bar = PeerBar::open_in(&sysfs, address(), 2).unwrap();
    assert_eq!((bar.len(), bar.is_empty(), bar.name()), (65536, false, "0000:00:0b.0 BAR 2"));
    assert!(bar.prefetchable());
    assert_eq!((bar.bus_address(), bar.numa_node()), (Some(0xc0_0000_0000), Some(1)));
    assert!(!PeerBar::open_in(&sysfs, address(), 4).unwrap().prefetchable());
    // No power state, or one that is not known, is no reason.
    write(&root, "power_state", b"unknown\n");
    PeerBar::open_in(&sysfs, address(), 2).unwrap();
}

#[test]
fn what_no_device_can_be_given_is_refused_with_why() {
    let (root, sysfs) = tree();
    let refused = |bar| PeerBar::open_in(&sysfs, address(), bar).unwrap_err();
    let says = |bar, words: &[&str]| {
        let text = refused(bar).to_string();
        assert!(words.iter().all(|word| text.contains(word)), "{text}");
    };
    assert!(matches!(refused(0), PeerError::Pages { bytes: 256, .. }));
    says(0, &["256 bytes", "4096"]);
    assert!(matches!(refused(1), PeerError::Ports { .. }));
    says(1, &["I/O ports", "lspci -vs 0000:00:0b.0"]);
    assert!(matches!(refused(3), PeerError::Empty { .. }));
    says(5, &["0 bytes", "the firmware gave it no address"]);
    assert!(matches!(refused(6), PeerError::NoBar { .. }));
    let elsewhere = PeerBar::open_in(&sysfs, "0000:00:0c.0".parse().unwrap(), 2).unwrap_err();
    assert!(matches!(elsewhere, PeerError::Sysfs(_)));

    write(&root, "power_state", b"D3hot\n");
    says(2, &["D3hot", "power/control"]);
    write(&root, "power_state", b"D0\n");
    write(&root, "config", &[0; 64]);
    assert!(matches!(refused(2), PeerError::NotDecoding { .. }));
    says(2, &["/sys/bus/pci/devices/0000:00:0b.0/enable"]);
    write(&root, "enable", b"0\n");
    says(2, &["echo 1 | sudo tee"]);
    write(&root, "enable", b"2\n");
    says(2, &["setpci -s 0000:00:0b.0 COMMAND=2:2"]);
    write(&root, "config", &[0xff; 64]);
    fs::remove_file(root.path().join("bus/pci/devices/0000:00:0b.0/resource2")).unwrap();
    assert!(matches!(refused(2), PeerError::Map { .. }));
    write(&root, "resource", b"nonsense\n");
    assert!(matches!(refused(2), PeerError::Sysfs(_)));
}

#[test]
fn what_the_kernel_refuses_is_explained() {
    let map = |errno| PeerError::Map {
        path: Path::new("/sys/resource2").to_owned(),
        source: std::io::Error::from_raw_os_error(errno),
    };
    assert!(map(22).to_string().contains("claimed"));
    assert!(map(1).to_string().contains("locked down"));
    assert!(map(19).to_string().contains("through sysfs"));
}
