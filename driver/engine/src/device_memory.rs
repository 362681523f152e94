//! Memory of a device that processes map: a PCIe BAR.
#![allow(
    unsafe_code,
    reason = "declares what memory of a device must promise; holds no unsafe block"
)]

use core::ptr::NonNull;

/// Memory of a device, mapped in this process: a PCIe BAR that behaves like memory.
///
/// A driver makes it and a runtime opens it; neither knows the other. The mapping is undone when the value is dropped.
///
/// # Safety
///
/// The runtime reads and writes the range, and maps it for engines. An implementor swears that
///
/// 1. the [`len`](DeviceMemory::len) bytes at [`base`](DeviceMemory::base) are mapped for reading and writing, begin
///    and end at a multiple of the host's page, and stay the same until the value is dropped, however it is moved;
/// 2. the device answers accesses to all of them as long as it is there: it is powered, and decodes its memory space;
/// 3. every aligned access of 1, 2, 4 or 8 bytes is harmless to this process's own memory;
/// 4. the answers of all methods stay the same.
pub unsafe trait DeviceMemory: Send + Sync + 'static {
    /// The first byte.
    fn base(&self) -> NonNull<u8>;

    /// How many bytes there are; not 0.
    fn len(&self) -> usize;

    /// Whether there are none: never.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What messages call it: `0000:00:0b.0 BAR 2`.
    fn name(&self) -> &str;

    /// Whether reads have no side effects and bytes may be written singly, as PCI calls *prefetchable*. Where not,
    /// operations on it begin and end at multiples of 4 bytes.
    fn prefetchable(&self) -> bool;

    /// The address of the first byte on the host's bus, where it is known: two handles to the same bytes are told by it.
    fn bus_address(&self) -> Option<u64> {
        None
    }

    /// The NUMA node that the device is nearest to, where it is known.
    fn numa_node(&self) -> Option<u32> {
        None
    }
}
