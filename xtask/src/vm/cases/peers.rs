//! Copies from and to the memory of another PCI device, compared from outside of the machine.

use std::os::unix::fs::FileExt;

use crate::{
    failure::{Failure, Outcome},
    vm::{
        cases::copy::SKX,
        machine::Machine,
        qemu::PEER_BYTES,
        steps::{Range, equal, says},
    },
};

/// The peer, which has no driver.
const PEER: &str = "0000:00:0b.0";
const BAR: &str = "pci:0000:00:0b.0:bar2";
const MIB: usize = 1 << 20;

/// From devdax to the BAR and back, by the engine and by the CPU; the BAR is opened through sysfs.
pub(crate) fn copies(machine: &mut Machine) -> Outcome {
    machine.bind(&[SKX])?;
    machine.fill(0, 21)?;
    machine.fill(1, 22)?;
    every_way(machine)?;
    machine.is_released("05.0")?;
    machine.strip()
}

/// The same with the peer bound to vfio-pci, in the container of the engine.
pub(crate) fn through_vfio(machine: &mut Machine) -> Outcome {
    machine.bind(&[SKX])?;
    machine.fill(0, 23)?;
    machine.fill(1, 24)?;
    machine.does(&format!(
        "echo vfio-pci >/sys/bus/pci/devices/{PEER}/driver_override; echo {PEER} >/sys/bus/pci/drivers_probe; \
         test -e /sys/bus/pci/drivers/vfio-pci/{PEER}"
    ))?;
    every_way(machine)?;
    // Nothing of it is left open: the driver lets it go at once.
    machine.does(&format!(
        "echo {PEER} >/sys/bus/pci/drivers/vfio-pci/unbind; echo >/sys/bus/pci/devices/{PEER}/driver_override; \
         echo 1 >/sys/bus/pci/devices/{PEER}/enable"
    ))?;
    machine.is_released("05.0")?;
    machine.strip()
}

fn every_way(machine: &mut Machine) -> Outcome {
    let executed = |machine: &mut Machine| machine.status("05.0")?.count("executed");
    let by =
        |machine: &mut Machine, engine: bool, copy: &mut dyn FnMut(&mut Machine) -> Outcome| {
            let before = executed(machine)?;
            copy(machine)?;
            let after = executed(machine)?;
            // Starting the channel takes a few descriptors, too.
            if (after - before > 8) == engine {
                return Ok(());
            }
            let by = if engine { "the CPU copied" } else { "the engine copied" };
            Err(Failure::new(format!("{by}: {before} descriptors, then {after}")))
        };
    let small = "--block 65537";
    let range = Range { source: MIB + 13, destination: 4099, length: 3 * MIB + 5 };
    let engine = format!("--engine {SKX} {small}");
    by(machine, true, &mut |machine| to_peer(machine, &engine, range))?;
    let range = Range { source: 5 * MIB + 1, destination: 3, length: MIB };
    let cpu = format!("--engine cpu {small}");
    by(machine, false, &mut |machine| to_peer(machine, &cpu, range))?;
    // The engine writes the BAR where there is one beside the CPU.
    let range = Range { source: 9 * MIB, destination: MIB + 7, length: 2 * MIB };
    let both = format!("--engine {SKX} --engine cpu {small}");
    by(machine, true, &mut |machine| to_peer(machine, &both, range))?;

    let range = Range { source: 17, destination: 3 * MIB + 1, length: 3 * MIB };
    by(machine, false, &mut |machine| from_peer(machine, &both, range))?;
    let range = Range { source: 4095, destination: 20 * MIB + 2, length: 65_537 };
    by(machine, false, &mut |machine| from_peer(machine, &cpu, range))?;
    // With the risk taken the engine reads it.
    let range = Range { source: 1, destination: 30 * MIB + 5, length: 2 * MIB + 1 };
    let risky = format!("--engine-reads-mmio {engine}");
    by(machine, true, &mut |machine| from_peer(machine, &risky, range))?;

    // Within it, by words, and verified by the command as well.
    let before = bytes(machine)?;
    let mut expected = before.clone();
    expected.copy_within(5..MIB + 6, 2 * MIB + 2);
    let range = Range { source: 5, destination: 2 * MIB + 2, length: MIB + 1 };
    let command = format!("dmaring copy {both} {} {BAR} {BAR}", range.options());
    says(&machine.does(&command)?, &["verified", "which need not forward"])?;
    equal(&command, &expected, &bytes(machine)?)
}

fn to_peer(machine: &mut Machine, options: &str, range: Range) -> Outcome {
    let begin = [machine.data(0)?, 0];
    let (source, before) = (machine.bytes(0)?, bytes(machine)?);
    let expected = range.applied(&source, &before, begin);
    let command =
        format!("dmaring copy --no-verify {options} {} /dev/dax0.0 {BAR}", range.options());
    let text = machine.does(&command)?;
    if expected == before {
        return Err(Failure::new(format!("copying would change nothing: {range:?}")));
    }
    equal(&format!("{command}\n{text}"), &expected, &bytes(machine)?)
}

fn from_peer(machine: &mut Machine, options: &str, range: Range) -> Outcome {
    let begin = [0, machine.data(1)?];
    let (source, before) = (bytes(machine)?, machine.bytes(1)?);
    let expected = range.applied(&source, &before, begin);
    let command =
        format!("dmaring copy --no-verify {options} {} {BAR} /dev/dax1.0", range.options());
    let text = machine.does(&command)?;
    if expected == before {
        return Err(Failure::new(format!("copying would change nothing: {range:?}")));
    }
    equal(&format!("{command}\n{text}"), &expected, &machine.bytes(1)?)
}

/// All bytes of the peer's memory.
fn bytes(machine: &Machine) -> Outcome<Vec<u8>> {
    let mut bytes = vec![0; PEER_BYTES as usize];
    let read = machine.peer().read_exact_at(&mut bytes, 0);
    read.map_err(Failure::of("cannot read the file of the peer"))?;
    Ok(bytes)
}

/// What is no memory for other devices, and what mends it.
pub(crate) fn refusals(machine: &mut Machine) -> Outcome {
    machine.bind(&[SKX])?;
    let copy = format!("dmaring copy --size 4KiB --engine {SKX} mem");
    machine.refuses(&format!("{copy} pci:{PEER}:bar0"), &["BAR 0", "256 bytes", "4096"])?;
    machine.refuses(&format!("{copy} pci:{PEER}:bar1"), &["BAR 1", "0 bytes"])?;
    machine.refuses(&format!("{copy} pci:0000:00:1e.7:bar2"), &["0000:00:1e.7"])?;
    machine.refuses(&format!("{copy} pci:0000:00:1f.2:bar4"), &["I/O ports"])?;
    machine.refuses(&format!("{copy} {BAR} --dst-offset 4MiB"), &[BAR, "4194304"])?;
    let read = format!("dmaring copy --size 4KiB --engine {SKX} {BAR} mem");
    machine.refuses(&read, &["--engine cpu", "--engine-reads-mmio"])?;
    machine.refuses(&format!("su user -c '{}'", read.replace(SKX, "cpu")), &["resource2"])?;
    // A function that does not decode its memory, until the command that was printed has been run.
    machine.does(&format!(
        "cd /sys/bus/pci/devices/{PEER}; while [ $(cat enable) -gt 0 ]; do echo 0 >enable; done; printf '\\000' | dd of=config bs=1 seek=4 conv=notrunc"
    ))?;
    machine.refuses(
        &format!("{copy} {BAR}"),
        &["does not decode", &format!("/sys/bus/pci/devices/{PEER}/enable")],
    )?;
    machine.does(&format!("echo 1 >/sys/bus/pci/devices/{PEER}/enable"))?;
    machine.does(&format!("{copy} {BAR}"))?;
    machine.is_released("05.0")?;
    machine.strip()
}
