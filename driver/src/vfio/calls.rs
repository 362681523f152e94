//! The calls that vfio-ioctls does not make, or whose result it does not give.
//!
//! Its mapping always asks for read and write, it has no `VFIO_IOMMU_GET_INFO`, its reset returns nothing, and it
//! says of a group only that it is not viable.
#![allow(unsafe_code, reason = "island: ioctls on VFIO descriptors")]

use std::{
    fs::File,
    mem,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
    ptr::NonNull,
};

use dmaring_engine::Rights;
use nix::{
    errno::Errno,
    request_code_none,
    sys::mman::{MmapAdvise, madvise},
};
use vfio_bindings::bindings::vfio::{
    VFIO_BASE, VFIO_DMA_MAP_FLAG_READ, VFIO_DMA_MAP_FLAG_WRITE, VFIO_TYPE, vfio_group_status,
    vfio_iommu_type1_dma_map, vfio_iommu_type1_dma_unmap, vfio_iommu_type1_info,
};
use vfio_ioctls::VfioDevice;

/// More than any kernel says of an IOMMU, in bytes.
const MAX_INFO_BYTES: usize = 1 << 20;

/// How often what a kernel says may grow while it is asked.
const INFO_ATTEMPTS: u32 = 4;

mod ioctl {
    use super::*;

    nix::ioctl_readwrite_bad!(
        group_get_status,
        request_code_none!(VFIO_TYPE, VFIO_BASE + 3),
        vfio_group_status
    );
    nix::ioctl_none_bad!(device_reset, request_code_none!(VFIO_TYPE, VFIO_BASE + 11));
    nix::ioctl_readwrite_bad!(iommu_get_info, request_code_none!(VFIO_TYPE, VFIO_BASE + 12), u8);
    nix::ioctl_write_ptr_bad!(
        iommu_map_dma,
        request_code_none!(VFIO_TYPE, VFIO_BASE + 13),
        vfio_iommu_type1_dma_map
    );
    nix::ioctl_readwrite_bad!(
        iommu_unmap_dma,
        request_code_none!(VFIO_TYPE, VFIO_BASE + 14),
        vfio_iommu_type1_dma_unmap
    );
}

/// The flags of an open group: VFIO_GROUP_GET_STATUS.
pub(super) fn group_flags(group: &File) -> Result<u32, Errno> {
    let mut status = vfio_group_status { argsz: argsz::<vfio_group_status>(), flags: 0 };
    // SAFETY: the call writes no more than `argsz` bytes, which is the structure's size.
    unsafe { ioctl::group_get_status(group.as_raw_fd(), &raw mut status) }?;
    Ok(status.flags)
}

/// Resets a function: VFIO_DEVICE_RESET. `EINVAL` where it has no reset.
pub(super) fn reset(device: &File) -> Result<(), Errno> {
    // SAFETY: the call takes no argument, and touches no memory of this process.
    unsafe { ioctl::device_reset(device.as_raw_fd()) }.map(drop)
}

/// What the kernel says of a container's IOMMU, as it writes it: VFIO_IOMMU_GET_INFO.
pub(super) fn iommu_info(container: &impl AsRawFd) -> Result<Vec<u8>, Errno> {
    let mut bytes = vec![0; size_of::<vfio_iommu_type1_info>()];
    for _ in 0..INFO_ATTEMPTS {
        let given = u32::try_from(bytes.len()).map_err(|_| Errno::EOVERFLOW)?;
        bytes.fill(0);
        bytes[..4].copy_from_slice(&given.to_ne_bytes());
        // SAFETY: the call writes no more than the bytes that the first word says there are.
        unsafe { ioctl::iommu_get_info(container.as_raw_fd(), bytes.as_mut_ptr()) }?;
        let needed = u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) as usize;
        if needed <= bytes.len() {
            return Ok(bytes);
        }
        if needed > MAX_INFO_BYTES {
            return Err(Errno::EOVERFLOW);
        }
        bytes.resize(needed, 0);
    }
    Err(Errno::EAGAIN)
}

/// Makes memory reachable at an address: VFIO_IOMMU_MAP_DMA.
///
/// # Safety
///
/// As for [`DmaMap::map`](dmaring_engine::DmaMap::map): the range is mapped memory of this process and stays so until
/// the mapping is undone. Devices may write it where the rights say so.
pub(super) unsafe fn map(
    container: &impl AsRawFd,
    iova: u64,
    memory: NonNull<u8>,
    length: u64,
    rights: Rights,
) -> Result<(), Errno> {
    let flags = match rights {
        Rights::Read => VFIO_DMA_MAP_FLAG_READ,
        Rights::ReadWrite => VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE,
        _ => return Err(Errno::EOPNOTSUPP),
    };
    let vaddr = memory.as_ptr().expose_provenance() as u64;
    let argsz = argsz::<vfio_iommu_type1_dma_map>();
    let request = vfio_iommu_type1_dma_map { argsz, flags, vaddr, iova, size: length };
    // SAFETY: (1) the structure has the size that it says; (2) that devices may reach the range is what the caller
    // swears to.
    unsafe { ioctl::iommu_map_dma(container.as_raw_fd(), &raw const request) }.map(drop)
}

/// Gives memory that this process may write pages of its own: MADV_POPULATE_WRITE, from Linux 5.14 on.
///
/// A page of private memory that was never written is shared: with all that are zero, or with a file. Before Linux 6.2 a
/// mapping for reading pins that page; the first write of the process then goes to another one, and devices never see
/// it. Memory that may not be written has no such page, and the call fails to no effect.
///
/// # Safety
///
/// The range is mapped memory of this process.
pub(super) unsafe fn make_private(memory: NonNull<u8>, length: usize) {
    // SAFETY: the call changes no content, and no access to the range that the caller swears is mapped.
    let result = unsafe { madvise(memory.cast(), length, MmapAdvise::MADV_POPULATE_WRITE) };
    if let Err(error) = result {
        tracing::debug!(length, %error, "memory to be read was not made private");
    }
}

/// Undoes a mapping, and says how many bytes the kernel undid: VFIO_IOMMU_UNMAP_DMA.
pub(super) fn unmap(container: &impl AsRawFd, iova: u64, length: u64) -> Result<u64, Errno> {
    let mut request = vfio_iommu_type1_dma_unmap {
        argsz: argsz::<vfio_iommu_type1_dma_unmap>(),
        iova,
        size: length,
        ..Default::default()
    };
    // SAFETY: the call writes no more than `argsz` bytes, which is the structure's size without its open end, and
    // without flags nothing follows it.
    unsafe { ioctl::iommu_unmap_dma(container.as_raw_fd(), &raw mut request) }?;
    Ok(request.size)
}

/// Another descriptor of the same open file, closed on exec.
pub(super) fn duplicate(owner: &impl AsRawFd) -> std::io::Result<File> {
    // SAFETY: `owner` keeps the descriptor open during this call, which its borrow outlasts.
    let borrowed = unsafe { BorrowedFd::borrow_raw(owner.as_raw_fd()) };
    borrowed.try_clone_to_owned().map(File::from)
}

/// Closes a function's descriptor, and leaves the rest of what vfio-ioctls has for it in place for ever.
pub(super) fn close_in_place(device: VfioDevice) {
    let descriptor = device.as_raw_fd();
    mem::forget(device);
    // SAFETY: the descriptor was open and `device`'s own, which is forgotten and so closes it no more.
    drop(unsafe { OwnedFd::from_raw_fd(descriptor) });
}

const fn argsz<T>() -> u32 {
    assert!(size_of::<T>() < 4096);
    size_of::<T>() as u32
}
