//! Which addresses of a domain are taken.
//!
//! Addresses are given from the ranges that the kernel reports, never 0, and below 2 to the power of
//! [`SAFE_ADDRESS_BITS`]. Between neighbours at least one granule stays free, so that a device which runs past the
//! end of one mapping meets a fault and not the next mapping. The search goes on where the last one ended, so an
//! address that was given back is given again late: who still uses it meets a fault too.
//!
//! A mapping that is long enough is placed at an address that equals its virtual address modulo 1 GiB or 2 MiB, as
//! far as there is such a place: the kernel can then use pages of that size.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;

use dmaring_ioat_spec::device::SAFE_ADDRESS_BITS;

/// The granule of mappings, in bytes: the page of x86-64, which VFIO always takes there.
pub(super) const GRANULE: u64 = 4096;

/// Sizes of pages in an IOMMU's tables beside the granule, in bytes, the largest first.
const LARGE_PAGES: [u64; 2] = [1 << 30, 1 << 21];

/// One past the last address that is given.
const END: u64 = 1 << SAFE_ADDRESS_BITS;

/// What x86 keeps for interrupts, as first and last address.
const INTERRUPT_WINDOW: (u64, u64) = (0xfee0_0000, 0xfeef_ffff);

#[derive(Debug, Default)]
pub(super) struct Space {
    /// What may be given, as start and end, by address.
    windows: Vec<(u64, u64)>,
    /// What is taken, by its start.
    taken: BTreeMap<u64, Taken>,
    /// Where the next search begins.
    cursor: u64,
}

/// Addresses that are taken.
#[derive(Clone, Copy, Debug)]
struct Taken {
    end: u64,
    /// How many mappings the kernel has there.
    mappings: u64,
}

impl Space {
    /// Gives from these ranges, each as first and last address, from here on. Without any: all addresses but the
    /// interrupts'. What is taken stays so.
    pub(super) fn set_ranges(&mut self, ranges: Option<&[(u64, u64)]>) {
        let (first, last) = INTERRUPT_WINDOW;
        let fallback = [(0, first - 1), (last + 1, u64::MAX)];
        self.windows = ranges
            .unwrap_or(&fallback)
            .iter()
            .map(|&(first, last)| {
                let start = first.max(GRANULE).checked_next_multiple_of(GRANULE).unwrap_or(END);
                (start, last.saturating_add(1).min(END) / GRANULE * GRANULE)
            })
            .filter(|(start, end)| start < end)
            .collect();
        self.windows.sort_unstable();
    }

    /// Takes addresses for `length` bytes at the virtual address `memory`, both multiples of the granule. `None`:
    /// there are none.
    pub(super) fn take(&mut self, memory: u64, length: u64) -> Option<u64> {
        let start =
            LARGE_PAGES.into_iter().filter(|page| length >= *page).chain([GRANULE]).find_map(
                |page| {
                    self.find(self.cursor, memory, length, page)
                        .or_else(|| self.find(0, memory, length, page))
                },
            )?;
        self.taken.insert(start, Taken { end: start + length, mappings: 0 });
        self.cursor = start + length + GRANULE;
        Some(start)
    }

    /// Notes how many mappings the kernel has at addresses that were taken.
    pub(super) fn set_mappings(&mut self, start: u64, mappings: u64) {
        if let Some(taken) = self.taken.get_mut(&start) {
            taken.mappings = mappings;
        }
    }

    /// Gives addresses back, and says how many mappings the kernel had there. Nothing begins there that is taken: nothing
    /// happens.
    pub(super) fn give_back(&mut self, start: u64) -> u64 {
        self.taken.remove(&start).map_or(0, |taken| taken.mappings)
    }

    /// Whether exactly these addresses were taken at once.
    pub(super) fn holds(&self, start: u64, length: u64) -> bool {
        self.taken.get(&start).is_some_and(|taken| taken.end - start == length)
    }

    /// Bytes of addresses that are taken, and that there are.
    pub(super) fn usage(&self) -> (u64, u64) {
        let bytes = |ranges: &mut dyn Iterator<Item = (u64, u64)>| -> u64 {
            ranges.map(|(start, end)| end - start).sum()
        };
        (
            bytes(&mut self.taken.iter().map(|(start, taken)| (*start, taken.end))),
            bytes(&mut self.windows.iter().copied()),
        )
    }

    /// How many times addresses are taken.
    pub(super) fn count(&self) -> usize {
        self.taken.len()
    }

    /// The lowest place from `from` on that equals `memory` modulo `page`.
    fn find(&self, from: u64, memory: u64, length: u64, page: u64) -> Option<u64> {
        self.windows.iter().find_map(|&(start, end)| {
            let mut at = congruent(start.max(from), memory, page)?;
            while at.checked_add(length)? <= end {
                // The last one that begins before the gap behind this place also ends last.
                let before = self.taken.range(..at + length + GRANULE).next_back();
                match before {
                    Some((_, &Taken { end: taken_end, .. })) if taken_end + GRANULE > at => {
                        at = congruent(taken_end + GRANULE, memory, page)?;
                    }
                    _ => return Some(at),
                }
            }
            None
        })
    }
}

/// The lowest address from `from` on that equals `memory` modulo `page`.
fn congruent(from: u64, memory: u64, page: u64) -> Option<u64> {
    let ahead = (memory % page).wrapping_sub(from % page) % page;
    from.checked_add(ahead)
}

#[cfg(test)]
mod tests;
