//! Regions: the memory that operations name.

mod access;
mod allocate;
mod bar;
pub(crate) mod block;
mod close;
mod copying;
mod dax;
pub(crate) mod durability;
mod ending;
mod file;
mod identity;
mod last;
mod life;
pub(crate) mod mapping;
mod mmio;
mod node;
mod register;
mod replace;
pub(crate) mod table;

use std::{
    fmt, mem,
    ptr::NonNull,
    sync::{Arc, Mutex, PoisonError},
};

use arrayvec::ArrayVec;
use dmaring_engine::Rights;
use dmaring_ring::Key;
use memmap2::MmapRaw;

pub use self::bar::BarOptions;
pub(crate) use self::identity::{Identity, Object};
#[cfg(test)]
pub(crate) use self::last::eventually;
pub(crate) use self::{
    allocate::allocate,
    bar::open as open_bar,
    dax::open as open_dax,
    file::open as open_file,
    register::{Registered, register},
};
use self::{
    bar::{Bar, Manner},
    durability::Durable,
    identity::Likeness,
    life::Life,
    mapping::Mappings,
    register::{Entry, Span},
    table::RegionFacts,
};
pub use self::{
    durability::{Durability, DurabilitySource},
    register::PinnedBuffer,
};
use crate::{
    error::{Error, ErrorKind},
    handle::{Handle, Handles, is_beside_the_count},
    reap::{BATCH, Load},
    segments::SegmentCargo,
    shared::Shared,
    staging::StagedFile,
};

/// A range of memory that copies and fills name by byte offsets: a device-dax node, a file, an allocation, a
/// registered buffer or a BAR of a PCI function.
///
/// A region is a handle: clones name the same memory. It stays mapped, for the process and for every
/// engine, until the last handle is dropped *and* the last operation on it has ended, whichever comes
/// later. The memory itself is given back by a background thread then, or while the runtime is dropped;
/// [`close`](Region::close) does so while there are handles, and waits for it. An operation
/// on memory that is no longer mapped cannot be written down:
///
/// ```compile_fail,E0382
/// fn too_late(region: dmaring::Region) {
///     drop(region);
///     let _ = region.fill(0, 64, 7);
/// }
/// ```
///
/// Its bytes are shared with the engines and perhaps with other processes, so they are never lent as a
/// slice: [`read_at`](Region::read_at) and [`write_at`](Region::write_at) copy. What they find where a
/// copy is under way is unspecified, byte by byte, but defined behaviour.
#[derive(Clone)]
pub struct Region(pub(crate) Handle<RegionInner>);

/// What a slot owns while its operation is in flight.
#[derive(Debug)]
pub(crate) struct Cargo {
    pub(crate) source: Option<Region>,
    pub(crate) destination: Region,
    /// Of a vectored copy.
    pub(crate) segments: Option<SegmentCargo>,
}

impl Load for Cargo {
    /// Most operations that end together have the same regions: the handles of a region that follow each other are let go with one
    /// locked instruction, those of sources and those of destinations.
    fn drop_together(loads: &mut ArrayVec<Self, BATCH>) {
        let (mut sources, mut destinations) = (None, None);
        for Self { source, destination, segments } in loads.drain(..) {
            if let Some(source) = source {
                Handles::put(&mut sources, source.0);
            }
            Handles::put(&mut destinations, destination.0);
            drop(segments);
        }
    }
}

/// What a plain operation reads stands first, in one line with the count of handles: of a process with thousands of regions the near
/// caches hold few, and each line more would be another one that is not there.
#[repr(C)]
pub(crate) struct RegionInner {
    pub(crate) shared: Arc<Shared>,
    pub(crate) key: Key,
    likeness: Likeness,
    pub(crate) facts: RegionFacts,
    life: Life,
    identity: Identity,
    memory: Box<Memory>,
}

const _: () = {
    let read = [
        mem::offset_of!(RegionInner, shared) + size_of::<Arc<Shared>>(),
        mem::offset_of!(RegionInner, key) + size_of::<Key>(),
        mem::offset_of!(RegionInner, likeness) + size_of::<Likeness>(),
        mem::offset_of!(RegionInner, facts) + size_of::<RegionFacts>(),
        mem::offset_of!(RegionInner, life) + Life::GLANCED_AT,
    ];
    let mut field = 0;
    while field < read.len() {
        assert!(
            is_beside_the_count::<RegionInner>(read[field]),
            "an operation reads a second line of each region"
        );
        field += 1;
    }
};

/// What is asked for by accesses of the CPU, and at the end.
struct Memory {
    /// Where it is in this process, or was.
    span: Option<Span>,
    /// Of a device's: how it is accessed.
    manner: Option<Manner>,
    /// Taken at the end.
    body: Mutex<Option<Body>>,
}

/// What must be given back at the end: first the mappings, then the memory.
#[derive(Debug)]
struct Body {
    mappings: Mappings,
    backing: Backing,
}

/// What keeps the memory there.
pub(crate) enum Backing {
    Mapped(MmapRaw),
    /// Base and length are asked for once, when the buffer is registered.
    Owned {
        base: NonNull<u8>,
        length: usize,
        /// Goes before the buffer, whose addresses others may have after it.
        entry: Entry,
        buffer: Box<dyn PinnedBuffer>,
    },
    Staged(Arc<StagedFile>),
    Device(Bar),
}

/// What a region is made of, before it is mapped for the engines.
pub(crate) struct Draft {
    pub(crate) backing: Backing,
    /// Bytes that operations may name.
    pub(crate) length: u64,
    pub(crate) rights: Rights,
    pub(crate) identity: Identity,
    pub(crate) numa_node: Option<u32>,
}

impl Region {
    /// Maps a draft for every engine, publishes it and makes its handle. Undoes everything on failure.
    pub(crate) fn establish(shared: &Arc<Shared>, draft: Draft) -> Result<Self, Error> {
        shared.check_process()?;
        shared.housekeeper.start()?;
        let Draft { backing, length, rights, identity, numa_node } = draft;
        let staged = matches!(backing, Backing::Staged(_));
        let mappings = match backing.span() {
            Some((base, span)) => match Mappings::establish(shared, base, span, rights) {
                Ok(mappings) => mappings,
                Err(refused) => return Err(refused.give_back(backing)),
            },
            None => Mappings::none(),
        };
        // What is mapped for an engine is in memory by now, and says where; a device's memory is in no page.
        let pages = if matches!(backing, Backing::Device(_)) { None } else { backing.span() };
        let node = numa_node.or_else(|| pages.and_then(|(base, span)| node::of(base, span)));
        let mut facts = RegionFacts::new(length, rights, staged).on_node(node);
        if let Backing::Device(bar) = &backing {
            facts = facts.of_device(bar.host_reads());
        }
        let Some(key) = shared.regions.publish(facts, &mappings.bases()) else {
            Body { mappings, backing }.give_back();
            return Err(Error::new(
                ErrorKind::LimitExceeded,
                "the region table is full: drop regions that are no longer used",
            ));
        };
        if let Backing::Staged(file) = &backing {
            shared.staging.enter(key, file.clone());
        }
        let (span, life) = (backing.span().map(Span::from), Life::new(length));
        let manner = match &backing {
            Backing::Device(bar) => Some(bar.manner()),
            _ => None,
        };
        let body = Mutex::new(Some(Body { mappings, backing }));
        let shared = shared.clone();
        let memory = Box::new(Memory { span, manner, body });
        let inner = RegionInner {
            shared,
            key,
            likeness: identity.likeness(),
            facts,
            life,
            identity,
            memory,
        };
        let region = Self(Handle::new(inner));
        region.set_durable(if staged { Durable::FILE } else { Durable::default() });
        Ok(region)
    }

    /// The length in bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.0.facts.length
    }

    /// Whether the region has no bytes. Opening refuses such regions, so this is never true.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The NUMA node the memory belongs to, where the system or [`set_numa_node`](Region::set_numa_node) says so.
    ///
    /// Sysfs says it of a device-dax node. Of other memory it is asked for when the region is opened, and known if the
    /// pages are there by then, which they are where an engine is behind an IOMMU, and if they are all on one node.
    #[must_use]
    pub fn numa_node(&self) -> Option<u32> {
        self.0.shared.regions.facts(self.0.key).and_then(|facts| facts.node)
    }

    /// Says on which NUMA node the memory is, for memory of which the system does not know it or is not asked again, such
    /// as what was first written after it was opened. `None`: on none, or on several.
    ///
    /// It is what [`Placement`](crate::Placement) goes by, for operations submitted from now on, by any handle. Of a region
    /// that was [closed](Region::close) nothing is noted.
    pub fn set_numa_node(&self, node: Option<u32>) {
        self.0.shared.regions.set_node(self.0.key, node);
    }

    /// The first byte's address in this process; `None` for a file that is served through staging buffers.
    ///
    /// Reading or writing through it is up to the caller's own `unsafe` argument: engines and other handles
    /// may access the same bytes at any time, so use volatile or atomic accesses, and never make a
    /// reference. The pointer dangles once the region is gone or [closed](Region::close), and not after
    /// [`replace_with_zeroes`](Region::replace_with_zeroes). `None` for a closed region, too.
    #[must_use]
    pub fn as_mut_ptr(&self) -> Option<NonNull<u8>> {
        let _held = self.0.life.reading()?;
        self.0.span().map(|(base, _)| base)
    }

    /// Whether two ranges of `length` bytes, in regions that may be the same memory, share a byte.
    pub(crate) fn overlaps(
        &self,
        offset: u64,
        other: &Self,
        other_offset: u64,
        length: u64,
    ) -> bool {
        let Some(origin) = self.0.identity.distance_to(&other.0.identity) else { return false };
        let (from, other_from) = (i128::from(offset), origin + i128::from(other_offset));
        (from - other_from).unsigned_abs() < u128::from(length)
    }

    /// Which memory the byte at `offset` is, for comparison with others.
    pub(crate) fn position(&self, offset: u64) -> (Object, u64) {
        self.0.identity.position(offset)
    }

    /// Whether it is open and has the range.
    #[inline]
    fn has(&self, offset: u64, length: u64) -> bool {
        offset.checked_add(length).is_some_and(|end| self.0.life.may_end_at(end))
    }

    /// Whether operations may name a range, and it is no device's, of which more is to be asked.
    #[inline]
    pub(crate) fn has_plain(&self, offset: u64, length: u64) -> bool {
        !self.0.facts.device && self.has(offset, length)
    }

    /// Whether it is seen at a glance to be memory of the same runtime and of another object.
    #[inline]
    pub(crate) fn is_apart_from(&self, other: &Self) -> bool {
        let (one, two) = (&*self.0, &*other.0);
        Arc::ptr_eq(&one.shared, &two.shared) && one.likeness != two.likeness
    }

    /// Refuses a range of an operation that reaches beyond the region, or any of one that is ending. `what` names the range
    /// in the message.
    pub(crate) fn check_range(&self, what: &str, offset: u64, length: u64) -> Result<(), Error> {
        if self.has(offset, length) {
            return self.check_width(what, offset, length);
        }
        self.check_open()?;
        self.check_within(what, offset, length)
    }

    /// Refuses a region that is ending.
    pub(crate) fn check_open(&self) -> Result<(), Error> {
        if self.0.life.is_ending() { Err(self.ended()) } else { Ok(()) }
    }

    /// Refuses a range that reaches beyond the region.
    fn check_within(&self, what: &str, offset: u64, length: u64) -> Result<(), Error> {
        if offset.checked_add(length).is_some_and(|end| end <= self.len()) {
            return self.check_width(what, offset, length);
        }
        let message = format!(
            "{what} range of {length} bytes at offset {offset} reaches beyond the region's {} bytes",
            self.len()
        );
        Err(Error::new(ErrorKind::OutOfBounds, message))
    }

    /// Refuses a range of a device's memory that no access of a sane width covers.
    #[inline]
    fn check_width(&self, what: &str, offset: u64, length: u64) -> Result<(), Error> {
        self.manner().map_or(Ok(()), |manner| manner.check_width(what, offset, length))
    }

    /// Refuses to write to a region that was opened for reading.
    pub(crate) fn check_writable(&self) -> Result<(), Error> {
        if self.0.facts.writable {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Permission,
            "the destination region was opened for reading only: open it for reading and writing",
        ))
    }

    /// How the memory is accessed, where it is a device's.
    fn manner(&self) -> Option<&Manner> {
        // The flag stands in a line that operations have read.
        if self.0.facts.device { self.0.memory.manner.as_ref() } else { None }
    }

    pub(crate) fn staged_file(&self) -> Option<Arc<StagedFile>> {
        if !self.0.facts.staged {
            return None;
        }
        let body = self.0.memory.body.lock().unwrap_or_else(PoisonError::into_inner);
        match &body.as_ref()?.backing {
            Backing::Staged(file) => Some(file.clone()),
            _ => None,
        }
    }
}

impl fmt::Debug for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Region")
            .field("key", &self.0.key)
            .field("facts", &self.0.facts)
            .finish_non_exhaustive()
    }
}

impl Drop for RegionInner {
    fn drop(&mut self) {
        // One that has ended has none.
        let body = self.memory.body.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        let Some(body) = body else { return };
        if self.shared.origin.is_elsewhere() {
            // The parent's memory and mappings: nothing of them is ours to give back.
            std::mem::forget(body);
            return;
        }
        if self.shared.lifecycle.must_leak() {
            std::mem::forget(body);
            last::leaked(self.facts.length);
            return;
        }
        last::give_back_once_quiet(&self.shared, self.key, self.facts, body);
    }
}

impl RegionInner {
    /// The bytes in this process: where they begin and how many are mapped. Whoever touches them holds the region's life.
    fn span(&self) -> Option<(NonNull<u8>, usize)> {
        self.memory.span.map(|Span { base, length }| (base, length))
    }

    /// Asks about what keeps the memory there; `false` once that was taken.
    fn with_backing(&self, ask: impl FnOnce(&Backing) -> bool) -> bool {
        let body = self.memory.body.lock().unwrap_or_else(PoisonError::into_inner);
        body.as_ref().is_some_and(|body| ask(&body.backing))
    }
}

impl Body {
    fn give_back(self) {
        let Self { mappings, backing } = self;
        if mappings.undo() {
            drop(backing);
        } else {
            std::mem::forget(backing);
        }
    }
}

impl Backing {
    /// The bytes in this process: where they begin and how many are mapped.
    fn span(&self) -> Option<(NonNull<u8>, usize)> {
        match self {
            Self::Mapped(mapping) => Some((NonNull::new(mapping.as_mut_ptr())?, mapping.len())),
            Self::Owned { base, length, .. } => Some((*base, *length)),
            Self::Device(bar) => Some(bar.span()),
            Self::Staged(_) => None,
        }
    }
}

impl fmt::Debug for Backing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Mapped(_) => "Mapped",
            Self::Owned { .. } => "Owned",
            Self::Staged(_) => "Staged",
            Self::Device(_) => "Device",
        })
    }
}
