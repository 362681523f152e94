//! The registers of a function: BAR 0, mapped.
//!
//! Every access is one volatile access of its own width, 64 bits included. One that is misaligned or outside reads all
//! ones or is ignored, as on a bus where nothing answers.
//!
//! The mapping is the first field: it is undone before this handle lets go of the function, which cannot be closed
//! while it is mapped. Memory space stays enabled as long as the function is open, so no access finds it off.
//!
//! A function that goes back to the kernel while this handle lives leaves memory of all ones in the place of its
//! registers, which nobody else can see: what is read of it then is as where nothing answers, until something is written. That
//! goes to no device, but it stays in the memory and is read again: a driver that has written there learns of the loss from
//! registers that it does not write.
#![allow(unsafe_code, reason = "island: volatile accesses of a mapped BAR")]

use std::{fmt, io, num::NonZero, sync::Arc};

use dmaring_ioat_spec::RegisterIo;
use memmap2::MmapRaw;
use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous};

use super::lease::Lease;

/// The registers of a function that is open.
pub struct Bar {
    registers: Window,
    lease: Arc<Lease>,
}

impl Bar {
    pub(super) fn new(registers: Arc<MmapRaw>, lease: Arc<Lease>) -> Self {
        Self { registers: Window(registers), lease }
    }
}

/// Puts memory of all ones in the place of mapped registers, which are then mapped no more.
pub(super) fn vacate(registers: &MmapRaw) -> io::Result<()> {
    let (start, length) = (registers.as_mut_ptr(), registers.len());
    let place = NonZero::new(start.addr()).zip(NonZero::new(length));
    let Some((address, bytes)) = place else { return Ok(()) };
    let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
    let flags = MapFlags::MAP_PRIVATE | MapFlags::MAP_FIXED;
    // SAFETY: (1) the range is exactly that of the mapping, which the borrow keeps in place and which later unmaps
    // whatever is there: nothing else is replaced; (2) it is reached by `Window` alone, whose accesses expect any bits and
    // hold no reference; (3) the replacement has the rights that it had.
    unsafe { mmap_anonymous(Some(address), bytes, access, flags) }?;
    let words: *mut u64 = start.cast();
    for index in 0..length / size_of::<u64>() {
        // SAFETY: (1) the word lies within the mapping, whose start is that of a page; (2) as above.
        unsafe { words.wrapping_add(index).write_volatile(u64::MAX) };
    }
    Ok(())
}

/// A mapping that is reached by volatile accesses.
struct Window(Arc<MmapRaw>);

impl Window {
    #[inline]
    fn read<T: Word>(&self, offset: u32) -> T {
        let Some(register) = self.register::<T>(offset) else { return T::ONES };
        // SAFETY: (1) `register` gives an aligned place within the mapping, which lives as long as this value; (2) the
        // device answers whatever is read of it, and any bits are a `T`.
        unsafe { register.read_volatile() }
    }

    #[inline]
    fn write<T: Word>(&self, offset: u32, value: T) {
        let Some(register) = self.register::<T>(offset) else { return };
        // SAFETY: (1) as in `read`; (2) the place is registers and no memory of the program, so that nothing in it is
        // changed by this; what the device does then is the device's, within what the IOMMU maps for it.
        unsafe { register.write_volatile(value) }
    }

    #[inline]
    fn register<T: Word>(&self, offset: u32) -> Option<*mut T> {
        let offset = offset as usize;
        let inside =
            offset.is_multiple_of(size_of::<T>()) && offset + size_of::<T>() <= self.0.len();
        inside.then(|| self.0.as_mut_ptr().wrapping_add(offset).cast())
    }
}

/// What an access can be wide.
trait Word: Copy {
    /// What a read gives when nothing answers.
    const ONES: Self;
}

impl Word for u8 {
    const ONES: Self = Self::MAX;
}

impl Word for u16 {
    const ONES: Self = Self::MAX;
}

impl Word for u32 {
    const ONES: Self = Self::MAX;
}

impl Word for u64 {
    const ONES: Self = Self::MAX;
}

impl RegisterIo for Bar {
    #[inline]
    fn read8(&self, offset: u32) -> u8 {
        self.registers.read(offset)
    }

    #[inline]
    fn read16(&self, offset: u32) -> u16 {
        self.registers.read(offset)
    }

    #[inline]
    fn read32(&self, offset: u32) -> u32 {
        self.registers.read(offset)
    }

    #[inline]
    fn read64(&self, offset: u32) -> u64 {
        self.registers.read(offset)
    }

    #[inline]
    fn write8(&self, offset: u32, value: u8) {
        self.registers.write(offset, value);
    }

    #[inline]
    fn write16(&self, offset: u32, value: u16) {
        self.registers.write(offset, value);
    }

    #[inline]
    fn write32(&self, offset: u32, value: u32) {
        self.registers.write(offset, value);
    }

    #[inline]
    fn write64(&self, offset: u32, value: u64) {
        self.registers.write(offset, value);
    }
}

impl fmt::Debug for Bar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bar").field("function", &self.lease.address()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use memmap2::{MmapMut, MmapRaw};

    use super::{Window, vacate};

    fn window() -> Window {
        Window(Arc::new(MmapRaw::from(MmapMut::map_anon(0x4000).unwrap())))
    }

    #[test]
    fn accesses_have_their_width_and_place() {
        let window = window();
        window.write(0x88, 0x8877_6655_4433_2211_u64);
        assert_eq!(window.read::<u64>(0x88), 0x8877_6655_4433_2211);
        assert_eq!(window.read::<u32>(0x8c), 0x8877_6655);
        assert_eq!(window.read::<u16>(0x8a), 0x4433);
        assert_eq!(window.read::<u8>(0x8f), 0x88);
        window.write(0x8e, 0xabcd_u16);
        window.write(0x89, 0xef_u8);
        assert_eq!(window.read::<u64>(0x88), 0xabcd_6655_4433_ef11);
        window.write(0x3ffc, 1_u32);
        assert_eq!(window.read::<u32>(0x3ffc), 1);
    }

    #[test]
    fn outside_and_askew_all_ones_are_read_and_nothing_is_written() {
        let window = window();
        for offset in [0x4000, 0x3ffc, 0x3fff, 4, 9, u32::MAX, u32::MAX - 7] {
            window.write(offset, 0_u64);
            assert_eq!(window.read::<u64>(offset), u64::MAX, "{offset:#x}");
        }
        for offset in [1, 0x3fff, u32::MAX] {
            window.write(offset, 0_u16);
            assert_eq!(window.read::<u16>(offset), u16::MAX, "{offset:#x}");
        }
        assert_eq!(window.read::<u8>(0x3fff), 0);
        assert_eq!(window.read::<u8>(0x4000), u8::MAX);
    }

    #[test]
    #[cfg_attr(miri, ignore = "maps a file, and memory in its place")]
    fn registers_that_were_given_back_read_as_ones_and_writes_stay_here() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(0x4000).unwrap();
        let window = Window(Arc::new(MmapRaw::map_raw(&file).unwrap()));
        window.write(0x88, 5_u64);
        vacate(&window.0).unwrap();
        for offset in [0, 0x88, 0x3ff8] {
            assert_eq!(window.read::<u64>(offset), u64::MAX, "{offset:#x}");
        }
        window.write(0x88, 7_u64);
        let mut word = [0; 8];
        std::os::unix::fs::FileExt::read_exact_at(&file, &mut word, 0x88).unwrap();
        assert_eq!(u64::from_le_bytes(word), 5);
    }
}
