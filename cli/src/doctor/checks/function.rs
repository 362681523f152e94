//! One I/OAT function, and whether there is any.

use dmaring_driver::pci::{Function, GroupState, Holder};

use crate::{
    doctor::{finding::Finding, probe::Probed},
    machine::{FunctionFacts, Host},
};

/// Whether there is any.
pub(crate) fn presence(functions: &[FunctionFacts]) -> Finding {
    const CHECK: &str = "I/OAT functions";
    match functions.len() {
        0 => Finding::fail(
            CHECK,
            "none on this machine",
            "Intel Xeons before Sapphire Rapids have them, unless the firmware hides them (CBDMA or I/OAT in its setup); \
             the CPU engine and `dmaring copy --engine emulated` work all the same",
        ),
        1 => Finding::ok(CHECK, "1"),
        many => Finding::ok(CHECK, many),
    }
}

/// What the facts say of one, and what opening it showed, where that was tried. Whatever fails here keeps it from being
/// opened.
pub(crate) fn all(host: &Host, facts: &FunctionFacts, probed: Option<&Probed>) -> Vec<Finding> {
    [
        platform(facts),
        group(host, facts),
        viability(facts, probed),
        driver(host, facts),
        users(facts),
        node(facts),
    ]
    .into_iter()
    .map(|finding| finding.of(facts.function.address))
    .collect()
}

/// What opening it showed.
pub(crate) fn channel(facts: &FunctionFacts, probed: &Probed) -> Finding {
    const CHECK: &str = "channel";
    let finding = match probed {
        Probed::Opened(description) => Finding::ok(CHECK, description),
        Probed::Skipped(because) => Finding::skipped(CHECK, because),
        Probed::Failed(why) => Finding::fail(
            CHECK,
            format_args!("it does not open: {why}"),
            format_args!(
                "`sudo dmesg | tail` may say more; `sudo dmaring unbind {}` gives it back",
                facts.function.address
            ),
        ),
    };
    finding.of(facts.function.address)
}

fn platform(facts: &FunctionFacts) -> Finding {
    let Function { vendor, device, numa_node, .. } = facts.function;
    let node = numa_node.map_or_else(|| String::from("unknown"), |node| node.to_string());
    let name = facts.function.platform().name();
    Finding::ok("platform", format_args!("{name} ({vendor:04x}:{device:04x}), NUMA node {node}"))
}

fn group(host: &Host, facts: &FunctionFacts) -> Finding {
    const CHECK: &str = "group";
    match facts.function.iommu_group {
        Some(group) if facts.unprotected => Finding::fail(
            CHECK,
            format_args!("{group}, of vfio's no-IOMMU mode, which has no mapping of memory"),
            "enable the IOMMU: see the check of it",
        ),
        Some(group) => Finding::ok(CHECK, format_args!("IOMMU group {group}")),
        None if host.iommus.is_empty() => Finding::skipped(CHECK, "no IOMMU is in use"),
        None => Finding::fail(
            CHECK,
            "in no IOMMU group: the IOMMU does not cover it",
            "`sudo dmesg | grep -e DMAR -e IOMMU` says what it covers",
        ),
    }
}

fn viability(facts: &FunctionFacts, probed: Option<&Probed>) -> Finding {
    const CHECK: &str = "group members";
    if facts.function.iommu_group.is_none() {
        return Finding::skipped(CHECK, "it is in no group");
    }
    if matches!(probed, Some(Probed::Opened(_))) {
        return Finding::ok(CHECK, "none is in the way: the kernel gives the group away");
    }
    if facts.in_the_way.is_empty() {
        return Finding::ok(CHECK, "none is in a host driver beside it");
    }
    let others: Vec<_> = facts.in_the_way.iter().map(named).collect();
    let commands: Vec<_> = facts.in_the_way.iter().map(release).collect();
    Finding::fail(
        CHECK,
        format_args!(
            "VFIO keeps the group back as long as host drivers have {}",
            others.join(" and ")
        ),
        commands.join(" and "),
    )
}

fn named(function: &Function) -> String {
    format!("{} ({})", function.address, function.driver.as_deref().unwrap_or("no driver"))
}

/// The command that takes a function from its driver.
pub(crate) fn release(function: &Function) -> String {
    let address = function.address;
    if function.is_ioat() {
        return format!("`sudo dmaring bind {address}`");
    }
    format!("`echo {address} | sudo tee /sys/bus/pci/devices/{address}/driver/unbind`")
}

fn driver(host: &Host, facts: &FunctionFacts) -> Finding {
    const CHECK: &str = "driver";
    if facts.is_bound() {
        return Finding::ok(CHECK, "vfio-pci");
    }
    let found = match &facts.function.driver {
        Some(driver) => format!("{driver} and not vfio-pci"),
        None => String::from("none, and vfio-pci is needed"),
    };
    let module =
        if host.modules.contains("vfio_pci") { "" } else { "`sudo modprobe vfio-pci`, then " };
    let address = facts.function.address;
    Finding::fail(CHECK, found, format_args!("{module}`sudo dmaring bind {address}`"))
}

fn users(facts: &FunctionFacts) -> Finding {
    const CHECK: &str = "users";
    if facts.holders.is_empty() {
        return Finding::ok(CHECK, "none");
    }
    let holders: Vec<_> = facts.holders.iter().map(ToString::to_string).collect();
    let mut remedies: Vec<_> = facts.holders.iter().map(Holder::remedy).collect();
    remedies.dedup();
    Finding::fail(CHECK, format_args!("in use by {}", holders.join(", ")), remedies.join(", "))
}

fn node(facts: &FunctionFacts) -> Finding {
    const CHECK: &str = "permission";
    let (Some(group), Some(state)) = (facts.function.iommu_group, &facts.node) else {
        return Finding::skipped(CHECK, "it is in no group");
    };
    let node = format!("/dev/vfio/{group}");
    match state {
        _ if !facts.is_bound() => {
            Finding::skipped(CHECK, format_args!("{node} appears when vfio-pci has it"))
        }
        GroupState::Free => Finding::ok(CHECK, format_args!("{node} can be opened")),
        GroupState::Busy => Finding::skipped(CHECK, format_args!("{node} is in use")),
        GroupState::Denied => Finding::fail(
            CHECK,
            format_args!("{node} may not be opened"),
            format_args!("`sudo chown \"$USER\" {node}`"),
        ),
        GroupState::Missing => Finding::fail(
            CHECK,
            format_args!("there is no {node}"),
            "`sudo udevadm trigger --settle`, or mount devtmpfs at /dev",
        ),
        GroupState::Failed(why) => Finding::fail(
            CHECK,
            format_args!("{node} cannot be opened: {why}"),
            "`sudo dmesg | tail` may say more",
        ),
        _ => Finding::fail(
            CHECK,
            format_args!("{node} is in a state that this version has no name for"),
            "`sudo dmesg | tail` may say more",
        ),
    }
}
