//! `dmaring list`: I/OAT functions and devdax devices, and what is missing before each can be used.

mod limits;
mod table;
mod unlisted;

use std::fmt;

use dmaring::dax::{Mode, Namespace};
use serde::Serialize;

use self::{
    limits::Limits,
    table::Table,
    unlisted::{Unlisted, had},
};
use crate::{
    args::ListArguments,
    doctor::{
        checks::{function, iommu, memory},
        finding::{Finding, State},
    },
    failure::Failure,
    machine::{DeviceFacts, FunctionFacts, Groups, Machine, Roots},
    output, size,
};

/// Everything there is. Sizes are in bytes.
#[derive(Debug, Serialize)]
pub(crate) struct Inventory {
    version: &'static str,
    /// What is missing before any function can be used.
    missing: Vec<Finding>,
    functions: Vec<FunctionRow>,
    devices: Vec<DeviceRow>,
    /// What is persistent memory and no devdax device.
    namespaces: Vec<NamespaceRow>,
    limits: Limits,
    /// The lists that could not be had, which are empty here.
    unlisted: Vec<Unlisted>,
}

#[derive(Debug, Serialize)]
struct FunctionRow {
    address: String,
    vendor: u16,
    device: u16,
    revision: u8,
    platform: &'static str,
    numa_node: Option<u32>,
    iommu_group: Option<u32>,
    driver: Option<String>,
    users: Vec<String>,
    missing: Vec<Finding>,
}

#[derive(Debug, Serialize)]
struct DeviceRow {
    name: String,
    size: u64,
    align: u64,
    numa_node: Option<u32>,
    persistence_domain: Option<String>,
    driver: Option<String>,
    missing: Vec<Finding>,
}

#[derive(Debug, Serialize)]
struct NamespaceRow {
    name: String,
    mode: String,
    size: u64,
    block_device: Option<String>,
    /// The command that makes a devdax device of it, and what that does to it.
    conversion: String,
}

/// Carries out the command.
pub(crate) fn run(arguments: &ListArguments) -> Result<(), Failure> {
    let inventory = Inventory::look(&Roots::system());
    output::print(&inventory, arguments.json)?;
    match inventory.unlisted.as_slice() {
        [] => Ok(()),
        unlisted => {
            let lists: Vec<_> = unlisted.iter().map(ToString::to_string).collect();
            Err(Failure::Failed(lists.join("; ")))
        }
    }
}

impl Inventory {
    /// Looks without opening a group.
    pub(crate) fn look(roots: &Roots) -> Self {
        Self::of(&Machine::look(roots, Groups::Asked))
    }

    fn of(machine: &Machine) -> Self {
        let host = &machine.host;
        let mut unlisted = Vec::new();
        let functions = had(FUNCTIONS, &machine.functions, &mut unlisted);
        let devices = had(DEVICES, &machine.devices, &mut unlisted);
        let namespaces = had(NAMESPACES, &machine.namespaces, &mut unlisted);
        let mut needed = vec![iommu::iommu(host), iommu::container(host)];
        needed.extend(iommu::modules(host));
        Self {
            version: env!("CARGO_PKG_VERSION"),
            missing: if functions.is_empty() { Vec::new() } else { missing(needed) },
            functions: functions
                .iter()
                .map(|facts| FunctionRow::of(facts, missing(function::all(host, facts, None))))
                .collect(),
            devices: devices.iter().map(DeviceRow::of).collect(),
            namespaces: namespaces
                .iter()
                .filter(|namespace| namespace.mode != Mode::Devdax)
                .map(NamespaceRow::of)
                .collect(),
            limits: Limits::of(machine),
            unlisted,
        }
    }

    /// Whether a list that is empty says that there is nothing.
    fn was_had(&self, list: &'static str) -> bool {
        !self.unlisted.iter().any(|unlisted| unlisted.list == list)
    }
}

const FUNCTIONS: &str = "I/OAT functions";
const DEVICES: &str = "devdax devices";
const NAMESPACES: &str = "namespaces";

fn missing(mut findings: Vec<Finding>) -> Vec<Finding> {
    findings.retain(|finding| finding.state == State::Fail);
    findings
}

impl FunctionRow {
    fn of(facts: &FunctionFacts, missing: Vec<Finding>) -> Self {
        let function = &facts.function;
        Self {
            address: function.address.to_string(),
            vendor: function.vendor,
            device: function.device,
            revision: function.revision,
            platform: function.platform().name(),
            numa_node: function.numa_node,
            iommu_group: function.iommu_group,
            driver: function.driver.clone(),
            users: facts.holders.iter().map(ToString::to_string).collect(),
            missing,
        }
    }
}

impl DeviceRow {
    fn of(facts: &DeviceFacts) -> Self {
        let device = &facts.device;
        Self {
            name: device.name.clone(),
            size: device.size,
            align: device.align,
            numa_node: device.numa_node,
            persistence_domain: device.persistence_domain.clone(),
            driver: device.driver.clone(),
            missing: missing(memory::device(facts)),
        }
    }
}

impl NamespaceRow {
    fn of(namespace: &Namespace) -> Self {
        Self {
            name: namespace.name.clone(),
            mode: namespace.mode.to_string(),
            size: namespace.size,
            block_device: namespace.block_device.clone(),
            conversion: memory::conversion(namespace),
        }
    }
}

impl fmt::Display for Inventory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.functions.is_empty() {
            self.functions(f)?;
        } else if self.was_had(FUNCTIONS) {
            writeln!(
                f,
                "no I/OAT functions: the CPU engine and `dmaring copy --engine emulated` work all the same"
            )?;
        }
        if !self.devices.is_empty() {
            self.devices(f)?;
        } else if self.was_had(DEVICES) {
            writeln!(f, "no devdax devices")?;
        }
        if !self.namespaces.is_empty() {
            self.namespaces(f)?;
        }
        self.limits.fmt(f)?;
        self.unlisted.iter().try_for_each(|unlisted| writeln!(f, "{unlisted}"))
    }
}

impl Inventory {
    fn functions(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let header = ["I/OAT FUNCTION", "IDS", "PLATFORM", "NODE", "GROUP", "DRIVER", "USED BY"];
        let mut table = Table::new(header);
        for row in &self.functions {
            let ids = format!("{:04x}:{:04x}", row.vendor, row.device);
            table.row(
                [
                    row.address.clone(),
                    ids,
                    row.platform.to_owned(),
                    or_dash(row.numa_node.as_ref()),
                    or_dash(row.iommu_group.as_ref()),
                    or_dash(row.driver.as_ref()),
                    if row.users.is_empty() { String::from("-") } else { row.users.join(", ") },
                ],
                notes(&row.missing),
            );
        }
        write!(f, "{table}")?;
        for finding in &self.missing {
            writeln!(f, "  before any can be used: {}", note(finding))?;
        }
        Ok(())
    }

    fn devices(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let header = ["DEVDAX DEVICE", "SIZE", "ALIGNMENT", "NODE", "PERSISTENCE", "DRIVER"];
        let mut table = Table::new(header);
        for row in &self.devices {
            table.row(
                [
                    row.name.clone(),
                    size::format(row.size),
                    size::format(row.align),
                    or_dash(row.numa_node.as_ref()),
                    or_dash(row.persistence_domain.as_ref()),
                    or_dash(row.driver.as_ref()),
                ],
                notes(&row.missing),
            );
        }
        write!(f, "{table}")
    }

    fn namespaces(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new(["OTHER NAMESPACE", "MODE", "SIZE", "BLOCK DEVICE"]);
        for row in &self.namespaces {
            table.row(
                [
                    row.name.clone(),
                    row.mode.clone(),
                    size::format(row.size),
                    or_dash(row.block_device.as_ref()),
                ],
                vec![format!("for devdax: {}", row.conversion)],
            );
        }
        write!(f, "{table}")
    }
}

fn notes(missing: &[Finding]) -> Vec<String> {
    missing.iter().map(|finding| format!("missing: {}", note(finding))).collect()
}

/// A finding without its subject.
fn note(finding: &Finding) -> String {
    let subject = match &finding.subject {
        Some(subject) if finding.check == "module" => format!(" {subject}"),
        _ => String::new(),
    };
    let remedy = finding.remedy.as_deref().unwrap_or_default();
    format!("{}{subject}: {}: {remedy}", finding.check, finding.found)
}

fn or_dash(value: Option<&impl ToString>) -> String {
    value.map_or_else(|| String::from("-"), ToString::to_string)
}

#[cfg(test)]
mod tests;
