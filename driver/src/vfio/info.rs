//! What VFIO says of a container's IOMMU, taken from the bytes that the kernel wrote.
//!
//! A fixed part is followed by a chain of capabilities, each with the offset of the next from the start of all.
//! Kernels append them, so an offset that does not grow is none that a kernel wrote, and a chain ends.
#![forbid(unsafe_code)]

use vfio_bindings::bindings::vfio::{
    VFIO_IOMMU_INFO_CAPS, VFIO_IOMMU_INFO_PGSIZES, VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE,
    VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL,
};

const FLAGS: usize = 4;
const PAGE_SIZES: usize = 8;
const FIRST_CAPABILITY: usize = 16;

/// Where things are in a capability.
const NEXT: usize = 4;
const AVAILABLE: usize = 8;
const RANGE_COUNT: usize = 8;
const RANGES: usize = 16;
const RANGE_BYTES: usize = 16;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct IommuInfo {
    /// A bit for each size of page; `None` where the kernel does not say.
    pub(super) page_sizes: Option<u64>,
    /// The addresses that can be mapped, as first and last; `None` where the kernel does not say.
    pub(super) ranges: Option<Vec<(u64, u64)>>,
    /// How many more mappings the container takes; `None` where the kernel does not say.
    pub(super) available: Option<u32>,
}

/// The bytes are none that a kernel writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

impl IommuInfo {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let flags = word(bytes, FLAGS)?;
        let mut info = Self::default();
        if flags & VFIO_IOMMU_INFO_PGSIZES != 0 {
            info.page_sizes = Some(long(bytes, PAGE_SIZES)?);
        }
        let mut at = match flags & VFIO_IOMMU_INFO_CAPS {
            0 => 0,
            _ => word(bytes, FIRST_CAPABILITY)? as usize,
        };
        while at != 0 {
            let capability = bytes.get(at..).ok_or(Malformed)?;
            match word(capability, 0)? & 0xffff {
                VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE => info.ranges = Some(ranges(capability)?),
                VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL => {
                    info.available = Some(word(capability, AVAILABLE)?);
                }
                _ => {}
            }
            let next = word(capability, NEXT)? as usize;
            if next != 0 && next <= at {
                return Err(Malformed);
            }
            at = next;
        }
        Ok(info)
    }
}

fn ranges(capability: &[u8]) -> Result<Vec<(u64, u64)>, Malformed> {
    let count = word(capability, RANGE_COUNT)? as usize;
    let bytes = count.checked_mul(RANGE_BYTES).and_then(|bytes| bytes.checked_add(RANGES));
    let ranges = bytes.and_then(|end| capability.get(RANGES..end)).ok_or(Malformed)?;
    ranges
        .chunks_exact(RANGE_BYTES)
        .map(|range| {
            let (first, last) = (long(range, 0)?, long(range, 8)?);
            if first <= last { Ok((first, last)) } else { Err(Malformed) }
        })
        .collect()
}

fn word(bytes: &[u8], at: usize) -> Result<u32, Malformed> {
    take(bytes, at).map(u32::from_ne_bytes)
}

fn long(bytes: &[u8], at: usize) -> Result<u64, Malformed> {
    take(bytes, at).map(u64::from_ne_bytes)
}

fn take<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N], Malformed> {
    let end = at.checked_add(N).ok_or(Malformed)?;
    bytes.get(at..end).and_then(|part| part.try_into().ok()).ok_or(Malformed)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{IommuInfo, Malformed};

    fn bytes(words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_ne_bytes()).collect()
    }

    /// As Linux 6.1 writes it under VT-d: ranges around the interrupt window, migration, entries left.
    fn sample() -> Vec<u32> {
        let mut words = vec![132, 3, 0x4020_1000, 0, 24, 0];
        words.extend([1 | 1 << 16, 72, 2, 0, 0, 0, 0xfedf_ffff, 0, 0xfef0_0000, 0, u32::MAX, 0x7f]);
        words.extend([2 | 1 << 16, 104, 0, 0, 0x1000, 0, 0x1000_0000, 0]);
        words.extend([3 | 1 << 16, 0, 65_535]);
        words
    }

    #[test]
    fn pages_ranges_and_entries_left_are_found() {
        let info = IommuInfo::parse(&bytes(&sample())).unwrap();
        assert_eq!(info.page_sizes, Some(0x4020_1000));
        let ranges = vec![(0, 0xfedf_ffff), (0xfef0_0000, 0x7f_ffff_ffff)];
        assert_eq!(info.ranges, Some(ranges));
        assert_eq!(info.available, Some(65_535));
    }

    #[test]
    fn an_old_kernel_says_less() {
        let info = IommuInfo::parse(&bytes(&[24, 1, 0x1000, 0, 99, 0])).unwrap();
        assert_eq!(info, IommuInfo { page_sizes: Some(0x1000), ..IommuInfo::default() });
        assert_eq!(IommuInfo::parse(&bytes(&[16, 0, 0x1000, 0])), Ok(IommuInfo::default()));
    }

    #[test]
    fn chains_that_no_kernel_writes_are_refused() {
        let changed = |place: usize, word: u32| {
            let mut words = sample();
            words[place] = word;
            IommuInfo::parse(&bytes(&words))
        };
        for (place, word) in [
            (4, 2_000),     // the first capability lies outside
            (4, 130),       // and half outside
            (7, 24),        // a capability leads to itself
            (19, 24),       // and back
            (7, u32::MAX),  // and out
            (8, 1_000_000), // more ranges than there are bytes
            (8, u32::MAX),
            (10, u32::MAX), // a range ends before it begins
        ] {
            assert_eq!(changed(place, word), Err(Malformed), "word {place}");
        }
        assert_eq!(IommuInfo::parse(&[]), Err(Malformed));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(
            mut words in prop::collection::vec(any::<u32>(), 0..64),
            changes in prop::collection::vec((0_usize..64, 0_u32..256), 0..8),
            real in any::<bool>(),
        ) {
            if real {
                words = sample();
            }
            for (place, word) in changes {
                if let Some(old) = words.get_mut(place) {
                    *old = word;
                }
            }
            let _ = IommuInfo::parse(&bytes(&words));
        }
    }
}
