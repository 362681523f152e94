//! Devdax devices, what could become one, and where they are.

use dmaring::dax::{Mode, Namespace};

use crate::{
    doctor::finding::Finding,
    machine::{Access, DeviceFacts, FunctionFacts},
    size,
};

/// Whether there is any.
pub(crate) fn presence(devices: &[DeviceFacts]) -> Finding {
    const CHECK: &str = "devdax devices";
    match devices.len() {
        0 => Finding::warn(
            CHECK,
            "none: files and memory can be copied",
            "`sudo ndctl create-namespace -m devdax` makes one where persistent memory is free",
        ),
        many => Finding::ok(CHECK, many),
    }
}

/// Whether a device can be opened and mapped.
pub(crate) fn device(facts: &DeviceFacts) -> Vec<Finding> {
    [mode(facts), permission(facts), alignment(facts)]
        .into_iter()
        .map(|finding| finding.of(&facts.device.name))
        .collect()
}

fn mode(facts: &DeviceFacts) -> Finding {
    const CHECK: &str = "mode";
    let device = &facts.device;
    let name = &device.name;
    match device.driver.as_deref() {
        Some("device_dax") => {
            let domain = device.persistence_domain.as_deref().unwrap_or("unknown");
            Finding::ok(
                CHECK,
                format_args!("devdax, {}, persistence domain {domain}", size::format(device.size)),
            )
        }
        Some("kmem") => Finding::fail(
            CHECK,
            "the kernel uses it as system memory",
            format_args!("`sudo daxctl reconfigure-device --mode=devdax {name}`"),
        ),
        Some(driver) => Finding::fail(
            CHECK,
            format_args!("the driver {driver} has it and not device_dax"),
            format_args!("`sudo daxctl reconfigure-device --mode=devdax {name}`"),
        ),
        None => Finding::fail(
            CHECK,
            "no driver has it",
            format_args!("`sudo modprobe device_dax`, then `sudo daxctl enable-device {name}`"),
        ),
    }
}

fn permission(facts: &DeviceFacts) -> Finding {
    const CHECK: &str = "permission";
    let node = format!("/dev/{}", facts.device.name);
    if facts.device.driver.as_deref() != Some("device_dax") {
        return Finding::skipped(CHECK, format_args!("{node} appears in devdax mode"));
    }
    match &facts.access {
        Access::Granted => Finding::ok(CHECK, format_args!("{node} can be opened")),
        Access::Denied => Finding::fail(
            CHECK,
            format_args!("{node} may not be opened"),
            format_args!("`sudo chown \"$USER\" {node}`"),
        ),
        Access::Missing => Finding::fail(
            CHECK,
            format_args!("there is no {node}"),
            "`sudo udevadm trigger --settle`, or mount devtmpfs at /dev",
        ),
        Access::Failed(why) => Finding::fail(
            CHECK,
            format_args!("{node} cannot be opened: {why}"),
            "`sudo dmesg | tail` may say more",
        ),
    }
}

fn alignment(facts: &DeviceFacts) -> Finding {
    const CHECK: &str = "alignment";
    let (bytes, align) = (facts.device.size, facts.device.align);
    let (shown, unit) = (size::format(bytes), size::format(align));
    if bytes == 0 {
        return Finding::fail(
            CHECK,
            "it has 0 bytes",
            format_args!("`sudo daxctl reconfigure-device --size=SIZE {}`", facts.device.name),
        );
    }
    // The runtime reads sysfs and takes powers of two only.
    if bytes % align != 0 {
        let whole = bytes - bytes % align;
        return Finding::fail(
            CHECK,
            format_args!("{shown} is no multiple of its alignment, {unit}"),
            format_args!("open the first {whole} bytes as a range"),
        );
    }
    Finding::ok(CHECK, format_args!("mappings begin at multiples of {unit}"))
}

/// A namespace that is no devdax device but could be one.
pub(crate) fn namespace(namespace: &Namespace) -> Option<Finding> {
    if namespace.mode == Mode::Devdax {
        return None;
    }
    let name = &namespace.name;
    let block = match &namespace.block_device {
        Some(block) => format!(" as /dev/{block}"),
        None => String::new(),
    };
    let finding = Finding::warn(
        "mode",
        format_args!(
            "{}{block}, {}: its files are copied through staging buffers",
            namespace.mode,
            size::format(namespace.size)
        ),
        conversion(namespace),
    );
    Some(finding.of(name))
}

/// The command that makes a devdax device of a namespace.
pub(crate) fn conversion(namespace: &Namespace) -> String {
    format!(
        "`sudo ndctl create-namespace -f -e {} -m devdax`, which ERASES what is in it",
        namespace.name
    )
}

/// Whether a device has a function on its own node.
pub(crate) fn distance(facts: &DeviceFacts, functions: &[FunctionFacts]) -> Finding {
    let nodes: Vec<_> = functions.iter().filter_map(|one| one.function.numa_node).collect();
    let finding = match facts.device.numa_node {
        _ if nodes.is_empty() => Finding::skipped("distance", "no function's NUMA node is known"),
        None => Finding::skipped("distance", "its NUMA node is unknown"),
        Some(node) if nodes.contains(&node) => {
            Finding::ok("distance", format_args!("a function is on its NUMA node, {node}"))
        }
        Some(node) => Finding::warn(
            "distance",
            format_args!("it is on NUMA node {node}, and no function is: copies cross sockets"),
            "`dmaring list` shows the node of every function and device",
        ),
    };
    finding.of(&facts.device.name)
}
