//! A container: one IOMMU address space, and the functions that work in it.
//!
//! ```text
//! open:  checks ─► group, function ─► ranges read ─► reset ─► bus mastering on ─► BAR mapped ─► channel started
//! close: channel halted ─► BAR unmapped ─► bus mastering off ─┬─► function closed
//!                                                             └─ last one, mappings left ─► parked
//! unmap: last mapping undone, function parked ─► function closed
//! ```
//!
//! The kernel gives a container its IOMMU with its first group, and takes it away, with all mappings, when the last
//! group leaves. Closing the last function would so undo mappings behind the back of whoever made them, and each `unmap`
//! after it would fail, which means *the memory may still be reachable, leave it in place*. So the last function stays
//! open, halted and without bus mastering, until the last mapping is undone; a channel's own ring is such a mapping.
//!
//! One lock covers which functions are open and which addresses are taken. Opening and closing happen under it;
//! mapping itself does not.
#![forbid(unsafe_code)]

use std::{
    collections::BTreeMap,
    fmt,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use dmaring_engine::DmaMap;
use nix::errno::Errno;
use vfio_ioctls::{VfioContainer, VfioError};

use super::{
    Bar, Config, Error, calls,
    device::Device,
    info::IommuInfo,
    lease::Lease,
    preflight,
    space::{GRANULE, Space},
};
use crate::pci::{Address, Sysfs, users};

/// Where VFIO's nodes are.
const NODES: &str = "/dev/vfio";

/// What a container takes where the kernel does not say: `dma_entry_limit` of vfio_iommu_type1, by default.
const DEFAULT_LIMIT: u64 = 65_535;

/// An IOMMU address space for any number of functions.
///
/// Clones are the same container. It has no address space before the first function is opened in it; what is mapped for
/// one function is then reachable for all.
#[derive(Clone, Debug)]
pub struct Container {
    inner: Arc<Inner>,
}

/// A function that was opened, ready to be driven: bus mastering is on.
pub(crate) struct Opened {
    pub(crate) registers: Bar,
    pub(crate) config: Config,
    pub(crate) domain: Arc<dyn DmaMap>,
}

/// What clones, functions and address space share.
pub(super) struct Inner {
    pub(super) vfio: Arc<VfioContainer>,
    book: Mutex<Book>,
}

#[derive(Debug, Default)]
pub(super) struct Book {
    pub(super) space: Space,
    /// How many mappings the container takes.
    pub(super) limit: u64,
    /// The functions in use, each with its group.
    open: BTreeMap<Address, u32>,
    /// The last function, no longer in use, while there are mappings.
    parked: Option<(Device, u32)>,
    /// Groups that vfio-ioctls kept after it failed to open a function of them.
    kept: Vec<u32>,
}

/// The checks of [`preflight::check`], on this system.
pub(crate) fn check_system(address: Address) -> Result<(), Error> {
    preflight::check(&Sysfs::new(), Path::new(NODES), address).map(drop)
}

impl Container {
    /// An empty container.
    ///
    /// # Errors
    ///
    /// VFIO is missing, or its node may not be opened: see [`Error`].
    pub fn new() -> Result<Self, Error> {
        let vfio = VfioContainer::new(None).map_err(|error| match error {
            VfioError::OpenContainer(source) => {
                preflight::container_error(&Path::new(NODES).join("vfio"), source)
            }
            VfioError::VfioExtension => Error::NoType1,
            error => Error::Container { source: error },
        })?;
        let inner = Inner { vfio: Arc::new(vfio), book: Mutex::default() };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Opens a function: checked, reset, with memory space and bus mastering on, interrupts off, registers mapped.
    pub(crate) fn open(&self, address: Address) -> Result<Opened, Error> {
        let device = self.inner.admit(&Sysfs::new(), address)?;
        // From here on a drop of the lease switches bus mastering off and closes the function.
        let lease = Arc::new(Lease::new(device, Arc::clone(&self.inner)));
        let registers = lease.bring_up()?;
        Ok(Opened {
            registers: Bar::new(registers, Arc::clone(&lease)),
            config: Config::new(lease),
            domain: Arc::clone(&self.inner) as _,
        })
    }
}

impl Inner {
    pub(super) fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens a function and notes that it is in use.
    fn admit(&self, sysfs: &Sysfs, address: Address) -> Result<Device, Error> {
        let nodes = Path::new(NODES);
        let mut book = self.book();
        if let Some(&group) = book.open.get(&address) {
            return Err(Error::Busy { address, group, users: users(group) });
        }
        let group = preflight::check(sysfs, nodes, address)?;
        if !book.has_group(group) {
            preflight::probe(sysfs, nodes, address, group)?;
        }
        let device = match book.parked.take_if(|(device, _)| device.address() == address) {
            Some((device, _)) => device,
            None => self.join(&mut book, sysfs, address, group)?,
        };
        book.open.insert(address, group);
        Ok(device)
    }

    /// Opens a function that is not open, and takes in what it makes of the address space.
    fn join(
        &self,
        book: &mut Book,
        sysfs: &Sysfs,
        address: Address,
        group: u32,
    ) -> Result<Device, Error> {
        let path = sysfs.root().join("bus/pci/devices").join(address.to_string());
        let device = Device::open(&self.vfio, &path, address).map_err(|error| {
            if keeps_group(&error) && !book.kept.contains(&group) {
                book.kept.push(group);
            }
            open_error(sysfs, address, group, error)
        })?;
        let info = self.info()?;
        if let Some(sizes) = info.page_sizes
            && sizes & GRANULE == 0
        {
            return Err(Error::PageSizes { sizes });
        }
        book.space.set_ranges(info.ranges.as_deref());
        let left = info.available.map(|left| u64::from(left) + book.space.count() as u64);
        book.limit = left.unwrap_or(DEFAULT_LIMIT);
        // The new function carries the address space now.
        book.parked = None;
        Ok(device)
    }

    fn info(&self) -> Result<IommuInfo, Error> {
        let failed =
            |errno: Errno| Error::Call { call: "VFIO_IOMMU_GET_INFO", source: errno.into() };
        let bytes = calls::iommu_info(&*self.vfio).map_err(failed)?;
        IommuInfo::parse(&bytes).map_err(|_| failed(Errno::EBADMSG))
    }

    /// Takes a function back that was in use: it is closed, or parked.
    pub(super) fn take_back(&self, device: Device) {
        let mut book = self.book();
        let group = book.open.remove(&device.address());
        if book.open.is_empty() && book.space.count() > 0 {
            book.parked = group.map(|group| (device, group));
        }
    }
}

impl Book {
    /// Whether functions are there for mappings to serve, or to be kept for.
    pub(super) fn has_domain(&self) -> bool {
        !self.open.is_empty() || self.parked.is_some()
    }

    /// Closes a parked function when nothing is mapped any more.
    pub(super) fn settle(&mut self) {
        if self.space.count() == 0 {
            self.parked = None;
        }
    }

    fn has_group(&self, group: u32) -> bool {
        self.open.values().any(|open| *open == group)
            || self.parked.as_ref().is_some_and(|(_, parked)| *parked == group)
            || self.kept.contains(&group)
    }
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let book = self.book();
        f.debug_struct("Container")
            .field("open", &book.open)
            .field("mappings", &book.space.count())
            .finish_non_exhaustive()
    }
}

/// Whether vfio-ioctls has the group open and in the container in spite of this error.
fn keeps_group(error: &VfioError) -> bool {
    matches!(
        error,
        VfioError::GroupGetDeviceFD(_)
            | VfioError::VfioDeviceGetInfo(_)
            | VfioError::VfioDeviceGetInfoPCI
            | VfioError::VfioDeviceGetInfoOther
    )
}

fn open_error(sysfs: &Sysfs, address: Address, group: u32, error: VfioError) -> Error {
    match error {
        VfioError::OpenGroup(source, _) => {
            let path = Path::new(NODES).join(group.to_string());
            preflight::group_error(&path, address, group, source)
        }
        VfioError::GroupViable => preflight::not_viable(sysfs, group),
        VfioError::ContainerSetIOMMU(errno) if errno.errno() == Errno::EPERM as i32 => {
            Error::NoInterruptRemapping { address }
        }
        source => Error::Vfio { address, source },
    }
}
