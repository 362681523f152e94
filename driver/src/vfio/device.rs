//! One function that VFIO has opened.
//!
//! The kernel closes the function, and resets it, when the last descriptor and the last mapping of it are gone. Here
//! that is the order of the fields: the duplicate that configuration space is reached through first, then
//! vfio-ioctls' own descriptor, whose owner then takes the group out of the container.
#![forbid(unsafe_code)]

use std::{
    fmt,
    fs::File,
    os::unix::fs::FileExt,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::Arc,
};

use dmaring_ioat_spec::{ConfigIo, device::REGISTER_BAR, registers::BAR_BYTES};
use memmap2::{MmapOptions, MmapRaw};
use vfio_bindings::bindings::vfio::{
    VFIO_PCI_CONFIG_REGION_INDEX, VFIO_REGION_INFO_FLAG_MMAP, VFIO_REGION_INFO_FLAG_READ,
    VFIO_REGION_INFO_FLAG_WRITE,
};
use vfio_ioctls::{VfioContainer, VfioDevice, VfioError};

use super::{Error, calls};
use crate::pci::Address;

/// What VFIO must allow of BAR 0.
const ALL: u32 =
    VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE | VFIO_REGION_INFO_FLAG_MMAP;

pub(super) struct Device {
    address: Address,
    registers: Region,
    config: Region,
    file: File,
    _handle: Handle,
}

/// A part of the open file.
#[derive(Clone, Copy, Debug)]
struct Region {
    offset: u64,
    bytes: u64,
    flags: u32,
}

impl Device {
    /// Opens the function that is at `path` in sysfs, and its group with it, where the container does not have it.
    pub(super) fn open(
        container: &Arc<VfioContainer>,
        path: &Path,
        address: Address,
    ) -> Result<Self, VfioError> {
        let handle = VfioDevice::new(path, Arc::clone(container) as _, false)?;
        let file = calls::duplicate(&handle).map_err(|_| VfioError::VfioDeviceDupFd)?;
        let region = |index| Region {
            offset: handle.get_region_offset(index),
            bytes: handle.get_region_size(index),
            flags: handle.get_region_flags(index),
        };
        let (registers, config) =
            (region(u32::from(REGISTER_BAR)), region(VFIO_PCI_CONFIG_REGION_INDEX));
        Ok(Self { address, registers, config, file, _handle: Handle(Some(handle)) })
    }

    pub(super) fn address(&self) -> Address {
        self.address
    }

    /// Resets the function. Not every function can be: the channel is reset in any case.
    pub(super) fn reset(&self) {
        if let Err(error) = calls::reset(&self.file) {
            tracing::warn!(address = %self.address, %error, "VFIO cannot reset the function: only its channel is reset");
        }
    }

    /// Maps BAR 0.
    pub(super) fn map_registers(&self) -> Result<MmapRaw, Error> {
        let Region { offset, bytes: there, flags } = self.registers;
        if there < u64::from(BAR_BYTES) || flags & ALL != ALL {
            return Err(Error::Registers { address: self.address, bytes: there, flags });
        }
        MmapOptions::new()
            .offset(offset)
            .len(BAR_BYTES as usize)
            .map_raw(&self.file)
            .map_err(|source| Error::Call { call: "mapping BAR 0", source })
    }

    /// Where a doubleword of configuration space is in the file.
    fn place(&self, offset: u16) -> Option<u64> {
        let inside = offset.is_multiple_of(4) && u64::from(offset) + 4 <= self.config.bytes;
        inside.then(|| self.config.offset.checked_add(u64::from(offset)))?
    }
}

impl ConfigIo for Device {
    fn read_config32(&self, offset: u16) -> Option<u32> {
        let mut bytes = [0; 4];
        let read = self.file.read_at(&mut bytes, self.place(offset)?).ok()?;
        (read == bytes.len()).then_some(u32::from_le_bytes(bytes))
    }

    fn write_config32(&self, offset: u16, value: u32) -> bool {
        let bytes = value.to_le_bytes();
        self.place(offset)
            .and_then(|place| self.file.write_at(&bytes, place).ok())
            .is_some_and(|written| written == bytes.len())
    }
}

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Device").field("address", &self.address).finish_non_exhaustive()
    }
}

/// vfio-ioctls' device. Its drop looks for the function in sysfs and panics where it is not, which is so after the
/// function was unplugged: that must not reach the runtime.
struct Handle(Option<VfioDevice>);

impl Drop for Handle {
    fn drop(&mut self) {
        let handle = self.0.take();
        if catch_unwind(AssertUnwindSafe(|| drop(handle))).is_err() {
            tracing::error!(
                "a function went away while it was open: its group stays with the container"
            );
        }
    }
}
