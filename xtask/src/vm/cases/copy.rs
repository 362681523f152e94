//! Copies by the command between devdax devices, compared from outside of the machine.

use std::time::Instant;

use crate::{
    failure::{Failure, Outcome},
    vm::{
        machine::Machine,
        steps::{Range, equal, says},
    },
};

pub(crate) const SKX: &str = "0000:00:05.0";
pub(crate) const ICX: &str = "0000:00:06.0";
const MIB: usize = 1 << 20;

/// `list`, `bind`, and a copy of 64 MiB; every byte of the destination is compared.
pub(crate) fn list_bind_copy(machine: &mut Machine) -> Outcome {
    machine.strip()?;
    says(&machine.does("dmaring list")?, &[SKX, ICX, "dax0.0", "dax1.0", "dmaring bind"])?;
    machine.bind(&[SKX])?;
    says(&machine.does("dmaring list")?, &["vfio-pci"])?;
    let range = Range { source: 0, destination: 0, length: 64 * MIB };
    machine.fill(0, 1)?;
    machine.fill(1, 2)?;
    let begin = Instant::now();
    copy(machine, &format!("--engine {SKX}"), 0, 1, range)?;
    println!("64 MiB copied and compared in {:.1} s", begin.elapsed().as_secs_f64());
    machine.is_released("05.0")?;
    machine.strip()
}

/// Odd offsets and lengths, within one device and between two, by one function and by two at once.
pub(crate) fn odd(machine: &mut Machine) -> Outcome {
    machine.bind(&[SKX, ICX])?;
    machine.fill(0, 3)?;
    machine.fill(1, 4)?;
    let one = format!("--engine {SKX}");
    let two = format!("--engine {SKX} --engine {ICX}");
    // Around XFERCAP of 1 MiB, around pages, and single bytes; never the same bytes to the same place.
    let lengths = [
        (1, ""),
        (4095, ""),
        (4097, "--block 17"),
        (MIB - 1, "--block 65537"),
        (MIB + 1, "--block 3MiB"),
        (2 * MIB + 1, "--block 3MiB"),
        (5 * MIB + 4321, "--block 1048577"),
    ];
    for (number, (length, options)) in lengths.into_iter().enumerate() {
        let source = (4 + 8 * number) * MIB + 4093;
        let range = Range { source, destination: 3 * MIB + 7, length };
        copy(machine, &format!("{one} {options}"), 0, 1, range)?;
    }
    let range = Range { source: 12345, destination: 54321 + 32 * MIB, length: 16 * MIB + 1 };
    copy(machine, &one, 1, 1, range)?;
    let executed = |machine: &mut Machine, slot| machine.status(slot)?.count("executed");
    let before = [executed(machine, "05.0")?, executed(machine, "06.0")?];
    let range = Range { source: 3, destination: 1, length: 48 * MIB - 5 };
    copy(machine, &two, 0, 1, range)?;
    let after = [executed(machine, "05.0")?, executed(machine, "06.0")?];
    if after.iter().zip(before).any(|(after, before)| *after < before + 8) {
        return Err(Failure::new(format!("one function did not copy: {before:?}, then {after:?}")));
    }
    machine.is_released("05.0")?;
    machine.is_released("06.0")?;
    machine.strip()
}

/// Copies a range between two devices, or within one, and compares all of the destination.
pub(crate) fn copy(
    machine: &mut Machine,
    options: &str,
    from: usize,
    to: usize,
    range: Range,
) -> Outcome {
    let begin = [machine.data(from)?, machine.data(to)?];
    let (source, destination) = (machine.bytes(from)?, machine.bytes(to)?);
    let expected = range.applied(&source, &destination, begin);
    if expected == destination {
        return Err(Failure::new(format!("copying would change nothing: {range:?}")));
    }
    let command = format!(
        "dmaring copy {options} --no-verify {} /dev/dax{from}.0 /dev/dax{to}.0",
        range.options()
    );
    machine.does(&command)?;
    equal(&command, &expected, &machine.bytes(to)?)
}
