//! Giving a function a driver and an override, write by write.
#![forbid(unsafe_code)]

use std::path::PathBuf;

use super::{Binder, Cause, Record};
use crate::pci::Address;

impl Binder {
    /// Gives a function the driver and the override that `wanted` says, whatever it has.
    pub(super) fn give(&self, address: Address, wanted: &Record) -> Result<(), Cause> {
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
