//! Linux's own driver on the model: a reading of the registers that is not ours.

use std::time::Instant;

use crate::{
    failure::{Failure, Outcome},
    vm::{machine::Machine, steps::says},
};

/// Functions that `ioatdma` takes, each by the model's slot and the machine's address.
const TAKEN: &[(&str, &str)] = &[
    ("05.0", "0000:00:05.0"),
    ("06.0", "0000:00:06.0"),
    ("07.0", "0000:00:07.0"),
    ("07.1", "0000:00:07.1"),
    ("0a.0", "0000:01:01.0"),
];
/// Copies that `dmatest` makes on each channel, each of random length and place, and compared.
const COPIES: u32 = 2000;

/// The kernel's driver binds, its self-test passes, its channels copy thousands of times and interrupt.
pub(crate) fn ioatdma(machine: &mut Machine) -> Outcome {
    machine.strip()?;
    machine.does("dmesg -c >/dev/null; modprobe ioatdma")?;
    let log = machine.does("dmesg")?;
    if log.contains("elf-test") || log.contains("rror") {
        return Err(Failure::new(format!("the driver complains\n{log}")));
    }
    let mut before = Vec::new();
    for (slot, address) in TAKEN {
        machine.does(&format!("ls -d /sys/bus/pci/drivers/ioatdma/{address}/dma/dma*chan0"))?;
        before.push(machine.status(slot)?);
    }
    let begin = Instant::now();
    machine.does(&format!(
        "modprobe dmatest iterations={COPIES} timeout=60000 run=1 && cat /sys/module/dmatest/parameters/wait"
    ))?;
    let time = begin.elapsed().as_secs_f64();
    let log = machine.does("dmesg | grep dmatest")?;
    let passed = format!("summary {COPIES} tests, 0 failures");
    if log.matches(&passed).count() != TAKEN.len() {
        return Err(Failure::new(format!("not every channel says `{passed}`\n{log}")));
    }
    for ((slot, _), before) in TAKEN.iter().zip(before) {
        let status = machine.status(slot)?;
        let counted = |name| Ok((before.count(name)?, status.count(name)?));
        let (copied, interrupts) = (counted("executed")?, counted("interrupts")?);
        let wrong = ["violations", "iommu-faults"].iter().try_fold(0, |sum, name| {
            let (before, after) = counted(name)?;
            Ok(sum + after - before)
        })?;
        if copied.1 - copied.0 < u64::from(COPIES) || interrupts.1 == interrupts.0 || wrong != 0 {
            let violations = machine.model()?.ask(&format!("violations {slot}"))?;
            return Err(Failure::new(format!("{slot}: {before:?}, then {status:?}: {violations}")));
        }
    }
    let copies = f64::from(COPIES) * TAKEN.len() as f64;
    println!("{copies} verified copies by dmatest in {time:.1} s: {:.0} a second", copies / time);
    machine.strip()
}

/// The driver comes and goes: each time its self-test copies, and nothing stays.
pub(crate) fn restart(machine: &mut Machine) -> Outcome {
    machine.strip()?;
    machine.does(
        "dmesg -c >/dev/null; for i in 1 2 3 4 5; do modprobe ioatdma; modprobe -r ioatdma; done",
    )?;
    let log = machine.does("dmesg")?;
    if log.contains("elf-test") {
        return Err(Failure::new(format!("the self-test failed\n{log}")));
    }
    says(&log, &["ioatdma"])?;
    TAKEN.iter().try_for_each(|(slot, _)| machine.is_released(slot))
}
