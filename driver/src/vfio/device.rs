//! One function that VFIO has opened.
//!
//! The kernel closes the function, and resets it, when the last descriptor and the last mapping of it are gone. Here
//! that is the order of the fields: the duplicate that configuration space is reached through first, then
//! vfio-ioctls' own descriptor, whose owner then takes the group out of the container.
//!
//! That owner looks for the group in sysfs, and panics where the function is no longer there, as after it was unplugged.
//! So sysfs is looked at first. Where the function has gone, its descriptor is closed and the owner is left in place for
//! ever, with the group in the container.
#![forbid(unsafe_code)]

use std::{
    fmt,
    fs::File,
    mem,
    os::unix::fs::FileExt,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::Arc,
};

use dmaring_ioat_spec::{ConfigIo, device::REGISTER_BAR, registers::BAR_BYTES};
use memmap2::{MmapOptions, MmapRaw};
use vfio_bindings::bindings::vfio::{
    VFIO_PCI_CONFIG_REGION_INDEX, VFIO_PCI_REQ_IRQ_INDEX, VFIO_REGION_INFO_FLAG_MMAP,
    VFIO_REGION_INFO_FLAG_READ, VFIO_REGION_INFO_FLAG_WRITE,
};
use vfio_ioctls::{VfioContainer, VfioDevice, VfioError};
use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

use super::{Error, calls};
use crate::{
    fork::Origin,
    pci::{Address, PeerError},
};

/// What VFIO must allow of BAR 0.
const ALL: u32 =
    VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE | VFIO_REGION_INFO_FLAG_MMAP;

pub(super) struct Device {
    address: Address,
    bars: [Region; 6],
    config: Region,
    /// Signalled when the kernel wants the function back, where it says so.
    request: Option<EventFd>,
    file: File,
    handle: Handle,
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
        let device = VfioDevice::new(path, Arc::clone(container) as _, false)?;
        let region = |index| Region {
            offset: device.get_region_offset(index),
            bytes: device.get_region_size(index),
            flags: device.get_region_flags(index),
        };
        let bars = [0, 1, 2, 3, 4, 5].map(region);
        let config = region(VFIO_PCI_CONFIG_REGION_INDEX);
        let request = request_event(&device, address);
        let file = calls::duplicate(&device);
        let handle = Handle {
            device: Some(device),
            group_link: path.join("iommu_group"),
            origin: Origin::here(),
        };
        let file = file.map_err(|_| VfioError::VfioDeviceDupFd)?;
        Ok(Self { address, bars, config, request, file, handle })
    }

    /// Closes the function. `false`: its group could not be taken out of the container.
    pub(super) fn close(self) -> bool {
        let Self { file, mut handle, .. } = self;
        drop(file);
        handle.close()
    }

    /// Whether this process is a child of the one that opened the function.
    pub(super) fn is_elsewhere(&self) -> bool {
        self.handle.origin.is_elsewhere()
    }

    pub(super) fn address(&self) -> Address {
        self.address
    }

    /// Whether the kernel wants the function back. It says so again every 10 s, so asking twice may give two answers.
    pub(super) fn is_wanted(&self) -> bool {
        self.request.as_ref().is_some_and(|event| event.read().is_ok())
    }

    /// Resets the function. `false`: it has no reset, or that failed. The channel is reset in any case.
    pub(super) fn reset(&self) -> bool {
        calls::reset(&self.file)
            .inspect_err(|error| {
                tracing::warn!(address = %self.address, %error, "VFIO cannot reset the function: only its channel is reset");
            })
            .is_ok()
    }

    /// Maps BAR 0.
    pub(super) fn map_registers(&self) -> Result<MmapRaw, Error> {
        let Region { offset, bytes: there, flags } = self.bars[usize::from(REGISTER_BAR)];
        if there < u64::from(BAR_BYTES) || flags & ALL != ALL {
            return Err(Error::Registers { address: self.address, bytes: there, flags });
        }
        MmapOptions::new()
            .offset(offset)
            .len(BAR_BYTES as usize)
            .map_raw(&self.file)
            .map_err(|source| Error::Call { call: "mapping BAR 0", source })
    }

    /// Maps all of a memory BAR that has so many bytes.
    pub(super) fn map_bar(&self, bar: u8, bytes: usize) -> Result<MmapRaw, Error> {
        let address = self.address;
        let Some(&Region { offset, bytes: there, flags }) = self.bars.get(usize::from(bar)) else {
            return Err(Error::Peer(PeerError::NoBar { address, bar }));
        };
        if there != bytes as u64 || flags & ALL != ALL {
            return Err(Error::Peer(PeerError::NotMappable { address, bar }));
        }
        MmapOptions::new()
            .offset(offset)
            .len(bytes)
            .map_raw(&self.file)
            .map_err(|source| Error::Call { call: "mapping a BAR", source })
    }

    /// Where a doubleword of configuration space is in the file.
    fn place(&self, offset: u16) -> Option<u64> {
        let inside = offset.is_multiple_of(4) && u64::from(offset) + 4 <= self.config.bytes;
        inside.then(|| self.config.offset.checked_add(u64::from(offset)))?
    }
}

/// Has the kernel signal when it wants the function back: Linux does since 4.0. `None`: it will not, and whoever unbinds the
/// function waits until it is closed.
fn request_event(device: &VfioDevice, address: Address) -> Option<EventFd> {
    let index = VFIO_PCI_REQ_IRQ_INDEX;
    if device.get_irq_info(index).is_none_or(|irq| irq.count == 0) {
        tracing::debug!(%address, "this kernel does not say when it wants a function back");
        return None;
    }
    let event = EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC).ok();
    let event = event.filter(|event| device.enable_irq(index, vec![event]).is_ok());
    if event.is_none() {
        tracing::warn!(%address, "the kernel cannot tell when it wants the function back");
    }
    event
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

/// vfio-ioctls' device, to be dropped where its drop finds what it looks for.
struct Handle {
    /// There until it is closed.
    device: Option<VfioDevice>,
    /// Where the drop looks for the group.
    group_link: PathBuf,
    origin: Origin,
}

impl Handle {
    /// `false`: the group stays in the container.
    fn close(&mut self) -> bool {
        let Some(device) = self.device.take() else { return true };
        if self.origin.is_elsewhere() {
            // The parent's group would leave the parent's container.
            mem::forget(device);
            return false;
        }
        if self.group_link.read_link().is_err() {
            calls::close_in_place(device);
            tracing::error!(path = %self.group_link.display(), "a function went away while it was open: its group stays with the container");
            return false;
        }
        // It may have gone since.
        let left = catch_unwind(AssertUnwindSafe(|| drop(device))).is_ok();
        if !left {
            tracing::error!(path = %self.group_link.display(), "a function went away while it was closed: its group stays with the container");
        }
        left
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.close();
    }
}
