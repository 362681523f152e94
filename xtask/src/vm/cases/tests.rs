//! Tests of the driver and of the runtime that need a real kernel, run in the machine.

use std::time::Duration;

use crate::{
    failure::{Failure, Outcome},
    vm::{
        cases::copy::{ICX, SKX},
        machine::Machine,
    },
};

const LIMIT: Duration = Duration::from_secs(300);

/// The driver's.
pub(crate) fn driver(machine: &mut Machine) -> Outcome {
    suite(machine, "driver-vfio", "")
}

/// The runtime's.
pub(crate) fn runtime(machine: &mut Machine) -> Outcome {
    suite(machine, "runtime-vfio", "--skip ends::")
}

/// Runs the tests of `program` that `filter` lets pass, by the test harness's own options.
pub(super) fn suite(machine: &mut Machine, program: &str, filter: &str) -> Outcome {
    machine.bind(&[SKX, ICX])?;
    let command = format!(
        "DMARING_TEST_FUNCTIONS={SKX},{ICX} DMARING_TEST_DAX=/dev/dax0.0,/dev/dax1.0 \
         DMARING_TEST_PEER=0000:00:0b.0 \
         {program} {filter} --ignored --test-threads=1"
    );
    let finished = machine.run_showing(&command, LIMIT, &mut |_| ())?;
    let text = finished.text;
    if finished.code != 0 {
        return Err(Failure::new(format!("{program} ended with {}\n{text}", finished.code)));
    }
    let result = text.lines().find(|line| line.starts_with("test result: ok")).unwrap_or_default();
    println!("{result}");
    if result.is_empty() || result.contains("ok. 0 passed") {
        return Err(Failure::new(format!("{program} ran no test\n{text}")));
    }
    machine.is_released("05.0")?;
    machine.is_released("06.0")?;
    machine.strip()
}
