//! The regions as the poller sees them: an append-only table of atomics.
//!
//! A region is published before its handle exists and retired after the last slot has let go of it, so an
//! entry of this process always finds the region it names. Whoever else may have written an entry is
//! answered by the generation: it is read before and after the rest, so a view is of one life or of none.
//!
//! Some facts are said again while a region lives, by whoever has a handle, and a handle may outlive its region, whose
//! entry is another's by then. So who says them holds the lock of the vacancies and compares the generation: a life that is
//! over has the generation taken away before its entry comes to the vacant ones, under that lock, and the next life
//! writes its own facts after it has taken the entry from there.

use std::sync::{
    Mutex, OnceLock,
    atomic::{AtomicU32, AtomicU64, Ordering, fence},
};

use dmaring_engine::{Iova, Rights};
use dmaring_ring::Key;

use super::durability::Durable;

const CHUNKS: usize = 20;
const FIRST: u32 = 64;
const READ: u32 = 1;
const WRITE: u32 = 1 << 1;
const STAGED: u32 = 1 << 2;
const DEVICE: u32 = 1 << 3;
const HOST_READS: u32 = 1 << 4;
/// Above these bits stands the NUMA node, counted from 1; 0: not known.
const NODE_SHIFT: u32 = 8;

/// What the poller may know of a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RegionFacts {
    pub(crate) length: u64,
    pub(crate) readable: bool,
    pub(crate) writable: bool,
    /// Served through staging buffers: it has no address.
    pub(crate) staged: bool,
    /// Memory of a device.
    pub(crate) device: bool,
    /// Read by the host's CPU alone.
    pub(crate) host_reads: bool,
    /// The NUMA node of the memory, where it is known.
    pub(crate) node: Option<u32>,
}

impl RegionFacts {
    pub(crate) fn new(length: u64, rights: Rights, staged: bool) -> Self {
        let writable = matches!(rights, Rights::ReadWrite);
        Self {
            length,
            readable: true,
            writable,
            staged,
            device: false,
            host_reads: false,
            node: None,
        }
    }

    /// The same, of memory of a device that engines read or that the host's CPU alone reads.
    pub(crate) fn of_device(self, host_reads: bool) -> Self {
        Self { device: true, host_reads, ..self }
    }

    /// The same, on this NUMA node.
    pub(crate) fn on_node(self, node: Option<u32>) -> Self {
        Self { node, ..self }
    }

    fn flags(self) -> u32 {
        (if self.readable { READ } else { 0 })
            | (if self.writable { WRITE } else { 0 })
            | (if self.staged { STAGED } else { 0 })
            | (if self.device { DEVICE } else { 0 })
            | (if self.host_reads { HOST_READS } else { 0 })
            | node_bits(self.node)
    }
}

/// Memory of the host, as an engine reaches it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PlainMemory {
    base: Iova,
    length: u64,
}

impl PlainMemory {
    /// Whether it has a range.
    #[inline]
    pub(crate) fn has(&self, offset: u64, length: u64) -> bool {
        offset.checked_add(length).is_some_and(|last| last <= self.length)
    }

    /// Where one of its bytes is.
    #[inline]
    pub(crate) fn at(&self, offset: u64) -> Iova {
        // All that it has is at an address, as was found when it was made.
        Iova::new(self.base.get().wrapping_add(offset))
    }
}

/// One line: what an operation that names the region has to fetch.
#[derive(Debug)]
#[repr(align(64))]
struct Entry {
    /// 0 while vacant, else the generation of the region that lives here.
    generation: AtomicU32,
    flags: AtomicU32,
    length: AtomicU64,
    /// The first byte's address in this process, for those who write caches back.
    host: AtomicU64,
    /// A [`Durable`] in a word; what is not said is volatile.
    durability: AtomicU32,
    /// The first byte's address in the first domain, and in the others.
    base: AtomicU64,
    others: Box<[AtomicU64]>,
}

impl Entry {
    /// Where the first byte is in a domain.
    fn base(&self, domain: usize) -> Option<&AtomicU64> {
        match domain.checked_sub(1) {
            None => Some(&self.base),
            Some(other) => self.others.get(other),
        }
    }
}

#[derive(Debug)]
pub(crate) struct RegionTable {
    domains: usize,
    chunks: [OnceLock<Box<[Entry]>>; CHUNKS],
    vacancies: Mutex<Vacancies>,
}

/// Which entries are vacant, and with which generation each begins its next life.
#[derive(Debug)]
struct Vacancies {
    chunks: usize,
    free: Vec<Key>,
}

impl RegionTable {
    pub(crate) fn new(domains: usize) -> Self {
        Self {
            domains,
            chunks: [const { OnceLock::new() }; CHUNKS],
            vacancies: Mutex::new(Vacancies { chunks: 0, free: Vec::new() }),
        }
    }

    /// Publishes a region with its address in each domain. `None`: the table is full.
    pub(crate) fn publish(&self, facts: RegionFacts, bases: &[Iova]) -> Option<Key> {
        let key = self.take_vacancy()?;
        let entry = self.entry(key.index)?;
        // Who reads what follows under an earlier life's key sees that it was retired.
        fence(Ordering::Release);
        for (domain, base) in bases.iter().enumerate() {
            if let Some(place) = entry.base(domain) {
                place.store(base.get(), Ordering::Relaxed);
            }
        }
        entry.length.store(facts.length, Ordering::Relaxed);
        entry.host.store(0, Ordering::Relaxed);
        entry.durability.store(Durable::default().to_word(), Ordering::Relaxed);
        entry.flags.store(facts.flags(), Ordering::Relaxed);
        entry.generation.store(key.generation, Ordering::Release);
        Some(key)
    }

    /// Ends a region's life: from here on its key names nothing.
    pub(crate) fn retire(&self, key: Key) {
        let Some(entry) = self.entry(key.index) else { return };
        entry.generation.store(0, Ordering::Release);
        // A generation is never 0: that is vacancy.
        let generation = key.generation.wrapping_add(1).max(1);
        self.vacancies().free.push(Key { index: key.index, generation });
    }

    /// What `key` names now.
    pub(crate) fn facts(&self, key: Key) -> Option<RegionFacts> {
        self.read(key, |entry| {
            let flags = entry.flags.load(Ordering::Relaxed);
            RegionFacts {
                length: entry.length.load(Ordering::Relaxed),
                readable: flags & READ != 0,
                writable: flags & WRITE != 0,
                staged: flags & STAGED != 0,
                device: flags & DEVICE != 0,
                host_reads: flags & HOST_READS != 0,
                node: (flags >> NODE_SHIFT).checked_sub(1),
            }
        })
    }

    /// Says where the region is in this process, and whether what is in it outlives a loss of power. Of a region whose
    /// life is over nothing is said.
    pub(crate) fn set_durable(&self, key: Key, host: u64, durable: Durable) {
        self.amend(key, |entry| {
            entry.host.store(host, Ordering::Relaxed);
            // Who sees that it is not volatile sees where it is.
            entry.durability.store(durable.to_word(), Ordering::Release);
        });
    }

    /// Where the region is in this process, and whether what is in it outlives a loss of power.
    pub(crate) fn durable(&self, key: Key) -> Option<(u64, Durable)> {
        self.read(key, |entry| {
            let durable = Durable::from_word(entry.durability.load(Ordering::Acquire));
            (entry.host.load(Ordering::Relaxed), durable)
        })
    }

    /// Says on which NUMA node a region is. Of a region whose life is over nothing is said.
    pub(crate) fn set_node(&self, key: Key, node: Option<u32>) {
        self.amend(key, |entry| {
            let others = (1 << NODE_SHIFT) - 1;
            let flags = entry.flags.load(Ordering::Relaxed);
            entry.flags.store(flags & others | node_bits(node), Ordering::Relaxed);
        });
    }

    /// Where the region's first byte is in a domain.
    pub(crate) fn base(&self, key: Key, domain: usize) -> Option<Iova> {
        self.read(key, |entry| {
            entry.base(domain).map(|base| Iova::new(base.load(Ordering::Relaxed)))
        })?
    }

    /// Where a range of a region is in a domain, if the region is memory of the host with these rights, and has the
    /// range. `None`: what else it is, [`facts`](Self::facts) tell.
    #[inline]
    pub(crate) fn plain(
        &self,
        (key, offset): (Key, u64),
        length: u64,
        domain: usize,
        rights: Rights,
    ) -> Option<Iova> {
        let memory = self.plain_memory(key, domain, rights)?;
        memory.has(offset, length).then(|| memory.at(offset))
    }

    /// What is to be known of a region for that, to be asked for several ranges: it is of this moment.
    #[inline]
    pub(crate) fn plain_memory(
        &self,
        key: Key,
        domain: usize,
        rights: Rights,
    ) -> Option<PlainMemory> {
        let (flags, length, base) = self.read(key, |entry| {
            let base = entry.base(domain).map(|base| base.load(Ordering::Relaxed));
            (entry.flags.load(Ordering::Relaxed), entry.length.load(Ordering::Relaxed), base)
        })?;
        let asked = if matches!(rights, Rights::ReadWrite) { READ | WRITE } else { READ };
        let is_plain = flags & (asked | STAGED | DEVICE | HOST_READS) == asked;
        let base = Iova::new(base?);
        let is_plain = is_plain && base.checked_add(length).is_some();
        is_plain.then_some(PlainMemory { base, length })
    }

    fn read<T>(&self, key: Key, read: impl FnOnce(&Entry) -> T) -> Option<T> {
        if key.generation == 0 {
            return None;
        }
        let entry = self.entry(key.index)?;
        let before = entry.generation.load(Ordering::Acquire);
        let value = read(entry);
        fence(Ordering::Acquire);
        let after = entry.generation.load(Ordering::Relaxed);
        (before == key.generation && after == key.generation).then_some(value)
    }

    /// Changes what is said of the region that `key` names, and of no other.
    fn amend(&self, key: Key, change: impl FnOnce(&Entry)) {
        let Some(entry) = self.entry(key.index).filter(|_| key.generation != 0) else { return };
        // The entry is nobody else's for as long as this is held.
        let _vacancies = self.vacancies();
        if entry.generation.load(Ordering::Relaxed) == key.generation {
            change(entry);
        }
    }

    fn entry(&self, index: u32) -> Option<&Entry> {
        let shifted = index.checked_add(FIRST)?;
        let chunk = shifted.ilog2() - FIRST.ilog2();
        let offset = shifted - (FIRST << chunk);
        self.chunks.get(chunk as usize)?.get()?.get(offset as usize)
    }

    fn take_vacancy(&self) -> Option<Key> {
        let mut vacancies = self.vacancies();
        if let Some(key) = vacancies.free.pop() {
            return Some(key);
        }
        let chunk = self.chunks.get(vacancies.chunks)?;
        let length = FIRST << vacancies.chunks;
        let base = length - FIRST;
        let entries: Box<[Entry]> = (0..length)
            .map(|_| Entry {
                generation: AtomicU32::new(0),
                flags: AtomicU32::new(0),
                length: AtomicU64::new(0),
                host: AtomicU64::new(0),
                durability: AtomicU32::new(Durable::default().to_word()),
                base: AtomicU64::new(0),
                others: (1..self.domains).map(|_| AtomicU64::new(0)).collect(),
            })
            .collect();
        chunk.set(entries).ok()?;
        vacancies.chunks += 1;
        let indices = (base..base + length).rev();
        vacancies.free.extend(indices.map(|index| Key { index, generation: 1 }));
        vacancies.free.pop()
    }

    fn vacancies(&self) -> std::sync::MutexGuard<'_, Vacancies> {
        self.vacancies.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// The flags of a node; none for a number that no node has.
fn node_bits(node: Option<u32>) -> u32 {
    let number = node.and_then(|node| node.checked_add(1)).filter(|&node| node >> 24 == 0);
    number.unwrap_or(0) << NODE_SHIFT
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(length: u64) -> RegionFacts {
        RegionFacts::new(length, Rights::ReadWrite, false)
    }

    #[test]
    fn what_is_plain_has_the_right_and_the_range_and_is_nothing_else() {
        let bases = [Iova::new(0x1000), Iova::new(0x2000)];
        let readable = RegionFacts::new(100, Rights::Read, false);
        let cases = [
            (facts(100), true, true),
            (facts(100).on_node(Some(3)), true, true),
            (readable, true, false),
            (RegionFacts::new(100, Rights::ReadWrite, true), false, false),
            (facts(100).of_device(false), false, false),
            (facts(100).of_device(true), false, false),
        ];
        let table = RegionTable::new(2);
        for (facts, reads, writes) in cases {
            let key = table.publish(facts, &bases).unwrap();
            for (rights, may) in [(Rights::Read, reads), (Rights::ReadWrite, writes)] {
                let plain = |offset, length| table.plain((key, offset), length, 1, rights);
                assert_eq!(plain(36, 64), may.then_some(Iova::new(0x2000 + 36)), "{facts:?}");
                for (offset, length) in [(37, 64), (0, 101), (u64::MAX, 64), (64, u64::MAX)] {
                    assert_eq!(plain(offset, length), None, "{offset} {length}");
                }
                assert_eq!(table.plain((key, 0), 64, 2, rights), None, "there is no such domain");
            }
            table.retire(key);
            assert_eq!(table.plain((key, 0), 64, 1, Rights::Read), None);
        }
    }

    #[test]
    fn what_has_no_address_behind_its_last_byte_is_not_plain() {
        let table = RegionTable::new(1);
        for (base, is_plain) in [(u64::MAX - 100, true), (u64::MAX - 99, false)] {
            let base = Iova::new(base);
            let key = table.publish(facts(100), &[base]).unwrap();
            assert_eq!(table.plain((key, 0), 1, 0, Rights::Read), is_plain.then_some(base));
        }
    }

    #[test]
    fn a_key_names_one_life_only() {
        let table = RegionTable::new(2);
        let bases = [Iova::new(0x1000), Iova::new(0x2000)];
        let first = table.publish(facts(10), &bases).unwrap();
        assert_eq!(table.facts(first), Some(facts(10)));
        assert_eq!(table.base(first, 1), Some(Iova::new(0x2000)));
        assert_eq!(table.base(first, 2), None);
        table.retire(first);
        assert_eq!(table.facts(first), None);
        let second = table.publish(facts(20), &bases).unwrap();
        assert_eq!(second.index, first.index);
        assert_eq!(table.facts(first), None);
        assert_eq!(table.facts(second), Some(facts(20)));
    }

    #[test]
    fn what_is_published_of_a_device_is_read_again() {
        let table = RegionTable::new(1);
        for facts in [facts(1).of_device(false), facts(1).of_device(true)] {
            let key = table.publish(facts, &[Iova::new(1)]).unwrap();
            assert_eq!(table.facts(key), Some(facts));
        }
    }

    #[test]
    fn the_table_grows_and_old_keys_stay_good() {
        let table = RegionTable::new(1);
        let keys: Vec<_> = (0..if cfg!(miri) { 130 } else { 1000 })
            .map(|n| table.publish(facts(n), &[Iova::new(n)]).unwrap())
            .collect();
        for (n, &key) in (0u64..).zip(&keys) {
            assert_eq!(table.facts(key), Some(facts(n)));
            assert_eq!(table.base(key, 0), Some(Iova::new(n)));
        }
    }

    #[test]
    fn a_later_life_is_volatile_until_it_is_said_otherwise() {
        let table = RegionTable::new(1);
        let first = table.publish(facts(10), &[]).unwrap();
        assert_eq!(table.durable(first).unwrap().1, Durable::default());
        let durable = Durable::of_domain(Some("memory_controller"));
        table.set_durable(first, 0x7000, durable);
        assert_eq!(table.durable(first), Some((0x7000, durable)));
        table.retire(first);
        assert_eq!(table.durable(first), None);
        let second = table.publish(facts(10), &[]).unwrap();
        assert_eq!(table.durable(second).unwrap().1, Durable::default());
    }

    /// A handle may outlive its region: what is said through it is not said of the region that has the entry now.
    #[test]
    fn nothing_is_said_of_another_life() {
        let table = RegionTable::new(1);
        let first = table.publish(facts(10), &[]).unwrap();
        table.retire(first);
        let durable = Durable::of_domain(Some("memory_controller"));
        let say = |key| {
            table.set_durable(key, 0x7000, durable);
            table.set_node(key, Some(3));
        };
        say(first);
        let second = table.publish(facts(20), &[]).unwrap();
        assert_eq!(second.index, first.index);
        for stale in [first, Key { generation: 0, ..first }, Key { index: u32::MAX, ..first }] {
            say(stale);
            assert_eq!(table.durable(second), Some((0, Durable::default())), "{stale:?}");
            assert_eq!(table.facts(second), Some(facts(20)), "{stale:?}");
        }
        say(second);
        assert_eq!(table.durable(second), Some((0x7000, durable)));
        assert_eq!(table.facts(second), Some(facts(20).on_node(Some(3))));
    }

    #[test]
    fn a_node_is_said_and_said_again() {
        let table = RegionTable::new(1);
        let key = table.publish(facts(10).on_node(Some(0)), &[Iova::new(0)]).unwrap();
        assert_eq!(table.facts(key), Some(facts(10).on_node(Some(0))));
        for node in [None, Some(7), Some((1 << 24) - 2)] {
            table.set_node(key, node);
            assert_eq!(table.facts(key), Some(facts(10).on_node(node)));
        }
        table.set_node(key, Some(u32::MAX));
        assert_eq!(table.facts(key), Some(facts(10)), "no node has that number");
    }

    #[test]
    fn made_up_keys_name_nothing() {
        let table = RegionTable::new(1);
        for index in [0, 63, 64, u32::MAX - 1, u32::MAX] {
            for generation in [0, 1, u32::MAX] {
                assert_eq!(table.facts(Key { index, generation }), None);
            }
        }
    }
}
