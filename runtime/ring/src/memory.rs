//! Raw shared memory, seen as rings.
#![allow(
    unsafe_code,
    reason = "island: makes references to the header and the slots from raw memory"
)]

use core::{ptr::NonNull, slice};

use crate::layout::{CompletionSlot, Header, Layout, LayoutError, SubmissionSlot};

/// A checked view of memory that holds rings.
///
/// It owns nothing: whoever makes one keeps the memory mapped. Everything it lends is made of atomics,
/// so any value that a peer writes at any time is a value that can be read.
#[derive(Debug)]
pub struct Rings {
    /// Begins `layout.size()` bytes of live memory, aligned for a header.
    base: NonNull<u8>,
    layout: Layout,
}

// SAFETY: the memory belongs to no thread (conditions 1 and 2 of `create` and `attach` speak of the
// process), and all that a `Rings` gives out is `&Header` and `&[Slot]`, which are `Sync`.
unsafe impl Send for Rings {}
// SAFETY: as above; a `Rings` has no interior state of its own.
unsafe impl Sync for Rings {}

impl Rings {
    /// Makes fresh rings in memory that was just allocated, and returns their view.
    ///
    /// # Errors
    ///
    /// [`LayoutError::Misaligned`] and [`LayoutError::TooShort`]; the memory is as it was then.
    ///
    /// # Safety
    ///
    /// The caller swears that
    ///
    /// 1. the `length` bytes at `base` are one allocation or mapping, readable, writable and
    ///    initialised (zeroed, as a fresh mapping is), and stay so as long as the `Rings` exists;
    /// 2. in this process they are accessed only through atomics, or through `Rings`, in that time;
    /// 3. nobody attaches to them before `create` has returned.
    pub unsafe fn create(
        base: NonNull<u8>,
        length: usize,
        layout: Layout,
    ) -> Result<Self, LayoutError> {
        check_range(base, length, layout.size())?;
        let rings = Self { base, layout };
        for (index, slot) in (0..).zip(rings.submission_slots()) {
            slot.initialise(index);
        }
        rings.header().initialise(layout);
        Ok(rings)
    }

    /// A view of rings that somebody else has created.
    ///
    /// # Errors
    ///
    /// Any [`LayoutError`]: nothing that stands in the memory is believed before it was checked.
    ///
    /// # Safety
    ///
    /// The caller swears to conditions 1 and 2 of [`create`](Self::create). What the memory holds and
    /// what other processes write to it is no condition.
    pub unsafe fn attach(base: NonNull<u8>, length: usize) -> Result<Self, LayoutError> {
        check_range(base, length, size_of::<Header>())?;
        // SAFETY: (1) the range was just found long enough and aligned for a header; (2) the caller
        // swears that it is live and initialised; (3) a header is atomics without padding, for
        // which any bytes and any concurrent writes are legal.
        let header = unsafe { base.cast::<Header>().as_ref() };
        let layout = header.identify()?;
        check_range(base, length, layout.size())?;
        Ok(Self { base, layout })
    }

    /// The rings' layout, as it was when the view was made.
    #[must_use]
    pub const fn layout(&self) -> Layout {
        self.layout
    }

    /// The words that the two sides share.
    #[must_use]
    pub fn header(&self) -> &Header {
        // SAFETY: (1) `create` and `attach` found the range long enough and aligned for a header; (2)
        // their callers keep it live; (3) any bytes are a legal header.
        unsafe { self.base.cast::<Header>().as_ref() }
    }

    /// The slots of the submission ring; their number is a power of two.
    #[must_use]
    pub fn submission_slots(&self) -> &[SubmissionSlot] {
        let offset = self.layout.submission_offset();
        let first = self.base.as_ptr().wrapping_add(offset).cast::<SubmissionSlot>();
        // SAFETY: (1) by the layout the slots lie within `layout.size()` bytes of `base`, at a multiple
        // of their alignment, and `create` and `attach` found the range that long; (2) their callers
        // keep it live; (3) any bytes are legal slots.
        unsafe { slice::from_raw_parts(first, self.layout.entries() as usize) }
    }

    /// The slots of the completion ring; their number is a power of two.
    #[must_use]
    pub fn completion_slots(&self) -> &[CompletionSlot] {
        let offset = self.layout.completion_offset();
        let first = self.base.as_ptr().wrapping_add(offset).cast::<CompletionSlot>();
        // SAFETY: as for the submission slots.
        unsafe { slice::from_raw_parts(first, self.layout.completion_entries() as usize) }
    }
}

fn check_range(base: NonNull<u8>, length: usize, needed: usize) -> Result<(), LayoutError> {
    let (address, alignment) = (base.addr().get(), align_of::<Header>());
    if !address.is_multiple_of(alignment) {
        return Err(LayoutError::Misaligned { address, alignment });
    }
    if length < needed {
        return Err(LayoutError::TooShort { length, needed });
    }
    Ok(())
}
