//! A BAR of another device, mapped, for a runtime to open: peer to peer.
//!
//! Whatever can be wrong is looked for first, since an access to a BAR that nobody decodes reads all ones, or ends the
//! process. Through sysfs nothing holds the function: who unbinds it, or has it sleep, takes the BAR away from under the
//! mapping. Through VFIO ([`Container::bar`](crate::vfio::Container::bar)) it stays as it is for as long as the BAR is open.
#![allow(unsafe_code, reason = "implements the DeviceMemory contract on a mapped BAR")]

use std::{
    fmt,
    fs::{File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::PathBuf,
    ptr::NonNull,
    sync::Arc,
};

use dmaring_engine::DeviceMemory;
use memmap2::{MmapOptions, MmapRaw};
use nix::errno::Errno;

use super::{
    Address, AddressError, Function, Resource, Sysfs, SysfsError, resource::BARS, sysfs::optional,
};
use crate::vfio::Lease;

/// The page of the host and of every IOMMU.
const PAGE: u64 = 4096;

/// The command register, and the bit of it by which a function answers at its memory BARs.
const COMMAND: u64 = 0x04;
const MEMORY_SPACE: u16 = 1 << 1;

/// A BAR of a function, mapped in this process. `Runtime::open_bar` makes a region of it.
pub struct PeerBar {
    // Undone before the function is let go.
    mapping: MmapRaw,
    name: String,
    resource: Resource,
    numa_node: Option<u32>,
    /// What keeps the function open, where VFIO does.
    lease: Option<Arc<Lease>>,
}

/// Why a BAR cannot be had as memory for other devices.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PeerError {
    /// The text is no address.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// There is no such function, or sysfs cannot be read.
    #[error(transparent)]
    Sysfs(#[from] SysfsError),
    /// Functions have six BARs.
    #[error("{address} has no BAR {bar}: BARs are numbered from 0 to 5, see `lspci -vs {address}`")]
    NoBar {
        /// The function.
        address: Address,
        /// The BAR.
        bar: u8,
    },
    /// The BAR is not there, or has no address.
    #[error(
        "BAR {bar} of {address} has 0 bytes: the function has no such BAR, it is the upper half of a 64-bit one, or the \
         firmware gave it no address, see `lspci -vs {address}`"
    )]
    Empty {
        /// The function.
        address: Address,
        /// The BAR.
        bar: u8,
    },
    /// The BAR is I/O ports.
    #[error(
        "BAR {bar} of {address} is I/O ports, which no DMA engine reaches: `lspci -vs {address}` shows which BARs are memory"
    )]
    Ports {
        /// The function.
        address: Address,
        /// The BAR.
        bar: u8,
    },
    /// The BAR is no whole number of pages.
    #[error(
        "BAR {bar} of {address} is {bytes} bytes at {start:#x}: only whole pages of {PAGE} bytes can be mapped for another device"
    )]
    Pages {
        /// The function.
        address: Address,
        /// The BAR.
        bar: u8,
        /// Its address on the bus.
        start: u64,
        /// Its length, in bytes.
        bytes: u64,
    },
    /// The function sleeps.
    #[error(
        "{address} is in power state {state}, in which its BARs do not answer: `echo on | sudo tee \
         /sys/bus/pci/devices/{address}/power/control` wakes it"
    )]
    Asleep {
        /// The function.
        address: Address,
        /// Its state.
        state: String,
    },
    /// The function does not answer at its BARs.
    #[error(
        "{address} does not decode its memory BARs (bit 1 of its command register is 0): `{}` switches it on",
        enabling(*.address, *.enabled)
    )]
    NotDecoding {
        /// The function.
        address: Address,
        /// Whether the kernel takes it for enabled all the same.
        enabled: bool,
    },
    /// The BAR's file may not be opened.
    #[error("{} may not be opened: run as root, or `sudo chown $USER {}`", path.display(), path.display())]
    Permission {
        /// The file.
        path: PathBuf,
    },
    /// The BAR's file cannot be mapped.
    #[error("{} cannot be mapped{}", path.display(), why(source))]
    Map {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// VFIO does not let the BAR be mapped.
    #[error(
        "VFIO does not let BAR {bar} of {address} be mapped as a whole: open it through sysfs, with the function bound to no driver"
    )]
    NotMappable {
        /// The function.
        address: Address,
        /// The BAR.
        bar: u8,
    },
}

impl PeerBar {
    /// Maps BAR `bar` of the function at an address through its file in sysfs.
    ///
    /// # Errors
    ///
    /// See [`PeerError`]: it says what the platform lacks, and what mends it.
    pub fn open(address: Address, bar: u8) -> Result<Self, PeerError> {
        Self::open_in(&Sysfs::new(), address, bar)
    }

    /// The same in another sysfs.
    ///
    /// # Errors
    ///
    /// As for [`open`](PeerBar::open).
    pub fn open_in(sysfs: &Sysfs, address: Address, bar: u8) -> Result<Self, PeerError> {
        let function = sysfs.function(address)?;
        let (resource, bytes) = Self::check_resource(sysfs, address, bar)?;
        check_awake(sysfs, address)?;
        let path = sysfs.directory(address).join(format!("resource{bar}"));
        let mapping = map(&path, bytes)?;
        Ok(Self::new(&function, bar, resource, mapping, None))
    }

    /// Checks what the BAR is; gives it, and how many bytes are to be mapped.
    pub(crate) fn check_resource(
        sysfs: &Sysfs,
        address: Address,
        bar: u8,
    ) -> Result<(Resource, usize), PeerError> {
        if usize::from(bar) >= BARS {
            return Err(PeerError::NoBar { address, bar });
        }
        let resources = sysfs.resources(address)?;
        let resource = resources.get(usize::from(bar)).filter(|resource| resource.bytes > 0);
        let &resource = resource.ok_or(PeerError::Empty { address, bar })?;
        let Resource { start, bytes, .. } = resource;
        if !resource.is_memory {
            return Err(PeerError::Ports { address, bar });
        }
        let pages = PeerError::Pages { address, bar, start, bytes };
        match usize::try_from(bytes) {
            Ok(length) if (start | bytes).is_multiple_of(PAGE) => Ok((resource, length)),
            _ => Err(pages),
        }
    }

    pub(crate) fn new(
        function: &Function,
        bar: u8,
        resource: Resource,
        mapping: MmapRaw,
        lease: Option<Arc<Lease>>,
    ) -> Self {
        let name = format!("{} BAR {bar}", function.address);
        Self { mapping, name, resource, numa_node: function.numa_node, lease }
    }

    /// What the kernel says of it.
    #[must_use]
    pub fn resource(&self) -> Resource {
        self.resource
    }
}

// SAFETY: (1) the mapping is of the whole BAR, which is whole pages, and goes with the value; (2) the function decodes its
// memory space and is awake: VFIO keeps it so, through sysfs it was so when it was mapped; (3) the mapping is of a device's
// memory alone; (4) nothing of it changes.
unsafe impl DeviceMemory for PeerBar {
    fn base(&self) -> NonNull<u8> {
        NonNull::new(self.mapping.as_mut_ptr()).unwrap_or(NonNull::dangling())
    }

    fn len(&self) -> usize {
        self.mapping.len()
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn prefetchable(&self) -> bool {
        self.resource.prefetchable
    }

    fn bus_address(&self) -> Option<u64> {
        Some(self.resource.start)
    }

    fn numa_node(&self) -> Option<u32> {
        self.numa_node
    }
}

impl fmt::Debug for PeerBar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeerBar")
            .field("name", &self.name)
            .field("resource", &self.resource)
            .field("through_vfio", &self.lease.is_some())
            .finish_non_exhaustive()
    }
}

/// Refuses a function that sleeps, or does not answer at its BARs. Where the kernel does not say, nothing is refused.
fn check_awake(sysfs: &Sysfs, address: Address) -> Result<(), PeerError> {
    let directory = sysfs.directory(address);
    let state = optional(&directory.join("power_state"))?;
    if let Some(state) = state.filter(|state| state.starts_with('D') && state != "D0") {
        return Err(PeerError::Asleep { address, state });
    }
    let mut command = [0; 2];
    let config = File::open(directory.join("config"));
    match config.and_then(|config| config.read_exact_at(&mut command, COMMAND)) {
        Ok(()) if u16::from_le_bytes(command) & MEMORY_SPACE == 0 => {
            let enabled = optional(&directory.join("enable"))?;
            let enabled = enabled.is_some_and(|count| count != "0");
            Err(PeerError::NotDecoding { address, enabled })
        }
        _ => Ok(()),
    }
}

fn map(path: &std::path::Path, bytes: usize) -> Result<MmapRaw, PeerError> {
    let failed = |source: io::Error| {
        let path = path.to_owned();
        if source.kind() == io::ErrorKind::PermissionDenied {
            return PeerError::Permission { path };
        }
        PeerError::Map { path, source }
    };
    let file = OpenOptions::new().read(true).write(true).open(path).map_err(failed)?;
    MmapOptions::new().len(bytes).map_raw(&file).map_err(failed)
}

/// The command that lets a function decode its memory. The kernel counts who enabled it, and does nothing where it did.
fn enabling(address: Address, enabled: bool) -> String {
    if enabled {
        return format!("sudo setpci -s {address} COMMAND=2:2");
    }
    format!("echo 1 | sudo tee /sys/bus/pci/devices/{address}/enable")
}

/// What the kernel means when it refuses to map a BAR.
fn why(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(errno) if errno == Errno::EINVAL as i32 => {
            ": a driver of the host has claimed it: unbind the function, or bind it to vfio-pci"
        }
        Some(errno) if errno == Errno::EPERM as i32 => {
            ": the kernel is locked down: bind the function to vfio-pci"
        }
        Some(errno) if errno == Errno::ENODEV as i32 => ": this kernel maps no BARs through sysfs",
        _ => "",
    }
}

#[cfg(test)]
mod tests;
