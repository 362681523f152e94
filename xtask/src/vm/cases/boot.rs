//! The machine itself: exit codes, time limits, devices.

use std::time::Duration;

use crate::{
    failure::{Failure, Outcome},
    vm::{machine::Machine, steps::says},
};

/// What a boot with a trivial command takes at most where the processors are not needed elsewhere. A busy host is no
/// failure, so more is told and not refused.
const LONGEST: Duration = Duration::from_secs(30);

/// A command's output and exit code come back, a command that does not end is stopped, and the devices are there.
pub(crate) fn boot(machine: &mut Machine) -> Outcome {
    if machine.boot_time() > LONGEST {
        let (seconds, limit) = (machine.boot_time().as_secs(), LONGEST.as_secs());
        println!("note: booting took {seconds} s, more than the {limit} s that an idle host needs");
    }
    let text = machine.does("echo one; echo two >&2")?;
    says(&text, &["one\ntwo\n"])?;
    machine.ends(7, "exit 7")?;

    let endless = "echo begun; tail -f /dev/null";
    let stopped = machine.run_showing(endless, Duration::from_secs(2), &mut |_| ());
    let failure = match stopped {
        Ok(finished) => return Err(Failure::new(format!("it was not stopped: {finished:?}"))),
        Err(failure) => failure.to_string(),
    };
    says(&failure, &["was stopped after 2 s", "begun"])?;
    if machine.run("pidof tail")?.code == 0 {
        return Err(Failure::new("a command that was stopped still runs"));
    }
    machine.start("job", "sh -c \"echo in the background; exit 3\"")?;
    let finished = machine.join("job")?;
    if finished.code != 3 {
        return Err(Failure::new(format!("the background job ended so: {finished:?}")));
    }
    machine.does("test -c /dev/dax0.0 -a -c /dev/dax1.0").map(drop)
}
