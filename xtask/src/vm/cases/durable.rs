//! Persistent memory: what the system says of it, durable copies, and a log whose machine is stopped dead.
//!
//! QEMU's memory has no caches that could lose anything: a machine that is stopped keeps what its last instruction
//! wrote. So this shows that a log is found again by the next machine, and nothing about what a cache would have kept.

use std::os::unix::fs::FileExt;

use crate::{
    failure::{Failure, Outcome},
    vm::{
        cases::copy::{SKX, copy},
        machine::Machine,
        steps::{Range, says},
    },
};

const MIB: usize = 1 << 20;
/// How many records are to be appended before the machine is stopped.
const LEAST: u64 = 50;
/// Where the host notes for the next machine how many there were: behind the log, which ends at 32 MiB.
const NOTE: usize = 40 * MIB;

/// The command's durable copies, and a log that is being appended to when this returns.
pub(crate) fn appending(machine: &mut Machine) -> Outcome {
    machine.bind(&[SKX])?;
    says(
        &machine.does("cat /sys/bus/nd/devices/region*/persistence_domain")?,
        &["memory_controller"],
    )?;
    machine.fill(0, 41)?;
    machine.fill(1, 42)?;
    let range = Range { source: 4093, destination: 3 * MIB + 7, length: 5 * MIB + 4321 };
    copy(machine, &format!("--engine {SKX} --durable"), 0, 1, range)?;
    let command = format!("dmaring copy mem /dev/dax1.0 --engine {SKX} --size 1MiB --durable");
    let text = machine.does(&command)?;
    says(&text, &["durable: 1048576 bytes", "needs flush, by its persistence domain in sysfs"])?;
    machine.refuses("dmaring copy --durable", &["volatile"])?;
    machine.start("log", &log("append", 0))?;
    machine.until("a log of some length", |machine| Ok(appended(machine)? >= LEAST))?;
    let count = appended(machine)?;
    let note = machine.data(0)? + NOTE;
    let noted = machine.dimm(0)?.write_all_at(&count.to_le_bytes(), note as u64);
    noted.map_err(Failure::of("cannot note how many records there are"))?;
    println!("{count} records when the machine is stopped");
    Ok(())
}

/// The next machine finds them.
pub(crate) fn found(machine: &mut Machine) -> Outcome {
    machine.bind(&[SKX])?;
    let note = machine.data(0)? + NOTE;
    let bytes = machine.bytes(0)?;
    let word = bytes.get(note..note + 8).and_then(|word| word.try_into().ok());
    let least = u64::from_le_bytes(word.ok_or_else(|| Failure::new("the note is gone"))?);
    if least < LEAST {
        return Err(Failure::new(format!("the note is of {least} records, not of {LEAST}")));
    }
    machine.does(&log("check", least))?;
    let text = machine.does("cat /run/found")?;
    println!("{} records found, {least} noted", text.trim());
    machine.strip()
}

fn log(what: &str, least: u64) -> String {
    format!(
        "env DMARING_TEST_LOG={what} DMARING_TEST_RECORDS={least} DMARING_TEST_FUNCTIONS={SKX} \
         DMARING_TEST_DAX=/dev/dax0.0,/dev/dax1.0 runtime-vfio --ignored --exact durable::a_log_in_a_node"
    )
}

/// How many appends have returned.
fn appended(machine: &mut Machine) -> Outcome<u64> {
    let text = machine.does("cat /run/appended 2>/dev/null || echo 0")?;
    Ok(text.trim().parse().unwrap_or(0))
}
