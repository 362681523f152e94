//! Pages that a target lends to the code under test, and looks at from the other side.
#![allow(unsafe_code, reason = "island: lends heap pages as ring memory and as memory for devices")]

use std::{
    fmt,
    ptr::NonNull,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use dmaring_emulated::Iommu;
use dmaring_engine::{DmaMap, Iova, Rights};
use dmaring_ring::{Layout, LayoutError, Rings};

/// Bytes of a page.
pub(crate) const PAGE: usize = 4096;

/// Words of a page.
pub(crate) const PAGE_WORDS: usize = PAGE / 8;

#[repr(C, align(4096))]
struct Page([AtomicU64; PAGE_WORDS]);

/// Zeroed pages, reached as words.
pub(crate) struct Pages {
    /// A vector, since a box that is moved would make pointers into it stale.
    memory: Vec<Page>,
    mapped: Option<(Arc<Iommu>, u64, usize)>,
}

impl Pages {
    pub(crate) fn new(count: usize) -> Self {
        let page = || Page([const { AtomicU64::new(0) }; PAGE_WORDS]);
        Self { memory: (0..count).map(|_| page()).collect(), mapped: None }
    }

    /// How many words there are.
    pub(crate) fn words(&self) -> usize {
        self.memory.len() * PAGE_WORDS
    }

    /// The word at this index, from 0.
    pub(crate) fn load(&self, word: usize) -> u64 {
        self.word(word).load(Relaxed)
    }

    /// Overwrites the word at this index.
    pub(crate) fn store(&self, word: usize, value: u64) {
        self.word(word).store(value, Relaxed);
    }

    /// Makes fresh rings at the start of the pages. The view is not used after the pages are dropped.
    pub(crate) fn create_rings(&self, layout: Layout) -> Result<Rings, LayoutError> {
        // SAFETY: (1) the pages are one zeroed allocation of that length, and targets drop the view before
        // them; (2) targets reach them through atomics alone; (3) this call has returned before a target
        // attaches.
        unsafe { Rings::create(self.start(), self.memory.len() * PAGE, layout) }
    }

    /// A view of what stands in the first `length` bytes, as long as there are so many.
    pub(crate) fn attach_rings(&self, length: usize) -> Result<Rings, LayoutError> {
        let length = length.min(self.memory.len() * PAGE);
        // SAFETY: as in `create_rings`.
        unsafe { Rings::attach(self.start(), length) }
    }

    /// Maps `count` pages from `first` on, unless they are mapped already.
    pub(crate) fn map(&mut self, domain: &Arc<Iommu>, first: usize, count: usize, rights: Rights) {
        if self.mapped.is_some() {
            return;
        }
        let start = NonNull::from(&self.memory[first..first + count]).cast();
        // SAFETY: the pages stay where they are until `drop`, which unmaps them first.
        let iova = unsafe { domain.map(start, count * PAGE, rights) };
        let iova = iova.expect("the domain has addresses for a few pages").get();
        self.mapped = Some((Arc::clone(domain), iova, count * PAGE));
    }

    /// Where the first mapped byte is, for the device; 0 while nothing is mapped.
    pub(crate) fn iova(&self) -> u64 {
        self.mapped.as_ref().map_or(0, |(_, iova, _)| *iova)
    }

    /// Takes back what `map` did.
    pub(crate) fn unmap(&mut self) {
        let Some((domain, iova, length)) = self.mapped.take() else { return };
        // SAFETY: (1) `map` got exactly this from the same domain; (2) the model's transfers are over when a
        // call of `step` returns.
        let unmapped = unsafe { domain.unmap(Iova::new(iova), length) };
        unmapped.expect("the domain knows its mapping");
    }

    fn word(&self, word: usize) -> &AtomicU64 {
        &self.memory[word / PAGE_WORDS].0[word % PAGE_WORDS]
    }

    fn start(&self) -> NonNull<u8> {
        NonNull::from(self.memory.as_slice()).cast()
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        self.unmap();
    }
}

impl fmt::Debug for Pages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pages").field("count", &self.memory.len()).finish_non_exhaustive()
    }
}
