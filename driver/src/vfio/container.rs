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
//! A function that the kernel asks for back cannot wait for that. Where it is the last one it is closed all the same, and the
//! container is *dissolved*: no function of it is open, and none can be opened in it again. So no device uses an address of it,
//! whatever of its mappings is left: its functions were closed with bus mastering off, and a group that stays in it goes to no other
//! driver or process. Mostly the group leaves, and the kernel has undone every mapping and unpinned the memory before it is out.
//! Where a group stays, or the address space outlives its groups as with iommufd, mappings stay, their pages pinned, until they are
//! unmapped. What is mapped here from then on, for engines that are left in other address spaces, takes an address and no more. To
//! unmap the kernel is asked all the same, and that it knows no mapping is as good as that it undid one.
//!
//! One lock covers which functions are open and which addresses are taken. Opening and closing happen under it, to the
//! end: whoever sees that a function is not open finds its group free. Mapping itself does not happen under it. Within it
//! vfio-ioctls takes locks of its own, and never the other way round.
//!
//! vfio-ioctls keeps a group in its container when a function of it could not be opened. Where that container carries no
//! function, it is replaced by a new one, which lets the group go; else the group is noted as kept.
#![forbid(unsafe_code)]

use std::{
    fmt,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use dmaring_engine::DmaMap;
use nix::errno::Errno;
use vfio_ioctls::{VfioContainer, VfioError};

use super::{
    Bar, Config, Error, MapProgress, Recall, book::Book, calls, device::Device, info::IommuInfo,
    lease::Lease, parts::Listener, preflight, space::GRANULE,
};
use crate::{
    fork::Origin,
    pci::{Address, Sysfs, users},
};

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
    pub(super) inner: Arc<Inner>,
}

/// A function that was opened, ready to be driven: bus mastering is on.
pub(crate) struct Opened {
    pub(crate) registers: Bar,
    pub(crate) config: Config,
    pub(crate) domain: Arc<dyn DmaMap>,
    /// The function's way back to the kernel.
    pub(crate) recall: Recall,
    /// Whether the function was reset: nothing of an earlier owner is left in it then.
    pub(crate) was_reset: bool,
}

/// What clones, functions and address space share.
pub(super) struct Inner {
    /// Changed under the lock of `book` alone, while there is no address space.
    vfio: Mutex<Arc<VfioContainer>>,
    book: Mutex<Book>,
    pub(super) progress: Listener,
    pub(super) origin: Origin,
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
        let inner = Inner {
            vfio: Mutex::new(Arc::new(new_vfio()?)),
            book: Mutex::default(),
            progress: Listener::default(),
            origin: Origin::here(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Tells `listener` how far a long mapping is, from now on: a region of many GiB whose pages are to be pinned takes
    /// seconds. It is called by whoever opens the region.
    pub fn on_progress(&self, listener: impl Fn(MapProgress) + Send + Sync + 'static) {
        self.inner.progress.set(listener);
    }

    /// Opens a function: checked, reset, with memory space and bus mastering on, interrupts off, registers mapped.
    pub(crate) fn open(&self, address: Address) -> Result<Opened, Error> {
        if self.inner.origin.is_elsewhere() {
            return Err(Error::OtherProcess { address });
        }
        let device = self.inner.admit(&Sysfs::new(), address, preflight::check)?;
        // From here on a drop of the lease switches bus mastering off and closes the function.
        let lease = Arc::new(Lease::new(device, Arc::clone(&self.inner)));
        let (registers, was_reset) = lease.bring_up()?;
        let registers = Arc::new(registers);
        Ok(Opened {
            registers: Bar::new(Arc::clone(&registers), Arc::clone(&lease)),
            recall: Recall::new(Arc::clone(&lease), registers),
            config: Config::new(lease),
            domain: Arc::clone(&self.inner) as _,
            was_reset,
        })
    }
}

impl Inner {
    pub(super) fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The container. As long as addresses are taken it stays the same.
    pub(super) fn vfio(&self) -> Arc<VfioContainer> {
        Arc::clone(&self.vfio.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Opens a function and notes that it is in use.
    pub(super) fn admit(
        &self,
        sysfs: &Sysfs,
        address: Address,
        check: impl FnOnce(&Sysfs, &Path, Address) -> Result<u32, Error>,
    ) -> Result<Device, Error> {
        let nodes = Path::new(NODES);
        let mut book = self.book();
        if book.dissolved {
            return Err(Error::Dissolved { address });
        }
        if let Some(&group) = book.open.get(&address) {
            return Err(Error::Busy { address, group, users: users(group) });
        }
        let group = check(sysfs, nodes, address)?;
        if !book.has_group(group) {
            preflight::probe(sysfs, nodes, address, group)?;
        }
        let device = match book.parked.take_if(|(device, _)| device.address() == address) {
            Some((device, _)) => device,
            None => self.join(&mut book, sysfs, address, group)?,
        };
        book.open.insert(address, group);
        // The new function carries the address space now.
        if let Some((parked, group)) = book.parked.take() {
            self.close(&mut book, parked, group);
        }
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
        let open = || Device::open(&self.vfio(), &path, address);
        let mut opened = open();
        if self.let_go(book, group, &opened) {
            // The kernel may have ended a group that vfio-ioctls still had, this one or another, when its function was unbound.
            opened = open();
            self.let_go(book, group, &opened);
        }
        let device = opened.map_err(|error| open_error(sysfs, address, group, error))?;
        let info = self.info()?;
        if let Some(sizes) = info.page_sizes
            && sizes & GRANULE == 0
        {
            return Err(Error::PageSizes { sizes });
        }
        book.space.set_ranges(info.ranges.as_deref());
        let left = info.available.map(|left| u64::from(left) + book.mappings);
        book.limit = left.unwrap_or(DEFAULT_LIMIT);
        Ok(device)
    }

    fn info(&self) -> Result<IommuInfo, Error> {
        let failed =
            |errno: Errno| Error::Call { call: "VFIO_IOMMU_GET_INFO", source: errno.into() };
        let bytes = calls::iommu_info(&*self.vfio()).map_err(failed)?;
        IommuInfo::parse(&bytes).map_err(|_| failed(Errno::EBADMSG))
    }

    /// Takes a function back that was in use: it is closed, or parked.
    pub(super) fn take_back(&self, device: Device) {
        let mut book = self.book();
        let group = book.open.remove(&device.address());
        match group {
            Some(group) if book.open.is_empty() && book.space.count() > 0 => {
                book.parked = Some((device, group));
            }
            Some(group) => self.close(&mut book, device, group),
            None => drop(device),
        }
    }

    /// Gives a function back to the kernel that was in use: it is closed, and the container dissolved where that was all it
    /// had.
    pub(super) fn give_back(&self, device: Device) {
        let mut book = self.book();
        let Some(group) = book.open.remove(&device.address()) else { return };
        let left = device.close();
        book.closed(group, left);
        // The kernel ends the group of a function that it unbinds as soon as that is closed. If it is before vfio-ioctls, that
        // keeps a group which is no more.
        book.keep(group);
        if !book.dissolve() {
            self.renew(&mut book);
        }
    }

    /// Closes a parked function when nothing is mapped any more.
    pub(super) fn settle(&self, book: &mut Book) {
        if book.space.count() == 0
            && let Some((device, group)) = book.parked.take()
        {
            self.close(book, device, group);
        }
    }

    /// Closes a function that is not in use any more, while the lock is held.
    fn close(&self, book: &mut Book, device: Device, group: u32) {
        let left = device.close();
        book.closed(group, left);
        self.renew(book);
    }

    /// After a function was not opened and its group is kept: `true` if that has gone with its container.
    fn let_go(&self, book: &mut Book, group: u32, opened: &Result<Device, VfioError>) -> bool {
        if !opened.as_ref().is_err_and(keeps_group) {
            return false;
        }
        book.keep(group);
        self.renew(book)
    }

    /// Lets kept groups go with their container, where it carries nothing else. `true`: they have gone.
    fn renew(&self, book: &mut Book) -> bool {
        if !book.is_renewable() {
            return false;
        }
        match new_vfio() {
            Ok(fresh) => {
                *self.vfio.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(fresh);
                book.kept.clear();
                true
            }
            Err(error) => {
                tracing::warn!(%error, groups = ?book.kept, "groups stay in the container");
                false
            }
        }
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

fn new_vfio() -> Result<VfioContainer, Error> {
    VfioContainer::new(None).map_err(|error| match error {
        VfioError::OpenContainer(source) => {
            preflight::container_error(&Path::new(NODES).join("vfio"), source)
        }
        VfioError::VfioExtension => Error::NoType1,
        source => Error::Container { source },
    })
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
