//! Giving functions to VFIO, and giving them back.
//!
//! Binding sets `driver_override`, unbinds what is there, and has the kernel look for a driver; unbinding restores the
//! driver and the override that were there before, which a record under `/run/dmaring/bind` says. Everything that can
//! refuse is asked before the first write. The writes are done one after the other, each finished when it returns; when
//! one fails, the function is given back what it had. A lock keeps two processes from doing this at once.
//!
//! A process that is killed in between leaves the function anywhere on the way, and the record. Binding again goes on
//! from there and keeps the record; unbinding goes back. No kill loses what the function had.
//!
//! Whether a function is in use is asked before it is unbound and not held: somebody who opens it in between keeps the
//! kernel, and so this, waiting until he closes it.
#![forbid(unsafe_code)]

mod attributes;
mod error;
#[cfg(test)]
mod fake_kernel;
mod give;
mod look;
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
use super::{Address, Function, Sysfs};

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
        let (has, record, bound) = self.look_before_binding(address)?;
        if !bound.changed {
            return Ok(bound);
        }
        let record = match record {
            Some(record) => record,
            None => {
                self.records
                    .save(address, &has)
                    .map_err(|error| self.refused("bind", address, error))?;
                has
            }
        };
        match self.give(address, &Record::bound()) {
            Ok(()) => {
                if record.restoring {
                    self.records.note(address, &record.with_restoring(false));
                }
                Ok(bound)
            }
            Err(cause) => Err(self.put_back(address, cause, &record)),
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
    /// another. One that is neither bound to `vfio-pci` nor left half-way is left as it is.
    ///
    /// # Errors
    ///
    /// See [`BindError`], and [`bind`](Self::bind).
    pub fn unbind(&self, address: Address) -> Result<Unbound, BindError> {
        self.check_unbind(address)?;
        let _lock = self.records.lock().map_err(|error| self.refused("unbind", address, error))?;
        let (has, record) = self.look_before_unbinding(address)?;
        let Some(record) = record else {
            // Nothing of what a record may say is left. Only here, since the lock keeps one from being begun.
            self.records.remove(address);
            return Ok(Unbound { address, changed: false, driver: has.driver });
        };
        self.records
            .save(address, &record.with_restoring(true))
            .map_err(|error| self.refused("unbind", address, error))?;
        match self.give(address, &record) {
            Ok(()) => {
                self.records.remove(address);
                Ok(Unbound { address, changed: true, driver: record.driver })
            }
            Err(cause) => {
                let undone = self.undo(address, &has);
                if matches!(undone, Undone::Restored) {
                    self.records.note(address, &record);
                }
                Err(BindError::Midway { address, cause, undone })
            }
        }
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
    fn put_back(&self, address: Address, cause: Cause, record: &Record) -> BindError {
        self.records.note(address, &record.with_restoring(true));
        let undone = self.undo(address, record);
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
}

impl Default for Binder {
    fn default() -> Self {
        Self::new()
    }
}

fn is_bound(function: &Function) -> bool {
    function.driver.as_deref() == Some(VFIO_DRIVER)
}
