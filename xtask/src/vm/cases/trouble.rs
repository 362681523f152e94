//! What goes wrong while a copy runs.
//!
//! The model carries out nothing while it is paused but what it is told to, so a copy can be stopped in the middle
//! without regard to how fast anything is.

use crate::{
    failure::{Failure, Outcome},
    vm::{
        cases::copy::{SKX, copy},
        machine::Machine,
        steps::{Range, equal, says},
    },
};

const SLOT: &str = "05.0";
const MIB: usize = 1 << 20;
/// What is copied when something happens, in blocks of a descriptor each.
const RANGE: Range = Range { source: MIB, destination: 3 * MIB + 11, length: 24 * MIB };

/// A process killed in the middle: the next one gets the function and copies; no other byte has changed.
pub(crate) fn killed(machine: &mut Machine) -> Outcome {
    machine.bind(&[SKX])?;
    let begin = [machine.data(0)?, machine.data(1)?];
    let (source, destination) = (machine.fill(0, 11)?, machine.fill(1, 12)?);
    start_midway(machine)?;
    let pid = machine.pid("copy")?;
    machine.does(&format!("kill -KILL {pid}"))?;
    let finished = machine.join("copy")?;
    if finished.code != 137 {
        return Err(Failure::new(format!("it ended with {} when killed", finished.code)));
    }
    machine.model()?.ask(&format!("resume {SLOT}"))?;
    machine.is_released(SLOT)?;
    let done = RANGE.applied(&source, &destination, begin);
    let found = machine.bytes(1)?;
    let (from, to) = (begin[1] + RANGE.destination, begin[1] + RANGE.destination + RANGE.length);
    equal("before the destination", &done[..from], &found[..from])?;
    equal("behind the destination", &done[to..], &found[to..])?;
    if found[from..to] == done[from..to] || found[from..to] == destination[from..to] {
        return Err(Failure::new("the copy was not in the middle when it was killed"));
    }
    machine.fill(1, 13)?;
    copy(machine, &format!("--engine {SKX}"), 0, 1, RANGE)?;
    machine.is_released(SLOT)?;
    machine.strip()
}

/// An error of the channel in the middle: the copy fails and names it; the next one works without anything else.
pub(crate) fn injected(machine: &mut Machine) -> Outcome {
    machine.bind(&[SKX])?;
    start_midway(machine)?;
    let model = machine.model()?;
    model.ask(&format!("fault-plan {SLOT} nth=3:chanerr=8"))?;
    model.ask(&format!("resume {SLOT}"))?;
    let finished = machine.join("copy")?;
    machine.model()?.ask(&format!("fault-plan {SLOT}"))?;
    if finished.code != 1 {
        return Err(Failure::new(format!("it did not fail: {finished:?}")));
    }
    machine.fill(0, 31)?;
    machine.fill(1, 32)?;
    says(&finished.text, &["reading the source failed", "0x100"])?;
    copy(machine, &format!("--engine {SKX}"), 0, 1, RANGE)?;
    machine.is_released(SLOT)?;
    machine.strip()
}

/// A function in use: the second process is refused and told by whom; the first ends well.
pub(crate) fn busy(machine: &mut Machine) -> Outcome {
    machine.bind(&[SKX])?;
    let begin = [machine.data(0)?, machine.data(1)?];
    let (source, destination) = (machine.fill(0, 21)?, machine.fill(1, 22)?);
    start_midway(machine)?;
    let pid = machine.pid("copy")?;
    let by = format!("{pid} (dmaring)");
    machine.refuses(&format!("dmaring copy --engine {SKX} --size 1MiB"), &["in use", &by])?;
    machine.refuses(&format!("dmaring unbind {SKX}"), &["in use", &by])?;
    machine.model()?.ask(&format!("resume {SLOT}"))?;
    let finished = machine.join("copy")?;
    if finished.code != 0 {
        return Err(Failure::new(format!("the first did not go on: {finished:?}")));
    }
    equal(
        "the first one's copy",
        &RANGE.applied(&source, &destination, begin),
        &machine.bytes(1)?,
    )?;
    machine.is_released(SLOT)?;
    machine.strip()
}

/// Starts a copy in the background that has stopped in the middle when this returns.
fn start_midway(machine: &mut Machine) -> Outcome {
    machine.model()?.ask(&format!("pause {SLOT} 8"))?;
    let range = RANGE.options();
    machine.start(
        "copy",
        &format!("dmaring copy --engine {SKX} --no-verify {range} /dev/dax0.0 /dev/dax1.0"),
    )?;
    machine.until_paused(SLOT)
}
