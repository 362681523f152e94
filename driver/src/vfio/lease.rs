//! A function that is in use, and its way back.
//!
//! [`Bar`](super::Bar), [`Config`] and [`Recall`](super::Recall) hold one lease together. When the last of them lets go, the BAR is unmapped
//! already; bus mastering is switched off, so that the function reaches memory no more, and only then does it go back to
//! the container, which closes it. Where the kernel asks for the function before that, it goes back at once, and the handles
//! are left with nothing behind them.
#![forbid(unsafe_code)]

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dmaring_ioat_spec::ConfigIo;
use memmap2::MmapRaw;

use super::{Error, bar, container::Inner, device::Device};
use crate::pci::{
    Address,
    config::{ConfigError, disable_bus_mastering, enable, enable_memory},
};

/// The configuration space of a function that is open.
#[derive(Debug)]
pub struct Config {
    lease: Arc<Lease>,
}

impl Config {
    pub(super) fn new(lease: Arc<Lease>) -> Self {
        Self { lease }
    }
}

impl ConfigIo for Config {
    fn read_config32(&self, offset: u16) -> Option<u32> {
        self.lease.device().as_ref()?.read_config32(offset)
    }

    fn write_config32(&self, offset: u16, value: u32) -> bool {
        self.lease.device().as_ref().is_some_and(|device| device.write_config32(offset, value))
    }
}

#[derive(Debug)]
pub(crate) struct Lease {
    address: Address,
    /// There until it is handed over: by the drop, or to the kernel.
    device: Mutex<Option<Device>>,
    container: Arc<Inner>,
}

impl Lease {
    pub(super) fn new(device: Device, container: Arc<Inner>) -> Self {
        Self { address: device.address(), device: Mutex::new(Some(device)), container }
    }

    pub(super) fn address(&self) -> Address {
        self.address
    }

    /// Resets the function, switches on what a driver needs, and maps its registers. Says too whether it was reset.
    pub(super) fn bring_up(&self) -> Result<(MmapRaw, bool), Error> {
        let device = self.device();
        let address = self.address;
        let gone = Error::Config { address, source: ConfigError::Absent };
        let device = device.as_ref().ok_or(gone)?;
        let was_reset = device.reset();
        enable(device).map_err(|source| Error::Config { address, source })?;
        Ok((device.map_registers()?, was_reset))
    }

    /// Whether the kernel wants the function back.
    pub(super) fn is_wanted(&self) -> bool {
        self.device().as_ref().is_some_and(Device::is_wanted)
    }

    /// Gives the function back to the kernel, whoever still has its registers, which are in `registers`.
    pub(super) fn give_back(&self, registers: &MmapRaw) {
        let mut place = self.device();
        let Some(device) = place.take_if(|device| !device.is_elsewhere()) else { return };
        if let Err(error) = bar::vacate(registers) {
            tracing::error!(address = %self.address, %error, "the registers cannot be unmapped: the function goes back when the runtime is closed");
            *place = Some(device);
            return;
        }
        drop(place);
        quiet(&device);
        self.container.give_back(device);
        tracing::info!(address = %self.address, "the function was given back");
    }

    fn device(&self) -> MutexGuard<'_, Option<Device>> {
        self.device.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends what the function may still do to memory.
fn quiet(device: &Device) {
    if !disable_bus_mastering(device) {
        tracing::warn!(address = %device.address(), "bus mastering was not switched off");
    }
}

impl Lease {
    /// Switches memory space on, and maps a BAR. Bus mastering stays off: a peer is reached, and reaches nothing.
    pub(super) fn bring_up_peer(&self, bar: u8, bytes: usize) -> Result<MmapRaw, Error> {
        let address = self.address;
        let gone = Error::Config { address, source: ConfigError::Absent };
        let device = self.device();
        let device = device.as_ref().ok_or(gone)?;
        enable_memory(device).map_err(|source| Error::Config { address, source })?;
        device.map_bar(bar, bytes)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Some(device) = self.device().take() else { return };
        if device.is_elsewhere() {
            // A child's copy: the function is the parent's, and so is the container's lock.
            return;
        }
        quiet(&device);
        self.container.take_back(device);
    }
}
