//! A region's mappings: one in every distinct domain, made before the region exists, undone before its memory goes.
#![allow(unsafe_code, reason = "island: maps memory for engines and unmaps it")]

use std::{fmt, ptr::NonNull, sync::Arc};

use dmaring_engine::{DmaMap, Iova, MapError, Rights};

use crate::{error::Error, limits, shared::Shared};

/// Where the region is in one domain.
struct Mapping {
    domain: Arc<dyn DmaMap>,
    /// What `map` returned, for the whole granules.
    iova: Iova,
    span: usize,
    /// The region's own first byte.
    base: Iova,
}

/// A domain refused to map the memory.
#[derive(Debug)]
pub(crate) struct Refused {
    error: Error,
    /// Whether the mappings made before it are gone.
    undone: bool,
}

impl Refused {
    /// Frees the memory, or leaves it in place where an engine may still reach it; gives the error.
    pub(crate) fn give_back<T>(self, memory: T) -> Error {
        if self.undone {
            drop(memory);
        } else {
            std::mem::forget(memory);
        }
        self.error
    }
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
    ) -> Result<Self, Refused> {
        let mut mappings = Self(Vec::with_capacity(shared.domains.len()));
        for domain in &shared.domains {
            let granule = domain.map.granule().max(1);
            let before = base.addr().get() % granule;
            let span = (before + length).next_multiple_of(granule);
            // The start of the granule, which may lie before what was allocated but not before the page.
            let Some(start) = NonNull::new(base.as_ptr().wrapping_sub(before)) else { continue };
            if let Err(error) = limits::check(domain, span as u64) {
                return Err(Refused { error, undone: mappings.undo() });
            }
            // SAFETY: (1) the range is mapped memory of this process: granules are no larger than pages, and pages
            // are mapped whole; (2) `Backing` keeps it there until `undo` has succeeded, see `Refused`.
            match unsafe { domain.map.map(start, span, rights) } {
                Ok(iova) => {
                    let base = iova.checked_add(before as u64).unwrap_or(iova);
                    mappings.0.push(Mapping { domain: domain.map.clone(), iova, span, base });
                }
                Err(error) => {
                    let error = Error::mapping(&domain.engine, span as u64, error);
                    return Err(Refused { error, undone: mappings.undo() });
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
        self.try_undo().is_ok()
    }

    /// Unmaps everything. On an error, the first of them, an engine may still reach the memory, which must stay.
    pub(crate) fn try_undo(self) -> Result<(), MapError> {
        let mut undone = Ok(());
        for mapping in self.0.into_iter().rev() {
            // SAFETY: (1) address and span are those of one `map`; (2) nothing is in flight on the
            // region: the poller has said so, by its own table, or has ended and its engines with it, or the region was never
            // published.
            if let Err(error) = unsafe { mapping.domain.unmap(mapping.iova, mapping.span) } {
                tracing::error!(%error, bytes = mapping.span, "unmapping failed: the memory is left in place for good");
                undone = undone.and(Err(error));
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
