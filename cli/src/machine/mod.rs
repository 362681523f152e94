//! What this machine has: facts, without a judgement of them.
//!
//! Everything is read below three roots, so that a test can lay out a machine in a directory. What cannot be read is a
//! fact too, and never ends the command.

mod access;
mod function;
mod host;
mod limits;
#[cfg(test)]
pub(crate) mod tree;

use std::path::PathBuf;

use dmaring::dax::{self, Device, Namespace};
use dmaring_driver::pci::Sysfs;

pub(crate) use self::{
    access::Access,
    function::FunctionFacts,
    host::{Host, Locked, MODULES, count},
    limits::LimitFacts,
};

/// Where the facts are read.
#[derive(Clone, Debug)]
pub(crate) struct Roots {
    pub(crate) sys: PathBuf,
    pub(crate) proc: PathBuf,
    pub(crate) dev: PathBuf,
}

/// The facts. A list that cannot be had is the reason why.
#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) host: Host,
    pub(crate) limits: LimitFacts,
    pub(crate) functions: Result<Vec<FunctionFacts>, String>,
    pub(crate) devices: Result<Vec<DeviceFacts>, String>,
    pub(crate) namespaces: Result<Vec<Namespace>, String>,
}

/// A device-dax device, and whether this process may open it.
#[derive(Debug)]
pub(crate) struct DeviceFacts {
    pub(crate) device: Device,
    pub(crate) access: Access,
}

impl Roots {
    pub(crate) fn system() -> Self {
        Self { sys: "/sys".into(), proc: "/proc".into(), dev: "/dev".into() }
    }
}

/// How the nodes of groups are looked at. A group is open once at a time, so whoever opens one at the moment in which it
/// is looked into is told that it is busy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Groups {
    /// By their permissions.
    Asked,
    /// By opening those that nobody is seen to use.
    Opened,
}

impl Machine {
    pub(crate) fn look(roots: &Roots, groups: Groups) -> Self {
        Self {
            host: Host::look(roots),
            limits: LimitFacts::look(roots),
            functions: FunctionFacts::look(roots, &Sysfs::at(&roots.sys), groups),
            devices: dax::devices_in(&roots.sys)
                .map(|devices| devices.into_iter().map(|device| look_at(roots, device)).collect())
                .map_err(|error| error.to_string()),
            namespaces: dax::namespaces_in(&roots.sys).map_err(|error| error.to_string()),
        }
    }
}

fn look_at(roots: &Roots, device: Device) -> DeviceFacts {
    DeviceFacts { access: Access::of(&roots.dev.join(&device.name)), device }
}
