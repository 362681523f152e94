//! Several functions at once: copies striped over them, and what `calibrate` finds.

use crate::{
    failure::{Failure, Outcome},
    vm::{
        cases::copy::{ICX, SKX, copy},
        machine::Machine,
        steps::{Range, says},
    },
};

const MIB: usize = 1 << 20;
/// Functions of three parts, each by the model's slot and the machine's address.
const FOUR: [(&str, &str); 4] =
    [("05.0", SKX), ("06.0", ICX), ("07.0", "0000:00:07.0"), ("07.1", "0000:00:07.1")];

/// One operation of 32 MiB is on four functions at the same time, with one thread for all and with one for each; every byte is
/// compared.
pub(crate) fn striped(machine: &mut Machine) -> Outcome {
    let addresses = FOUR.map(|(_, address)| address);
    machine.bind(&addresses)?;
    machine.fill(0, 11)?;
    machine.fill(1, 12)?;
    let engines = addresses.map(|address| format!("--engine {address}")).join(" ");
    for (number, pollers) in ["one", "engine"].into_iter().enumerate() {
        let before = executed(machine)?;
        let source = number * 40 * MIB + 4093;
        let range = Range { source, destination: 7, length: 32 * MIB + 1 };
        copy(
            machine,
            &format!("{engines} --pollers {pollers} --block 64MiB --depth 1"),
            0,
            1,
            range,
        )?;
        let after = executed(machine)?;
        // A stripe is a descriptor of 1 MiB, which is XFERCAP.
        let shares: Vec<_> =
            after.iter().zip(before).map(|(after, before)| after - before).collect();
        if shares.iter().any(|&share| share < 2) {
            let why = format!("with pollers {pollers} not every function copied: {shares:?}");
            return Err(Failure::new(why));
        }
        println!("32 MiB with pollers {pollers}, descriptors of each function: {shares:?}");
    }
    for (slot, _) in FOUR {
        machine.is_released(slot)?;
    }
    machine.strip()
}

/// A calibration is measured on devdax devices, saved, obeyed by a copy, and refused with other engines.
pub(crate) fn calibrate(machine: &mut Machine) -> Outcome {
    machine.bind(&[SKX, ICX])?;
    machine.fill(0, 13)?;
    machine.fill(1, 14)?;
    let engines = format!("--engine {SKX} --engine {ICX} --engine cpu");
    let file = "/run/calibration.json";
    let text = machine.does(&format!(
        "dmaring calibrate {engines} /dev/dax0.0 /dev/dax1.0 --size 16MiB --seconds 2 --save {file}"
    ))?;
    says(
        &text,
        &["measured: /dev/dax0.0 to /dev/dax1.0, 16 MiB", "ratio", "used once is bounced", file],
    )?;
    println!("{}", text.trim());
    machine.fill(1, 15)?;
    let range = Range { source: 4093, destination: 7, length: 24 * MIB + 1 };
    copy(machine, &format!("{engines} --calibration {file}"), 0, 1, range)?;
    let other = format!("dmaring copy --engine {SKX} --size 1MiB --calibration {file}");
    machine.refuses(&other, &["measured with engines", ICX, "measure again"])?;
    machine.is_released("05.0")?;
    machine.is_released("06.0")?;
    machine.strip()
}

/// How many descriptors each function has executed.
fn executed(machine: &mut Machine) -> Outcome<[u64; 4]> {
    let mut counts = [0; 4];
    for (count, (slot, _)) in counts.iter_mut().zip(FOUR) {
        *count = machine.status(slot)?.count("executed")?;
    }
    Ok(counts)
}
