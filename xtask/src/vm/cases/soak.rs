//! A minute of random operations on two functions, with faults injected from outside meanwhile.
//!
//! `dmaring-soak` compares every byte with its model and says what it found. Here faults are planned while it runs, and
//! afterwards both functions are looked at: nothing was reached that was not mapped, and the device's rules were kept.

use std::time::{Duration, Instant};

use crate::{
    failure::{Failure, Outcome},
    vm::{
        cases::copy::{ICX, SKX},
        machine::Machine,
        steps::says,
    },
};

const SLOTS: [&str; 2] = ["05.0", "06.0"];
const SEED: u64 = 6;
/// How long new rounds are begun.
const MINUTES: u64 = 1;
/// Rounds that began in time end, slowly where the machine is busy.
const LIMIT: Duration = Duration::from_secs(600);

/// What is planned, one after the other: each as often as it is met until the next.
const PLANS: &[&str] = &[
    "every=40:chanerr=8",
    "nth=30:stall",
    "every=60:chanerr=1",
    "every=3:lost-writeback",
    "every=50:short=100",
    "every=3:duplicate-writeback",
    "every=45:chanerr=5",
    "",
];

/// The long run, briefly.
pub(crate) fn soak(machine: &mut Machine) -> Outcome {
    machine.bind(&[SKX, ICX])?;
    let before = faults(machine)?;
    machine.start(
        "soak",
        &format!(
            "dmaring-soak --engine {SKX} --engine {ICX} --minutes {MINUTES} --seed {SEED} --threads 3 --steps 60 \
             --longest 256 --patience 200"
        ),
    )?;
    let begin = Instant::now();
    let mut fired = 0;
    for (number, plan) in PLANS.iter().cycle().enumerate() {
        for slot in SLOTS {
            fired += machine.status(slot)?.count("faults-fired")?;
            machine.model()?.ask(&format!("fault-plan {slot} {plan}"))?;
        }
        let running = machine.run("[ -d /proc/$(cat /run/soak.pid) ]")?.code == 0;
        if !running || begin.elapsed() > LIMIT {
            println!("{number} fault plans, {fired} faults");
            break;
        }
        machine.does("usleep 2000000")?;
    }
    for slot in SLOTS {
        machine.model()?.ask(&format!("fault-plan {slot}"))?;
    }
    let finished = machine.join("soak")?;
    if finished.code != 0 {
        return Err(Failure::new(format!("it ended with {}\n{}", finished.code, finished.text)));
    }
    says(&finished.text, &["soak: ok"])?;
    println!("{}", finished.text.trim());
    if fired == 0 {
        return Err(Failure::new("no fault was met"));
    }
    if faults(machine)? != before {
        return Err(Failure::new(account(machine)?));
    }
    for slot in SLOTS {
        machine.is_released(slot)?;
    }
    machine.strip()
}

/// Accesses that the IOMMU refused, and rules that the driver broke but for doorbells that came too late on a device which
/// had halted.
fn faults(machine: &mut Machine) -> Outcome<u64> {
    let mut count = 0;
    for slot in SLOTS {
        count += machine.status(slot)?.count("iommu-faults")?;
        let violations = machine.model()?.ask(&format!("violations {slot}"))?;
        count += broken(&violations);
    }
    Ok(count)
}

fn account(machine: &mut Machine) -> Outcome<String> {
    let mut text = "a function was misused or did what it must not".to_owned();
    for slot in SLOTS {
        for question in ["iommu-faults", "violations"] {
            let answer = machine.model()?.ask(&format!("{question} {slot}"))?;
            text += &format!("\n{question} {slot}: {answer}");
        }
    }
    Ok(text)
}

/// How many violations of a list are none of a late doorbell.
fn broken(violations: &str) -> u64 {
    let list = violations.split_once(':').map_or("", |(_, list)| list);
    let broken = list.split(';').filter(|item| !item.trim().is_empty());
    broken.filter(|item| !item.contains("CountWhileHalted")).count() as u64
}

#[cfg(test)]
mod tests {
    use super::broken;

    #[test]
    fn late_doorbells_are_no_broken_rules() {
        assert_eq!(broken("0"), 0);
        assert_eq!(broken("1: function 0, channel 0: CountWhileHalted"), 0);
        let two =
            "2: function 0, channel 0: CountWhileHalted; function 0, channel 0: CountMovedBack";
        assert_eq!(broken(two), 1);
    }
}
