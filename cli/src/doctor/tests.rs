mod function;
mod memory;

use super::{
    Diagnosis,
    finding::{Finding, State},
    probe::{Probed, probe},
};
use crate::{
    args::Target,
    machine::{
        Access, FunctionFacts, Machine,
        tree::{FUNCTION, Tree},
    },
};

fn opened(facts: &FunctionFacts) -> Probed {
    probe(facts, || Ok(String::from("version 3.3")))
}

fn diagnose(machine: &Machine, targets: &[&str]) -> Vec<Finding> {
    let targets: Vec<Target> = targets.iter().map(|text| text.parse().unwrap()).collect();
    Diagnosis::of(machine, &targets, opened).findings
}

/// The one finding of a check that has this state and all these parts.
#[track_caller]
fn expect(findings: &[Finding], check: &str, state: State, parts: &[&str]) {
    let fits = |finding: &&Finding| {
        let line = finding.to_string();
        finding.check == check
            && finding.state == state
            && line.lines().count() == 1
            && parts.iter().all(|part| line.contains(part))
    };
    let count = findings.iter().filter(fits).count();
    let lines: Vec<_> = findings.iter().map(ToString::to_string).collect();
    assert_eq!(count, 1, "{check} {parts:?} in\n{}", lines.join("\n"));
}

/// What a change of the ready machine is found as.
#[track_caller]
fn after(change: impl FnOnce(&Tree), check: &str, state: State, parts: &[&str]) {
    let tree = Tree::ready();
    change(&tree);
    expect(&diagnose(&tree.machine(), &[]), check, state, parts);
}

use State::{Fail, Ok as Good, Skipped, Warn};

#[test]
fn a_machine_that_has_everything_is_ok_in_every_check() {
    let findings = diagnose(&Tree::ready().machine(), &[]);
    for finding in &findings {
        assert!(finding.state == Good && finding.remedy.is_none(), "{finding}");
    }
    for (check, parts) in [
        ("kernel", &["Linux 6.1.0-13-amd64"] as &[&str]),
        ("cpus", &["4"]),
        ("write-back", &["clwb, clflushopt"]),
        ("iommu", &["dmar0 (Intel VT-d)"]),
        ("no-IOMMU mode", &["off"]),
        ("module", &["vfio_pci"]),
        ("module", &["vfio_iommu_type1"]),
        ("container", &["/dev/vfio/vfio"]),
        ("locked memory", &["unlimited"]),
        ("I/OAT functions", &["1"]),
        ("devdax devices", &["1"]),
        ("platform", &[FUNCTION, "Skylake-SP (8086:2021)", "node 0"]),
        ("group", &[FUNCTION, "7"]),
        ("group members", &[FUNCTION, "none"]),
        ("driver", &[FUNCTION, "vfio-pci"]),
        ("users", &[FUNCTION, "none"]),
        ("permission", &[FUNCTION, "/dev/vfio/7"]),
        ("channel", &[FUNCTION, "version 3.3"]),
        ("mode", &["dax0.0", "126 MiB", "memory_controller"]),
        ("permission", &["dax0.0", "/dev/dax0.0"]),
        ("alignment", &["dax0.0", "2 MiB"]),
        ("distance", &["dax0.0", "node, 0"]),
    ] {
        expect(&findings, check, Good, parts);
    }
}

#[test]
fn a_machine_that_has_nothing_is_told_so_without_a_panic() {
    let findings = diagnose(&Tree::empty().machine(), &[]);
    for (check, state, parts) in [
        ("kernel", Warn, &["cannot be read"] as &[&str]),
        ("cpus", Skipped, &["does not say"]),
        ("write-back", Skipped, &["no such instruction"]),
        ("iommu", Fail, &["firmware", "intel_iommu=on", "`sudo update-grub`"]),
        ("module", Fail, &["vfio module:", "`sudo modprobe vfio`"]),
        ("module", Fail, &["vfio_iommu_type1 module:", "`sudo modprobe vfio_iommu_type1`"]),
        ("module", Fail, &["vfio_pci module:", "`sudo modprobe vfio-pci`"]),
        ("container", Skipped, &["without the module vfio"]),
        ("locked memory", Skipped, &["does not say"]),
        ("I/OAT functions", Fail, &["none", "CPU engine", "--engine emulated"]),
        ("devdax devices", Warn, &["none", "`sudo ndctl create-namespace -m devdax`"]),
    ] {
        expect(&findings, check, state, parts);
    }
}

#[test]
fn what_is_wrong_with_the_host_is_named_with_its_remedy() {
    after(
        |tree| tree.write("proc/sys/kernel/osrelease", "5.0.21\n"),
        "kernel",
        Warn,
        &["Linux 5.0.21", "io_uring", "Linux 5.1"],
    );
    after(|tree| tree.write("proc/sys/kernel/osrelease", "unheard"), "kernel", Good, &["unheard"]);
    let one = |tree: &Tree| {
        tree.write("proc/self/status", "Cpus_allowed_list:\t3\nCapEff:\t0\n");
    };
    after(one, "cpus", Warn, &["may use 1", "`taskset -cp 0-3 $$`"]);
    let only = |tree: &Tree| {
        one(tree);
        tree.write("sys/devices/system/cpu/online", "0\n");
    };
    after(only, "cpus", Warn, &["may use 1", "no other"]);
    after(
        |tree| tree.write("proc/cpuinfo", "flags : clflush\n"),
        "write-back",
        Warn,
        &["clflush alone"],
    );
}

#[test]
fn locked_memory_is_held_against_rings_and_memory_and_not_against_devices() {
    let limit = |tree: &Tree, bytes: u64| {
        tree.write("proc/self/limits", &format!("Max locked memory {bytes} unlimited bytes\n"));
    };
    let check = "locked memory";
    let (ring, usual) = (69_632, 135_168 + (64 << 20));
    let remedy = "`ulimit -l 65668`";
    after(|tree| limit(tree, ring - 1), check, Fail, &["69631 bytes", "69632 bytes", remedy]);
    after(|tree| limit(tree, ring), check, Warn, &["devdax, which is not counted", remedy]);
    after(|tree| limit(tree, usual - 1), check, Warn, &["64 MiB", remedy]);
    after(|tree| limit(tree, usual), check, Good, &["RLIMIT_MEMLOCK"]);
    let two = |tree: &Tree| {
        limit(tree, usual);
        tree.function("0000:00:04.1", "8", Some("ioatdma"));
    };
    after(two, check, Warn, &["64 MiB"]);
    let privileged = |tree: &Tree| {
        limit(tree, 1);
        tree.write("proc/self/status", "CapEff:\t000001ffffffffff\n");
    };
    after(privileged, check, Good, &["CAP_IPC_LOCK"]);
}

#[test]
fn an_iommu_that_is_not_in_use_is_explained() {
    let without = |tree: &Tree, parameters: &str| {
        tree.remove("sys/class/iommu/dmar0");
        tree.write("proc/cmdline", parameters);
    };
    let on = "put intel_iommu=on";
    after(|tree| without(tree, "quiet"), "iommu", Fail, &["describes VT-d", on, "GRUB"]);
    after(|tree| without(tree, "intel_iommu=on"), "iommu", Fail, &["is set", "dmesg"]);
    after(|tree| without(tree, "a intel_iommu=off"), "iommu", Fail, &["intel_iommu=off", on]);
    let firmware = |tree: &Tree| {
        without(tree, "intel_iommu=on");
        tree.remove("sys/firmware");
    };
    after(firmware, "iommu", Fail, &["the firmware describes none", "enable VT-d"]);
    let mode = "sys/module/vfio/parameters/enable_unsafe_noiommu_mode";
    after(|tree| tree.write(mode, "Y\n"), "no-IOMMU mode", Warn, &["on", "`echo 0 | sudo tee"]);
}

#[test]
fn what_is_wrong_with_vfio_is_named_with_its_remedy() {
    let without = |tree: &Tree| {
        tree.remove("sys/module/vfio_pci");
        tree.remove("sys/bus/pci/drivers/vfio-pci");
    };
    after(without, "module", Fail, &["vfio_pci", "`sudo modprobe vfio-pci`"]);
    after(|tree| tree.remove("sys/module/vfio_pci"), "module", Good, &["vfio_pci"]);
    let missing = |tree: &Tree| tree.remove("dev/vfio/vfio");
    after(missing, "container", Fail, &["no /dev/vfio/vfio", "udevadm"]);
    let mut machine = Tree::ready().machine();
    machine.host.vfio = Access::Denied;
    expect(&diagnose(&machine, &[]), "container", Fail, &["`sudo chmod 666 /dev/vfio/vfio`"]);
    machine.host.vfio = Access::Failed(String::from("odd"));
    expect(&diagnose(&machine, &[]), "container", Fail, &["odd", "modprobe vfio"]);
}

#[test]
fn named_targets_are_looked_at_alone() {
    let tree = Tree::ready();
    tree.function("0000:80:04.0", "9", Some("ioatdma"));
    tree.namespace("namespace1.0", "memory");
    let machine = tree.machine();
    let findings = diagnose(&machine, &[FUNCTION]);
    assert!(findings.iter().all(|finding| finding.state == Good), "{findings:?}");
    expect(&findings, "iommu", Good, &[]);
    assert!(!findings.iter().any(|finding| finding.check == "alignment"));
    let findings = diagnose(&machine, &["/dev/dax0.0"]);
    assert!(findings.iter().all(|finding| finding.state == Good), "{findings:?}");
    assert!(!findings.iter().any(|finding| ["iommu", "driver"].contains(&finding.check)));
    let findings = diagnose(&machine, &["0000:00:05.0", "/dev/dax1.0"]);
    expect(&findings, "presence", Fail, &["0000:00:05.0", "`dmaring list`"]);
    expect(&findings, "presence", Fail, &["dax1.0", "`dmaring list`"]);
}

#[test]
fn odd_trees_are_findings() {
    let odd = |tree: &Tree| tree.write(&format!("sys/bus/pci/devices/{FUNCTION}/vendor"), "odd");
    after(odd, "I/OAT functions", Fail, &["vendor", "odd"]);
    let odd = |tree: &Tree| tree.write("sys/bus/dax/devices/dax0.0/align", "3");
    after(odd, "devdax devices", Fail, &["alignment of 3"]);
    let odd = |tree: &Tree| tree.write("sys/bus/nd/devices/namespace0.0/size", "odd");
    after(odd, "namespaces", Fail, &["odd"]);
    let tree = Tree::ready();
    for path in ["proc/self/status", "proc/self/limits", "proc/cpuinfo", "proc/cmdline"] {
        tree.write(path, "\u{0}\u{1}:::--\n");
    }
    expect(&diagnose(&tree.machine(), &[]), "locked memory", Skipped, &[]);
}
