//! The address space that devices work in, in software.
//!
//! Memory is reached under the lock that `unmap` takes, one page at a time: an `unmap` therefore
//! comes wholly before or wholly after each page of a transfer, and a page that comes after faults.

mod map;
mod table;

use std::sync::{Mutex, MutexGuard, PoisonError};

use dmaring_engine::{Iova, Rights};

use crate::{bus::Side, memory::Span, random::Random, upstream::Upstream};
use table::{ADDRESS_BITS, POSSIBLE_BITS, Table};

/// The granule of mappings and of translation, in bytes.
pub(crate) const PAGE: u64 = 4096;

/// How many faults and misuses are kept; all are counted.
const KEPT: usize = 1024;

/// A software IOMMU: the domain to map memory in, and the way of a device to that memory.
///
/// Addresses are not those of the host: they begin at 0x10_0000_0000, stay below 2^39, leave gaps of
/// unmapped pages and are not given out again before the range is used up. The seed decides the gaps.
/// Any number of devices share one; see [`DeviceBuilder::iommu`](crate::DeviceBuilder::iommu).
#[derive(Debug)]
pub struct Iommu {
    book: Mutex<Book>,
}

#[derive(Debug)]
struct Book {
    table: Table,
    faults: u64,
    fault_list: Vec<IommuFault>,
    misuse: Vec<Misuse>,
}

/// An access of a device that the IOMMU refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IommuFault {
    /// The address asked for.
    pub iova: Iova,
    /// What the device wanted to do there.
    pub access: BusAccess,
    /// Why it may not.
    pub reason: FaultReason,
    /// The channel that asked, counted through all functions of its device.
    pub channel: usize,
}

/// What a device does on its bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BusAccess {
    /// It reads.
    Read,
    /// It writes.
    Write,
}

/// Why an access was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultReason {
    /// Nothing is mapped at the address.
    Unmapped,
    /// What is mapped there may be read only.
    ReadOnly,
}

/// A call that breaks the rules of a domain. It was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misuse {
    /// `unmap` of an address and a length that are not those of a live mapping.
    UnmapUnknown {
        /// The address given.
        iova: Iova,
        /// The length given, in bytes.
        length: usize,
    },
    /// `map` of memory whose address or length is no multiple of the granule, or of no bytes.
    MapMisaligned {
        /// The address given.
        address: usize,
        /// The length given, in bytes.
        length: usize,
    },
}

impl Default for Iommu {
    fn default() -> Self {
        Self::with_seed(0)
    }
}

impl Iommu {
    /// An empty domain whose addresses follow from this seed.
    #[must_use]
    pub fn with_seed(seed: u64) -> Self {
        Self::with_address_bits(seed, ADDRESS_BITS)
    }

    /// The same with addresses of so many bits, at least 37 and at most 57: 39 is what every part of the hardware takes,
    /// and less than a mapping of 512 GiB needs.
    #[must_use]
    pub fn with_address_bits(seed: u64, bits: u32) -> Self {
        let bits = bits.clamp(*POSSIBLE_BITS.start(), *POSSIBLE_BITS.end());
        let table = Table::new(Random::new(seed), bits);
        let book = Book { table, faults: 0, fault_list: Vec::new(), misuse: Vec::new() };
        Self { book: Mutex::new(book) }
    }

    /// How many accesses were refused so far.
    #[must_use]
    pub fn faults(&self) -> u64 {
        self.book().faults
    }

    /// The accesses that were refused, oldest first; the first 1024 are kept.
    #[must_use]
    pub fn fault_list(&self) -> Vec<IommuFault> {
        self.book().fault_list.clone()
    }

    /// The calls that broke the rules of a domain, oldest first; the first 1024 are kept.
    #[must_use]
    pub fn misuse(&self) -> Vec<Misuse> {
        self.book().misuse.clone()
    }

    /// How many mappings there are now.
    #[must_use]
    pub fn mappings(&self) -> usize {
        self.book().table.len()
    }

    /// Whether every one of `length` bytes at `iova` is mapped with these rights.
    #[must_use]
    pub fn is_mapped(&self, iova: Iova, length: u64, rights: Rights) -> bool {
        let book = self.book();
        let access = if rights == Rights::Read { BusAccess::Read } else { BusAccess::Write };
        let Some(end) = iova.get().checked_add(length) else { return false };
        let mut address = iova.get();
        while address < end {
            let piece = (PAGE - address % PAGE).min(end - address);
            if book.table.translate(address, piece, access).is_err() {
                return false;
            }
            address += piece;
        }
        true
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Upstream for Iommu {
    fn read_words(&self, channel: usize, address: u64) -> Option<[u64; 8]> {
        let mut book = self.book();
        match book.table.translate(address, 64, BusAccess::Read) {
            Ok((span, offset)) => {
                Some(std::array::from_fn(|word| span.read_word(offset + word * 8)))
            }
            Err(reason) => {
                book.fault(channel, address, BusAccess::Read, reason);
                None
            }
        }
    }

    fn write_word(&self, channel: usize, address: u64, word: u64) -> Option<()> {
        let mut book = self.book();
        match book.table.translate(address, 8, BusAccess::Write) {
            Ok((span, offset)) => {
                span.publish(offset, word);
                Some(())
            }
            Err(reason) => {
                book.fault(channel, address, BusAccess::Write, reason);
                None
            }
        }
    }

    fn copy(
        &self,
        channel: usize,
        [source, destination]: [u64; 2],
        length: usize,
    ) -> Result<(), Side> {
        let mut book = self.book();
        let from = book.table.translate(source, length as u64, BusAccess::Read);
        let to = book.table.translate(destination, length as u64, BusAccess::Write);
        match (from, to) {
            (Ok((from, at)), Ok((to, offset))) => {
                to.copy(offset, from, at, length);
                Ok(())
            }
            (Err(reason), _) => {
                book.fault(channel, source, BusAccess::Read, reason);
                Err(Side::Source)
            }
            (_, Err(reason)) => {
                book.fault(channel, destination, BusAccess::Write, reason);
                Err(Side::Destination)
            }
        }
    }

    fn fill(
        &self,
        channel: usize,
        destination: u64,
        length: usize,
        pattern: u64,
    ) -> Result<(), Side> {
        let mut book = self.book();
        match book.table.translate(destination, length as u64, BusAccess::Write) {
            Ok((to, offset)) => {
                to.fill(offset, length, pattern);
                Ok(())
            }
            Err(reason) => {
                book.fault(channel, destination, BusAccess::Write, reason);
                Err(Side::Destination)
            }
        }
    }
}

impl Book {
    fn fault(&mut self, channel: usize, address: u64, access: BusAccess, reason: FaultReason) {
        self.faults += 1;
        let fault = IommuFault { iova: Iova::new(address), access, reason, channel };
        keep(&mut self.fault_list, fault);
    }
}

fn keep<T>(list: &mut Vec<T>, item: T) {
    if list.len() < KEPT {
        list.push(item);
    }
}
