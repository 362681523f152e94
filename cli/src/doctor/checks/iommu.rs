//! The IOMMU and VFIO.

use crate::{
    doctor::finding::Finding,
    machine::{Access, Host, MODULES},
};

/// How the kernel's command line is changed.
const REBOOT: &str =
    "in GRUB_CMDLINE_LINUX of /etc/default/grub, then `sudo update-grub` and reboot";

pub(crate) fn iommu(host: &Host) -> Finding {
    const CHECK: &str = "iommu";
    if !host.iommus.is_empty() {
        let vendor = match host.iommus[0].as_str() {
            name if name.starts_with("dmar") => " (Intel VT-d)",
            name if name.starts_with("ivhd") => " (AMD-Vi)",
            _ => "",
        };
        return Finding::ok(CHECK, format_args!("{}{vendor}", host.iommus.join(", ")));
    }
    let has = |parameter: &str| host.parameters.iter().any(|word| word == parameter);
    let off = ["intel_iommu=off", "iommu=off"].into_iter().find(|word| has(word));
    if let Some(off) = off {
        return Finding::fail(
            CHECK,
            format_args!("turned off by {off} on the kernel's command line"),
            format_args!("put intel_iommu=on in its place {REBOOT}"),
        );
    }
    if !host.describes_vtd {
        return Finding::fail(
            CHECK,
            "none, and the firmware describes none",
            format_args!("enable VT-d in the firmware, and put intel_iommu=on {REBOOT}"),
        );
    }
    if has("intel_iommu=on") {
        return Finding::fail(
            CHECK,
            "none in use, though the firmware describes VT-d and intel_iommu=on is set",
            "`sudo dmesg | grep -e DMAR -e IOMMU` says why",
        );
    }
    Finding::fail(
        CHECK,
        "none in use, though the firmware describes VT-d",
        format_args!("put intel_iommu=on {REBOOT}"),
    )
}

pub(crate) fn modules(host: &Host) -> Vec<Finding> {
    MODULES
        .into_iter()
        .map(|name| {
            if host.modules.contains(name) {
                return Finding::ok("module", "loaded or built in").of(name);
            }
            // Modules are loaded under either spelling.
            let command = format!("`sudo modprobe {}`", name.replace("vfio_pci", "vfio-pci"));
            Finding::fail("module", "not loaded", command).of(name)
        })
        .collect()
}

pub(crate) fn container(host: &Host) -> Finding {
    const CHECK: &str = "container";
    const NODE: &str = "/dev/vfio/vfio";
    match &host.vfio {
        Access::Granted => Finding::ok(CHECK, format_args!("{NODE} can be opened")),
        Access::Missing if !host.modules.contains("vfio") => {
            Finding::skipped(CHECK, format_args!("there is no {NODE} without the module vfio"))
        }
        Access::Missing => Finding::fail(
            CHECK,
            format_args!("there is no {NODE}"),
            "`sudo udevadm trigger --settle`, or mount devtmpfs at /dev",
        ),
        Access::Denied => Finding::fail(
            CHECK,
            format_args!("{NODE} may not be opened"),
            format_args!("`sudo chmod 666 {NODE}`, which gives away no device"),
        ),
        Access::Failed(why) => Finding::fail(
            CHECK,
            format_args!("{NODE} cannot be opened: {why}"),
            "`sudo modprobe vfio`",
        ),
    }
}

pub(crate) fn no_iommu_mode(host: &Host) -> Finding {
    const CHECK: &str = "no-IOMMU mode";
    if !host.no_iommu_mode {
        return Finding::ok(CHECK, "off");
    }
    Finding::warn(
        CHECK,
        "on, which dmaring never uses: functions reach all memory in it",
        "`echo 0 | sudo tee /sys/module/vfio/parameters/enable_unsafe_noiommu_mode`",
    )
}
