//! Mapping memory for devices: the contract of the seam.
#![allow(unsafe_code, reason = "implements the DmaMap contract for the software IOMMU")]

use std::ptr::NonNull;

use dmaring_engine::{DmaMap, Iova, MapError, MapLimits, Quota, Rights};

use super::{Iommu, Misuse, PAGE, Span, keep};

const EINVAL: i32 = 22;

// SAFETY: (1) an address leads to the memory it was given for, as `Table` keeps the pair until `unmap`;
// (2) a write needs a mapping whose rights allow it; (3) devices reach memory only under the lock that
// `unmap` holds while it removes the mapping.
unsafe impl DmaMap for Iommu {
    fn granule(&self) -> usize {
        PAGE as usize
    }

    unsafe fn map(
        &self,
        memory: NonNull<u8>,
        length: usize,
        rights: Rights,
    ) -> Result<Iova, MapError> {
        let mut book = self.book();
        let address = memory.as_ptr().addr();
        if length == 0 || !(address | length).is_multiple_of(PAGE as usize) {
            keep(&mut book.misuse, Misuse::MapMisaligned { address, length });
            return Err(MapError::Os(EINVAL));
        }
        if !matches!(rights, Rights::Read | Rights::ReadWrite) {
            return Err(MapError::Unsupported);
        }
        let needed = length as u64;
        let iova = book.table.place(needed).ok_or(MapError::Addresses { needed })?;
        // SAFETY: (1) the range stays mapped until `unmap` has returned Ok (this call's caller), which
        // drops the span; (2) it is written only where `rights` say so; (3) it begins at a page;
        // (4) others use atomic accesses, as the contract of `enqueue` lets them touch it meanwhile.
        let span = unsafe { Span::new(memory, length) };
        book.table.insert(iova, rights, span);
        Ok(Iova::new(iova))
    }

    unsafe fn unmap(&self, iova: Iova, length: usize) -> Result<(), MapError> {
        let mut book = self.book();
        if book.table.remove(iova.get(), length) {
            return Ok(());
        }
        keep(&mut book.misuse, Misuse::UnmapUnknown { iova, length });
        Err(MapError::Os(EINVAL))
    }

    fn limits(&self) -> MapLimits {
        let (used, most) = self.book().table.usage();
        let mut limits = MapLimits::default();
        limits.addresses = Some(Quota { used, most });
        limits
    }
}

#[cfg(test)]
mod tests {
    use std::{ptr::NonNull, sync::atomic::AtomicU64};

    use super::{DmaMap, Iommu, Iova, PAGE, Rights};

    #[repr(align(4096))]
    struct Page {
        _words: [AtomicU64; 512],
    }

    #[test]
    fn gaps_stay_when_addresses_are_given_again() {
        let page = Page { _words: [const { AtomicU64::new(0) }; 512] };
        let domain = Iommu::with_seed(1);
        let mut at: Vec<u64> = (0..12)
            .map(|_| {
                domain.book().table.use_up();
                // SAFETY: the page outlives the domain's last use of it.
                unsafe { domain.map(NonNull::from(&page).cast(), 4096, Rights::Read) }.unwrap()
            })
            .map(Iova::get)
            .collect();
        at.sort_unstable();
        assert_eq!(at[11] - at[0], 11 * 2 * PAGE, "as close as gaps of one page allow: {at:x?}");
        // SAFETY: this was mapped above, and no device is there.
        unsafe { domain.unmap(Iova::new(at[4]), 4096) }.unwrap();
        domain.book().table.use_up();
        // SAFETY: as above.
        let again = unsafe { domain.map(NonNull::from(&page).cast(), 4096, Rights::Read) };
        assert_eq!(again, Ok(Iova::new(at[4])));
    }
}
