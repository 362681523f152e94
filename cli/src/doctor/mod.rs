//! `dmaring doctor`: every precondition, how it stands, and what mends it.

pub(crate) mod checks;
pub(crate) mod finding;
pub(crate) mod probe;
#[cfg(test)]
mod tests;

use std::fmt;

use dmaring_driver::pci::Address;
use serde::Serialize;

use self::{
    checks::{function, host, iommu, memory},
    finding::{Finding, State},
    probe::{Probed, probe},
};
use crate::{
    args::{DoctorArguments, Target},
    failure::Failure,
    hardware,
    machine::{DeviceFacts, FunctionFacts, Groups, Machine, Roots},
    output,
};

/// All findings, in the order in which things depend on each other.
#[derive(Debug, Serialize)]
pub(crate) struct Diagnosis {
    version: &'static str,
    findings: Vec<Finding>,
}

/// Carries out the command and prints the findings.
pub(crate) fn run(arguments: &DoctorArguments) -> Result<(), Failure> {
    let machine = Machine::look(&Roots::system(), Groups::Opened);
    let open = |facts: &FunctionFacts| probe(facts, || hardware::describe(facts.function.address));
    let diagnosis = Diagnosis::of(&machine, &arguments.targets, open);
    output::print(&diagnosis, arguments.json)?;
    match diagnosis.count(State::Fail) {
        0 => Ok(()),
        failed => Err(Failure::Failed(format!(
            "{failed} of {} checks failed: each line above says what mends it",
            diagnosis.findings.len()
        ))),
    }
}

impl Diagnosis {
    /// Checks what `targets` name, and what they need; everything where there are none.
    pub(crate) fn of(
        machine: &Machine,
        targets: &[Target],
        open: impl Fn(&FunctionFacts) -> Probed,
    ) -> Self {
        let chosen = Chosen::of(machine, targets);
        let mut findings = vec![
            host::kernel(&machine.host),
            host::cpus(&machine.host),
            host::write_back(&machine.host),
        ];
        if targets.is_empty() || chosen.wants_functions {
            findings.push(iommu::iommu(&machine.host));
            findings.push(iommu::no_iommu_mode(&machine.host));
            findings.extend(iommu::modules(&machine.host));
            findings.push(iommu::container(&machine.host));
            findings.push(host::locked_memory(&machine.host, chosen.functions.len()));
        }
        findings.extend(chosen.findings);
        for facts in &chosen.functions {
            let probed = open(facts);
            findings.extend(function::all(&machine.host, facts, Some(&probed)));
            findings.push(function::channel(facts, &probed));
        }
        let functions = machine.functions.as_deref().unwrap_or_default();
        for facts in &chosen.devices {
            findings.extend(memory::device(facts));
            findings.push(memory::distance(facts, functions));
        }
        if targets.is_empty() {
            let namespaces = machine.namespaces.as_deref().unwrap_or_default();
            findings.extend(namespaces.iter().filter_map(memory::namespace));
        }
        Self { version: env!("CARGO_PKG_VERSION"), findings }
    }

    fn count(&self, state: State) -> usize {
        self.findings.iter().filter(|finding| finding.state == state).count()
    }
}

impl fmt::Display for Diagnosis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in &self.findings {
            writeln!(f, "{finding}")?;
        }
        writeln!(
            f,
            "{} ok, {} warnings, {} failed, {} skipped",
            self.count(State::Ok),
            self.count(State::Warn),
            self.count(State::Fail),
            self.count(State::Skipped)
        )
    }
}

/// What is looked at, and what can be said of the choice itself.
struct Chosen<'a> {
    functions: Vec<&'a FunctionFacts>,
    devices: Vec<&'a DeviceFacts>,
    wants_functions: bool,
    findings: Vec<Finding>,
}

impl<'a> Chosen<'a> {
    fn of(machine: &'a Machine, targets: &[Target]) -> Self {
        let mut findings = Vec::new();
        let functions = known("I/OAT functions", &machine.functions, &mut findings);
        let devices = known("devdax devices", &machine.devices, &mut findings);
        known("namespaces", &machine.namespaces, &mut findings);
        if targets.is_empty() {
            findings.extend(machine.functions.is_ok().then(|| function::presence(functions)));
            findings.extend(machine.devices.is_ok().then(|| memory::presence(devices)));
            return Self {
                functions: functions.iter().collect(),
                devices: devices.iter().collect(),
                wants_functions: true,
                findings,
            };
        }
        let mut chosen =
            Self { functions: Vec::new(), devices: Vec::new(), wants_functions: false, findings };
        for target in targets {
            chosen.add(target, functions, devices);
        }
        chosen
    }

    fn add(&mut self, target: &Target, functions: &'a [FunctionFacts], devices: &'a [DeviceFacts]) {
        match target {
            Target::Function(address) => {
                self.wants_functions = true;
                match functions.iter().find(|facts| facts.function.address == *address) {
                    Some(facts) => self.functions.push(facts),
                    None => self.findings.push(no_function(*address)),
                }
            }
            Target::Device(name) => match devices.iter().find(|facts| facts.device.name == *name) {
                Some(facts) => self.devices.push(facts),
                None => self.findings.push(no_device(name)),
            },
        }
    }
}

/// What there is of a list that could be had, and else a finding.
fn known<'a, T>(
    check: &'static str,
    list: &'a Result<Vec<T>, String>,
    findings: &mut Vec<Finding>,
) -> &'a [T] {
    match list {
        Ok(list) => list,
        Err(why) => {
            findings.push(Finding::fail(check, why, "mount sysfs at /sys"));
            &[]
        }
    }
}

fn no_function(address: Address) -> Finding {
    let finding =
        Finding::fail("presence", "no such I/OAT function", "`dmaring list` lists those there are");
    finding.of(address)
}

fn no_device(name: &str) -> Finding {
    let finding =
        Finding::fail("presence", "no such devdax device", "`dmaring list` lists those there are");
    finding.of(name)
}
