//! What a driver holds: registers and configuration space of one function.

use std::{fmt, sync::Arc};

use dmaring_ioat_spec::{ConfigIo, RegisterIo};

use crate::{
    config_space::{COMMAND, COMMAND_MASTER},
    function::FunctionModel,
    model::Shared,
};

/// One PCI function of a device. Clones are the same function.
#[derive(Clone)]
pub struct Function {
    shared: Arc<Shared>,
    index: u8,
}

/// The registers of one function, BAR 0. Clones are the same registers.
///
/// Any number of threads may use it while the device is stepped. An access that is outside BAR 0 or
/// not aligned to its width reads all ones or is ignored, and counts as a violation.
#[derive(Clone)]
pub struct Bar(Function);

/// The configuration space of one function. Clones are the same space.
#[derive(Clone)]
pub struct Config(Function);

impl Function {
    pub(crate) fn new(shared: Arc<Shared>, index: u8) -> Self {
        Self { shared, index }
    }

    /// Its place in the device, from 0.
    #[must_use]
    pub fn index(&self) -> u8 {
        self.index
    }

    /// Its PCI device id.
    #[must_use]
    pub fn device_id(&self) -> u16 {
        self.with(|function| function.part().device_id).unwrap_or(u16::MAX)
    }

    /// Its registers.
    #[must_use]
    pub fn registers(&self) -> Bar {
        Bar(self.clone())
    }

    /// Its configuration space.
    #[must_use]
    pub fn config(&self) -> Config {
        Config(self.clone())
    }

    /// Turns bus mastering on or off, as a write of the command register does. Without it every access to
    /// memory fails like one that does not translate, and messages stay pending; the IOMMU sees neither.
    pub fn set_bus_master(&self, on: bool) {
        self.write_config(COMMAND, COMMAND_MASTER, if on { COMMAND_MASTER } else { 0 });
    }

    /// Resets the function as an operating system does: a function-level reset, with configuration space
    /// saved before and restored after. A reset asked for through configuration space restores nothing.
    pub fn reset(&self) {
        self.with(FunctionModel::reset);
    }

    /// Takes the function away: every read gives all ones from now on, and nothing happens any more.
    pub fn unplug(&self) {
        self.with(FunctionModel::unplug);
    }

    /// Brings a function back that was taken away: its configuration is as it was, all else as after a reset. Nothing
    /// happens to one that is there.
    pub fn plug(&self) {
        self.with(FunctionModel::plug);
    }

    /// How many interrupts it has raised since it was last reset.
    #[must_use]
    pub fn interrupts(&self) -> u64 {
        self.with(|function| function.interrupts()).unwrap_or(0)
    }

    pub(crate) fn with<R>(&self, work: impl FnOnce(&mut FunctionModel) -> R) -> Option<R> {
        self.shared.with(|model, upstream| {
            model.access(self.index, upstream).map(|(function, _)| work(function))
        })
    }

    /// Writes the bits in `mask` of a word of configuration space.
    pub(crate) fn write_config(&self, offset: u16, mask: u32, value: u32) -> bool {
        self.shared.with(|model, upstream| {
            let access = model.access(self.index, upstream);
            access.is_some_and(|(function, with)| function.write_config(offset, mask, value, &with))
        })
    }

    pub(crate) fn read(&self, offset: u32, bytes: u32) -> u64 {
        self.shared.with(|model, upstream| {
            let access = model.access(self.index, upstream);
            access.map_or(u64::MAX, |(function, mut with)| function.read(offset, bytes, &mut with))
        })
    }

    pub(crate) fn write(&self, offset: u32, bytes: u32, value: u64) {
        self.shared.with(|model, upstream| {
            if let Some((function, mut with)) = model.access(self.index, upstream) {
                function.write(offset, bytes, value, &mut with);
            }
        });
    }
}

impl RegisterIo for Bar {
    fn read8(&self, offset: u32) -> u8 {
        self.0.read(offset, 1) as u8
    }

    fn read16(&self, offset: u32) -> u16 {
        self.0.read(offset, 2) as u16
    }

    fn read32(&self, offset: u32) -> u32 {
        self.0.read(offset, 4) as u32
    }

    fn read64(&self, offset: u32) -> u64 {
        self.0.read(offset, 8)
    }

    fn write8(&self, offset: u32, value: u8) {
        self.0.write(offset, 1, value.into());
    }

    fn write16(&self, offset: u32, value: u16) {
        self.0.write(offset, 2, value.into());
    }

    fn write32(&self, offset: u32, value: u32) {
        self.0.write(offset, 4, value.into());
    }

    fn write64(&self, offset: u32, value: u64) {
        self.0.write(offset, 8, value);
    }
}

impl ConfigIo for Config {
    fn read_config32(&self, offset: u16) -> Option<u32> {
        self.0.with(|function| function.read_config(offset))?
    }

    fn write_config32(&self, offset: u16, value: u32) -> bool {
        self.0.write_config(offset, u32::MAX, value)
    }
}

impl fmt::Debug for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Function").field("index", &self.index).finish_non_exhaustive()
    }
}

impl fmt::Debug for Bar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Bar").field(&self.0.index).finish()
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Config").field(&self.0.index).finish()
    }
}
