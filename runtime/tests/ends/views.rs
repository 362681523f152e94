//! A view of a region by its address, as unsafe code of an application has it.
#![allow(unsafe_code, reason = "stands for an application that keeps a region's address")]

use std::fs;

use dmaring::Region;

/// May outlive the region: then it dangles, unless zeroes stand there.
pub(crate) struct View(usize);

impl View {
    pub(crate) fn of(region: &Region) -> Self {
        Self(region.as_mut_ptr().unwrap().as_ptr().expose_provenance())
    }

    /// The word at this offset, in bytes.
    pub(crate) fn word(&self, offset: usize) -> u64 {
        let at = std::ptr::with_exposed_provenance::<u64>(self.0 + offset);
        // SAFETY: (1) the tests ask within the region, at multiples of eight; (2) it is mapped, or zeroes are.
        unsafe { at.read_volatile() }
    }

    /// The file whose pages stand there, by the kernel's list.
    pub(crate) fn mapped_from(&self) -> Option<String> {
        let maps = fs::read_to_string("/proc/self/maps").unwrap();
        let line = maps.lines().find(|line| {
            let (start, rest) = line.split_once('-').unwrap();
            let end = rest.split(' ').next().unwrap();
            let number = |text| usize::from_str_radix(text, 16).unwrap();
            (number(start)..number(end)).contains(&self.0)
        });
        line.expect("something is mapped").split_whitespace().nth(5).map(str::to_owned)
    }

    pub(crate) fn set_word(&self, offset: usize, value: u64) {
        let at = std::ptr::with_exposed_provenance_mut::<u64>(self.0 + offset);
        // SAFETY: as in `word`; nobody has a reference to it.
        unsafe { at.write_volatile(value) };
    }
}
