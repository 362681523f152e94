//! Giving functions to VFIO, and giving them back.
//!
//! Binding sets `driver_override`, unbinds what is there, and has the kernel look for a driver; unbinding restores the
//! driver and the override that were there before, which a record under `/run/dmaring/bind` says. Everything that can
//! refuse is asked before the first write. The writes are done one after the other, each finished when it returns; when
//! one fails, the function is given back what it had. A lock keeps two processes from doing this at once.
//!
//! Whether a function is in use is asked before it is unbound and not held: somebody who opens it in between keeps the
//! kernel, and so this, waiting until he closes it.
#![forbid(unsafe_code)]

mod attributes;
mod error;
#[cfg(test)]
mod fake_kernel;
mod outcome;
mod record;
#[cfg(test)]
mod tests;

use std::{io, path::PathBuf};

use self::{
    attributes::{Attributes, System},
    record::{Record, Records},
};
pub use self::{
    error::{BindError, Cause, Undone},
    outcome::{Bound, Unbound},
};
use super::{Address, Function, Sysfs, holders};

/// The driver that gives functions to user space.
pub const VFIO_DRIVER: &str = "vfio-pci";

/// What binds functions to `vfio-pci` and back.
#[derive(Debug)]
pub struct Binder {
    sysfs: Sysfs,
    proc: PathBuf,
    dev: PathBuf,
    records: Records,
    attributes: Box<dyn Attributes>,
}

impl Binder {
    /// For the system's functions.
    #[must_use]
    pub fn new() -> Self {
        Self {
            sysfs: Sysfs::new(),
            proc: PathBuf::from("/proc"),
            dev: PathBuf::from("/dev"),
            records: Records::at(PathBuf::from("/run/dmaring/bind")),
            attributes: Box::new(System),
        }
    }

    /// Whether [`bind`](Self::bind) would begin. Changes nothing.
    ///
    /// # Errors
    ///
    /// What `bind` would refuse.
    pub fn check_bind(&self, address: Address) -> Result<(), BindError> {
        self.look_before_binding(address).map(drop)
    }

    /// Binds a function to `vfio-pci`, if it is not bound to it already.
    ///
    /// # Errors
    ///
    /// See [`BindError`]. Whatever it is, the function has what it had, unless the error says that it could not be
    /// given that back.
    pub fn bind(&self, address: Address) -> Result<Bound, BindError> {
        // What may not be done at all is said before there is a directory of records.
        self.check_bind(address)?;
        let _lock = self.records.lock().map_err(|error| self.refused("bind", address, error))?;
        let (function, bound) = self.look_before_binding(address)?;
        if !bound.changed {
            return Ok(bound);
        }
        let record = Record::of(&function);
        self.records
            .save(address, &record)
            .map_err(|error| self.refused("bind", address, error))?;
        let wanted = Record {
            driver: Some(VFIO_DRIVER.to_owned()),
            driver_override: Some(VFIO_DRIVER.to_owned()),
        };
        match self.give(address, &wanted) {
            Ok(()) => Ok(bound),
            Err(cause) => Err(self.put_back(address, cause, record)),
        }
    }

    /// Whether [`unbind`](Self::unbind) would begin. Changes nothing.
    ///
    /// # Errors
    ///
    /// What `unbind` would refuse.
    pub fn check_unbind(&self, address: Address) -> Result<(), BindError> {
        self.look_before_unbinding(address).map(drop)
    }

    /// Gives a function back the driver and the override that it had before [`bind`](Self::bind), in this process or
    /// another. One that is not bound to `vfio-pci` is left as it is.
    ///
    /// # Errors
    ///
    /// See [`BindError`], and [`bind`](Self::bind).
    pub fn unbind(&self, address: Address) -> Result<Unbound, BindError> {
        self.check_unbind(address)?;
        let _lock = self.records.lock().map_err(|error| self.refused("unbind", address, error))?;
        let (function, record) = self.look_before_unbinding(address)?;
        let Some(record) = record else {
            return Ok(Unbound { address, changed: false, driver: function.driver });
        };
        match self.give(address, &record) {
            Ok(()) => {
                self.records.remove(address);
                Ok(Unbound { address, changed: true, driver: record.driver })
            }
            Err(cause) => {
                let undone = self.undo(address, &Record::of(&function));
                Err(BindError::Midway { address, cause, undone })
            }
        }
    }

    /// The function as it is, and what binding it will have come to.
    fn look_before_binding(&self, address: Address) -> Result<(Function, Bound), BindError> {
        let function = self.ioat_function(address)?;
        if !self.sysfs.has_iommu() {
            return Err(BindError::NoIommu { address });
        }
        let group = function.iommu_group.ok_or(BindError::NoGroup { address })?;
        let mut held_back_by = self.sysfs.group_members(group)?;
        held_back_by.retain(|member| member.address != address && member.holds_group_back());
        let changed = !is_bound(&function);
        let previous = function.driver.clone().filter(|_| changed);
        if changed {
            self.check_driver(address, VFIO_DRIVER)?;
            self.check_free(&function)?;
            self.check_writable("bind", address)?;
        }
        Ok((function, Bound { address, changed, previous, group, held_back_by }))
    }

    /// The function as it is, and what it is to be given back; nothing if it is not bound.
    fn look_before_unbinding(
        &self,
        address: Address,
    ) -> Result<(Function, Option<Record>), BindError> {
        let function = self.ioat_function(address)?;
        if !is_bound(&function) {
            return Ok((function, None));
        }
        let Some(record) = self.records.load(address)? else {
            let directory = self.sysfs.directory(address);
            return Err(BindError::NotOurs { address, directory });
        };
        if let Some(driver) = &record.driver {
            self.check_driver(address, driver)?;
        }
        self.check_free(&function)?;
        self.check_writable("unbind", address)?;
        Ok((function, Some(record)))
    }

    fn ioat_function(&self, address: Address) -> Result<Function, BindError> {
        let function = self.sysfs.function(address)?;
        if function.is_ioat() {
            return Ok(function);
        }
        let Function { vendor, device, .. } = function;
        Err(BindError::NotIoat { address, vendor, device })
    }

    fn check_driver(&self, address: Address, driver: &str) -> Result<(), BindError> {
        if self.sysfs.has_driver(driver) {
            return Ok(());
        }
        Err(BindError::NoDriver { address, driver: driver.to_owned() })
    }

    fn check_free(&self, function: &Function) -> Result<(), BindError> {
        let by = holders(&self.sysfs, &self.proc, &self.dev, function)?;
        if by.is_empty() {
            return Ok(());
        }
        Err(BindError::InUse { address: function.address, by })
    }

    fn check_writable(&self, verb: &'static str, address: Address) -> Result<(), BindError> {
        let path = self.sysfs.directory(address).join("driver_override");
        self.attributes
            .check(&path)
            .map_err(|source| self.refused(verb, address, BindError::NotWritable { path, source }))
    }

    /// The same error, or that the process may not do it.
    fn refused(&self, verb: &'static str, address: Address, error: BindError) -> BindError {
        match error {
            BindError::NotWritable { path, source } | BindError::Record { path, source }
                if source.kind() == io::ErrorKind::PermissionDenied =>
            {
                BindError::Permission { address, verb, path }
            }
            error => error,
        }
    }

    /// Takes back what was done of a binding that failed.
    fn put_back(&self, address: Address, cause: Cause, record: Record) -> BindError {
        let undone = self.undo(address, &record);
        if matches!(undone, Undone::Restored) {
            self.records.remove(address);
        }
        BindError::Midway { address, cause, undone }
    }

    fn undo(&self, address: Address, record: &Record) -> Undone {
        match self.give(address, record) {
            Ok(()) => Undone::Restored,
            Err(cause) => Undone::Failed { driver: record.driver.clone(), cause: Box::new(cause) },
        }
    }

    /// Gives a function the driver and the override that `wanted` says, whatever it has.
    fn give(&self, address: Address, wanted: &Record) -> Result<(), Cause> {
        let name = wanted.driver_override.as_deref();
        // An override may have been set after another driver had the function: that one needs its own to come back.
        let needed = wanted.driver.as_deref().filter(|_| name.is_some());
        self.write_override(address, needed.or(name))?;
        let found = self.sysfs.function(address)?.driver;
        if found != wanted.driver {
            if let Some(driver) = &found {
                self.write_to_driver(driver, "unbind", address)?;
            }
            if let Some(driver) = &wanted.driver {
                self.write_to_driver(driver, "bind", address)?;
            }
        }
        if needed.is_some_and(|needed| Some(needed) != name) {
            self.write_override(address, name)?;
        }
        let found = self.sysfs.function(address)?.driver;
        if found == wanted.driver {
            return Ok(());
        }
        Err(Cause::Driver { found, wanted: wanted.driver.clone() })
    }

    fn write_override(&self, address: Address, name: Option<&str>) -> Result<(), Cause> {
        // An empty line takes the override away.
        let line = format!("{}\n", name.unwrap_or_default());
        self.write(self.sysfs.directory(address).join("driver_override"), line)
    }

    fn write_to_driver(&self, driver: &str, what: &str, address: Address) -> Result<(), Cause> {
        self.write(self.sysfs.driver_directory(driver).join(what), address.to_string())
    }

    fn write(&self, path: PathBuf, text: String) -> Result<(), Cause> {
        self.attributes.write(&path, &text).map_err(|source| {
            let text = text.trim_end().to_owned();
            Cause::Write { text, path, source }
        })
    }
}

impl Default for Binder {
    fn default() -> Self {
        Self::new()
    }
}

fn is_bound(function: &Function) -> bool {
    function.driver.as_deref() == Some(VFIO_DRIVER)
}
