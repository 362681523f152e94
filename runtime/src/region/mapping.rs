//! A region's mappings: one in every distinct domain, made before the region exists, undone before its memory goes.
#![allow(unsafe_code, reason = "island: maps memory for engines and unmaps it")]

use std::{fmt, ptr::NonNull, sync::Arc};

use dmaring_engine::{DmaMap, Iova, Rights};

use crate::{error::Error, shared::Shared};

/// Where the region is in one domain.
struct Mapping {
    domain: Arc<dyn DmaMap>,
    /// What `map` returned, for the whole granules.
    iova: Iova,
    span: usize,
    /// The region's own first byte.
    base: Iova,
}

/// Every mapping of a region, by domain.
pub(crate) struct Mappings(Vec<Mapping>);

impl Mappings {
    /// The mappings of a region that has no memory of its own.
    pub(crate) fn none() -> Self {
        Self(Vec::new())
    }

    /// Maps `length` bytes at `base` in every domain, in whole granules. Undoes all of it if one refuses.
    pub(crate) fn establish(
        shared: &Shared,
        base: NonNull<u8>,
        length: usize,
        rights: Rights,
    ) -> Result<Self, Error> {
        let mut mappings = Self(Vec::with_capacity(shared.domains.len()));
        for domain in &shared.domains {
            let granule = domain.map.granule().max(1);
            let before = base.addr().get() % granule;
            let span = (before + length).next_multiple_of(granule);
            // SAFETY: `before` bytes down is the start of a granule of mapped memory: granules are no larger
            // than pages, and pages are mapped whole.
            let start = unsafe { base.sub(before) };
            // SAFETY: (1) the range is mapped memory of this process; (2) `Backing` keeps it there until
            // `undo` has succeeded.
            match unsafe { domain.map.map(start, span, rights) } {
                Ok(iova) => {
                    let base = iova.checked_add(before as u64).unwrap_or(iova);
                    mappings.0.push(Mapping { domain: domain.map.clone(), iova, span, base });
                }
                Err(error) => {
                    mappings.undo();
                    return Err(Error::mapping(&domain.engine, span as u64, error));
                }
            }
        }
        Ok(mappings)
    }

    /// The region's first byte in each domain.
    pub(crate) fn bases(&self) -> Vec<Iova> {
        self.0.iter().map(|mapping| mapping.base).collect()
    }

    /// Unmaps everything. `false`: an engine may still reach the memory, which must stay.
    pub(crate) fn undo(self) -> bool {
        let mut undone = true;
        for mapping in self.0.into_iter().rev() {
            // SAFETY: (1) address and span are those of one `map`; (2) nothing is in flight on the
            // region: its slots have let go of it, or it was never published.
            if let Err(error) = unsafe { mapping.domain.unmap(mapping.iova, mapping.span) } {
                tracing::error!(%error, bytes = mapping.span, "unmapping failed: the memory is left in place for good");
                undone = false;
            }
        }
        undone
    }
}

impl fmt::Debug for Mappings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|mapping| mapping.base)).finish()
    }
}
