//! What is refused: each with exit code 2 before anything has changed, and with what mends it.

use crate::{
    failure::{Failure, Outcome},
    vm::{cases::copy::SKX, machine::Machine, steps::says},
};

/// Bytes of a device: 2 MiB less than its NVDIMM has.
const BYTES: &str = "132120576";

/// A function of a version that is not taken.
pub(crate) fn version(machine: &mut Machine) -> Outcome {
    refused_when_opened(machine, "08.0", &["version 2.0", "3.x"])
}

/// A function whose XFERCAP is 0.
pub(crate) fn transfer_limit(machine: &mut Machine) -> Outcome {
    refused_when_opened(machine, "09.0", &["XFERCAP is 0"])
}

/// What is no I/OAT function is neither bound nor opened.
pub(crate) fn not_ioat(machine: &mut Machine) -> Outcome {
    machine.bind(&[SKX])?;
    for command in ["bind", "copy --size 1MiB --engine"] {
        let command = format!("dmaring {command} 0000:00:1f.2");
        machine.refuses(&command, &["8086:2922", "no I/OAT function", "dmaring list"])?;
        let command = command.replace("1f.2", "1e.7");
        machine.refuses(&command, &["0000:00:1e.7", "dmaring list"])?;
    }
    machine.strip()
}

/// The modules are not loaded.
pub(crate) fn not_loaded(machine: &mut Machine) -> Outcome {
    machine.strip()?;
    machine.refuses(&format!("dmaring bind {SKX}"), &["modprobe vfio-pci"])?;
    machine.does("modprobe -a vfio-pci vfio_iommu_type1")?;
    let copy = format!("dmaring copy --engine {SKX} --size 1MiB");
    machine.refuses(&copy, &[SKX, "no driver", &format!("dmaring bind {SKX}")])?;
    machine.strip()
}

/// Another function of the group has a driver of the host.
pub(crate) fn not_viable(machine: &mut Machine) -> Outcome {
    let (ours, other) = ("0000:01:01.0", "0000:01:02.0");
    machine.does(&format!("test -e /sys/bus/pci/drivers/serial/{other}"))?;
    machine.bind(&[SKX])?;
    says(&machine.does(&format!("dmaring bind {ours}"))?, &["warning", other])?;
    let copy = format!("dmaring copy --engine {ours} --size 1MiB");
    machine.refuses(&copy, &["group", other, "serial"])?;
    machine.is_released("0a.0")?;
    // With the other one out of the way the group can be opened.
    machine.does(&format!("echo {other} >/sys/bus/pci/drivers/serial/unbind"))?;
    let finished = machine.run(&copy)?;
    machine.does(&format!("echo {other} >/sys/bus/pci/drivers/serial/bind"))?;
    if finished.text.contains(other) {
        return Err(Failure::new(format!("the group is still refused\n{}", finished.text)));
    }
    machine.strip()
}

/// A user who may not open the group, and one who may not lock enough memory.
pub(crate) fn permission(machine: &mut Machine) -> Outcome {
    machine.bind(&[SKX])?;
    let copy = format!("dmaring copy --engine {SKX} --size 1MiB");
    let group =
        machine.does(&format!("basename $(readlink /sys/bus/pci/devices/{SKX}/iommu_group)"))?;
    let node = format!("/dev/vfio/{}", group.trim());
    let remedy = format!("sudo chown $USER {node}");
    machine.refuses(&format!("su user -c '{copy}'"), &[&node, &remedy])?;
    machine.refuses(
        &format!("su user -c 'dmaring unbind {SKX}'"),
        &["permission denied", "sudo dmaring"],
    )?;
    machine.does(&format!("chmod 666 /dev/vfio/vfio; chown user {node}"))?;
    machine.does(&format!("su user -c 'ulimit -l 65536; {copy}'"))?;
    let limited = format!("su user -c 'ulimit -l 64; {copy}'");
    machine.refuses(&limited, &["RLIMIT_MEMLOCK"])?;
    machine.is_released("05.0")?;
    machine.does(&copy)?;
    machine.strip()
}

/// Ranges that a device does not have.
pub(crate) fn device_range(machine: &mut Machine) -> Outcome {
    machine.bind(&[SKX])?;
    let copy = format!("dmaring copy --engine {SKX} /dev/dax0.0 /dev/dax1.0");
    machine.refuses(&format!("{copy} --size 1GiB"), &["/dev/dax0.0", BYTES])?;
    machine
        .refuses(&format!("{copy} --size 64MiB --dst-offset 100MiB"), &["/dev/dax1.0", BYTES])?;
    machine.refuses(&format!("{copy} --src-offset 1024GiB"), &["/dev/dax0.0", BYTES])?;
    machine.refuses("dmaring copy /dev/dax7.0 /dev/dax1.0", &["/dev/dax7.0"])?;
    machine.is_released("05.0")?;
    machine.strip()
}

/// No IOMMU is in use: nothing is bound, nothing is opened, `doctor` says it.
pub(crate) fn no_iommu(machine: &mut Machine) -> Outcome {
    machine.strip()?;
    machine.does("modprobe -a vfio-pci vfio_iommu_type1")?;
    machine.refuses(&format!("dmaring bind {SKX}"), &["no IOMMU", "intel_iommu=on"])?;
    machine.refuses(
        &format!("dmaring copy --engine {SKX} --size 1MiB"),
        &["no IOMMU", "intel_iommu=on"],
    )?;
    says(&machine.ends(1, "dmaring doctor")?, &["intel_iommu=on"])?;
    machine.does("dmaring copy --size 1MiB")?;
    machine.is_released("05.0")?;
    machine.strip()
}

/// Opening is refused for what the function is, twice, so that the first time has left nothing behind.
fn refused_when_opened(machine: &mut Machine, slot: &str, words: &[&str]) -> Outcome {
    let address = format!("0000:00:{slot}");
    machine.bind(&[&address])?;
    for _ in 0..2 {
        machine.refuses(&format!("dmaring copy --engine {address} --size 1MiB"), words)?;
        machine.is_released(slot)?;
    }
    machine.strip()
}
