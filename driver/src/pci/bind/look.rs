//! What is looked at before anything is written: whatever can refuse.
#![forbid(unsafe_code)]

use super::{BindError, Binder, Bound, Record, VFIO_DRIVER, is_bound};
use crate::pci::{Address, Function, holders};

impl Binder {
    /// What the function has, the record of what it had if it is on its way already, and what binding will have come
    /// to.
    pub(super) fn look_before_binding(
        &self,
        address: Address,
    ) -> Result<(Record, Option<Record>, Bound), BindError> {
        let function = self.ioat_function(address)?;
        if !self.sysfs.has_iommu() {
            return Err(BindError::NoIommu { address });
        }
        let group = function.iommu_group.ok_or(BindError::NoGroup { address })?;
        let mut held_back_by = self.sysfs.group_members(group)?;
        held_back_by.retain(|member| member.address != address && member.holds_group_back());
        let (has, record) = self.record_of("bind", &function)?;
        // One that was being given back is bound and will not stay so.
        let changed =
            !is_bound(&function) || record.as_ref().is_some_and(|record| record.restoring);
        let had = record.as_ref().map_or(&function.driver, |record| &record.driver);
        let previous = had.clone().filter(|_| changed);
        if changed {
            self.check_driver(address, VFIO_DRIVER)?;
            if !is_bound(&function) {
                self.check_free(&function)?;
            }
            self.check_writable("bind", address)?;
        }
        Ok((has, record, Bound { address, changed, previous, group, held_back_by }))
    }

    /// What the function has, and what it is to be given back; nothing if it is neither bound nor on its way.
    pub(super) fn look_before_unbinding(
        &self,
        address: Address,
    ) -> Result<(Record, Option<Record>), BindError> {
        let function = self.ioat_function(address)?;
        let (has, record) = self.record_of("unbind", &function)?;
        let Some(record) = record else {
            if is_bound(&function) {
                let directory = self.sysfs.directory(address);
                return Err(BindError::NotOurs { address, directory });
            }
            return Ok((has, None));
        };
        if let Some(driver) = &record.driver {
            self.check_driver(address, driver)?;
        }
        self.check_free(&function)?;
        self.check_writable("unbind", address)?;
        Ok((has, Some(record)))
    }

    /// What a function has, and the record of what it had, if it is one of what is the matter now.
    fn record_of(
        &self,
        verb: &'static str,
        function: &Function,
    ) -> Result<(Record, Option<Record>), BindError> {
        let address = function.address;
        let has = Record::of(function, self.sysfs.driver_override(address)?);
        let record =
            self.records.load(address).map_err(|error| self.refused(verb, address, error))?;
        let record = record.filter(|record| record.is_of(&has));
        Ok((has, record))
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
}
