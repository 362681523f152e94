//! Setting up: what `doctor` says is enough, `unbind` restores, a function in use is left alone.

use std::collections::BTreeSet;

use crate::{
    failure::{Failure, Outcome},
    vm::{cases::copy::SKX, machine::Machine, steps::says},
};

/// `doctor` fails on the machine as it boots, and no longer once the commands that it printed were run.
pub(crate) fn doctor(machine: &mut Machine) -> Outcome {
    machine.strip()?;
    let doctor = format!("dmaring doctor {SKX} /dev/dax0.0 /dev/dax1.0");
    let mut report = machine.ends(1, &doctor)?;
    says(&report, &["modprobe vfio-pci", &format!("dmaring bind {SKX}")])?;
    let mut run = BTreeSet::new();
    loop {
        let remedies: Vec<_> =
            remedies(&report).filter(|command| run.insert(command.clone())).collect();
        if remedies.is_empty() {
            return Err(Failure::new(format!("no command mends this\n{report}")));
        }
        for command in remedies {
            machine.does(&command)?;
        }
        let finished = machine.run(&doctor)?;
        report = finished.text;
        if finished.code == 0 {
            break;
        }
    }
    if report.lines().any(|line| line.starts_with("fail")) {
        return Err(Failure::new(format!("exit code 0, and yet something fails\n{report}")));
    }
    machine.is_released("05.0")?;
    machine.strip()
}

/// `unbind` gives a function back to the kernel's driver, whose channel works again.
pub(crate) fn unbind(machine: &mut Machine) -> Outcome {
    machine.strip()?;
    machine.does("modprobe -a ioatdma vfio-pci vfio_iommu_type1")?;
    let channel = format!("ls -d /sys/bus/pci/drivers/ioatdma/{SKX}/dma/dma*chan0");
    machine.does(&channel)?;
    says(&machine.does(&format!("dmaring bind {SKX}"))?, &["ioatdma"])?;
    says(&machine.does(&format!("dmaring bind {SKX}"))?, &["already"])?;
    machine.does(&format!("test -e /sys/bus/pci/drivers/vfio-pci/{SKX}"))?;
    machine.does(&format!("dmaring copy --engine {SKX} --size 1MiB"))?;
    machine.does(&format!("dmaring unbind {SKX}"))?;
    machine.does(&channel)?;
    let override_file = format!("/sys/bus/pci/devices/{SKX}/driver_override");
    let left = machine.does(&format!("cat {override_file}"))?;
    if left.trim() != "(null)" {
        return Err(Failure::new(format!("driver_override is left as {left}")));
    }
    machine.does("modprobe dmatest iterations=50 timeout=60000 run=1; cat /sys/module/dmatest/parameters/wait")?;
    says(&machine.does("dmesg | grep dmatest | tail -n 8")?, &["summary 50 tests, 0 failures"])?;
    machine.strip()
}

/// A function whose channel the kernel uses is not bound, and the channel is named.
pub(crate) fn in_use(machine: &mut Machine) -> Outcome {
    machine.strip()?;
    machine.does("modprobe -a ioatdma vfio-pci vfio_iommu_type1")?;
    let channel = format!("basename /sys/bus/pci/drivers/ioatdma/{SKX}/dma/dma*chan0");
    let channel = machine.does(&channel)?.trim().to_owned();
    machine
        .does(&format!("modprobe dmatest channel={channel} iterations=0 timeout=60000 run=1"))?;
    machine.refuses(&format!("dmaring bind {SKX}"), &["in use", &channel])?;
    machine.does(&format!("test -e /sys/bus/pci/drivers/ioatdma/{SKX}"))?;
    machine.does("echo 0 >/sys/module/dmatest/parameters/run; modprobe -r dmatest")?;
    machine.does(&format!("dmaring bind {SKX}"))?;
    machine.does(&format!("dmaring copy --engine {SKX} --size 1MiB"))?;
    machine.strip()
}

/// A namespace in fsdax mode is refused with the command that makes it devdax, and `list` names it; that command helps,
/// and so does another alignment.
pub(crate) fn namespaces(machine: &mut Machine) -> Outcome {
    machine.bind(&[SKX])?;
    let copy = format!("dmaring copy --engine {SKX} --size 1MiB /dev/dax0.0");
    let namespace = "ndctl create-namespace -f -e namespace1.0 -m";
    let aligned = "cat /sys/bus/dax/devices/dax1.0/align";
    machine.does(&format!("{namespace} fsdax"))?;
    machine.refuses(&format!("{copy} /dev/pmem1"), &["/dev/pmem1", "fsdax", "-m devdax"])?;
    machine.refuses(&format!("{copy} /dev/dax1.0"), &["/dev/dax1.0"])?;
    says(
        &machine.does("dmaring list")?,
        &["fsdax", &format!("sudo {namespace} devdax"), "ERASES"],
    )?;
    machine.does(&format!("sudo {namespace} devdax"))?;
    machine.does(&format!("{copy} /dev/dax1.0"))?;
    machine.does(&format!("{namespace} devdax --map=mem --align=4096"))?;
    says(&machine.does(aligned)?, &["4096\n"])?;
    machine.does(&format!("{copy} /dev/dax1.0 --dst-offset 4095"))?;
    machine.does(&format!("{namespace} devdax --map=mem --align=2097152"))?;
    says(&machine.does(aligned)?, &["2097152\n"])?;
    machine.is_released("05.0")?;
    machine.strip()
}

/// The commands in backquotes on the lines of what fails.
fn remedies(report: &str) -> impl Iterator<Item = String> {
    let failing = report.lines().filter(|line| line.starts_with("fail"));
    failing.flat_map(|line| line.split('`').skip(1).step_by(2)).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::remedies;

    #[test]
    fn commands_are_taken_from_what_fails_alone() {
        let report = "ok a: `no`\nfail b: none: `one`, then `two`\nwarn c: `neither`\n1 ok, `x`\n";
        assert_eq!(remedies(report).collect::<Vec<_>>(), ["one", "two"]);
    }
}
