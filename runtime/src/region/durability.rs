//! Whether what is in a region outlives a loss of power, and what it takes.
//!
//! Sources: Linux, `Documentation/ABI/testing/sysfs-bus-nvdimm` and `drivers/nvdimm/region_devs.c`: a region of
//! persistent memory has `persistence_domain` where its platform names one, `cpu_cache` (ACPI's NFIT: the platform
//! flushes the processors' caches when power fails, eADR) or `memory_controller` (only what has reached the memory
//! controller is safe, ADR, and a CXL device's flush likewise), and has none where the platform says nothing.

use std::fmt;

use super::Region;
use crate::error::{Error, ErrorKind};

/// Whether what is in a region outlives a loss of power, and what it takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Durability {
    /// It is lost, or nobody knows. Nothing can be made durable.
    #[default]
    Volatile,
    /// It outlives it once it was written back: from the processors' caches, or from the kernel's page cache to the
    /// storage of a file. [`durable`](crate::Copy::durable) and [`Region::persist`] do so.
    NeedsFlush,
    /// It outlives it as soon as it is visible: the platform writes its caches back when power fails. A transfer
    /// that ended is visible, whether the platform placed it in a cache (DDIO) or in memory; non-temporal stores are
    /// once they are fenced, and that is all that [`durable`](crate::Copy::durable) adds.
    PowerFailSafe,
}

/// Where a region's [`Durability`] is known from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DurabilitySource {
    /// It is ordinary memory: allocated, registered, or a file of tmpfs or hugetlbfs.
    #[default]
    Memory,
    /// The device's `persistence_domain` in sysfs.
    PersistenceDomain,
    /// It is a device-dax device of which sysfs names no persistence domain that is known: CXL or other memory that is
    /// volatile, DRAM that the kernel was told to take for persistent (`memmap=`), or a platform that says nothing. Taken for
    /// volatile, which is safe.
    NoPersistenceDomain,
    /// It is a file that is read and written through staging buffers: `fdatasync` makes it durable.
    File,
    /// The application said so: [`Region::assume_durability`].
    Assumed,
}

impl Region {
    /// Whether what is in the region outlives a loss of power, as far as it is known. Where it is not,
    /// [`Volatile`](Durability::Volatile); [`durability_source`](Region::durability_source) tells.
    #[must_use]
    pub fn durability(&self) -> Durability {
        self.durable().durability
    }

    /// Where the answer of [`durability`](Region::durability) comes from.
    #[must_use]
    pub fn durability_source(&self) -> DurabilitySource {
        self.durable().source
    }

    /// Takes the application's word for what outlives a loss of power, for every handle of this region and for
    /// operations that are submitted from now on.
    ///
    /// For memory of which the system does not say what the application knows: DRAM with a battery, a platform whose
    /// firmware is silent, a mapping of persistent memory that was registered. The library cannot check it. If the word is
    /// wrong, operations that resolve as durable are lost with the power, and nothing will have told; it never
    /// makes an access unsound. [`NeedsFlush`](Durability::NeedsFlush) is right wherever
    /// [`PowerFailSafe`](Durability::PowerFailSafe) is, and only slower.
    ///
    /// # Errors
    ///
    /// [`Unsupported`](ErrorKind::Unsupported) to take a staged file for [`PowerFailSafe`](Durability::PowerFailSafe): what was
    /// written to it is in the kernel's page cache; [`Closed`](ErrorKind::Closed) for a region that is
    /// [closed](Region::close) or [replaced](Region::replace_with_zeroes), or being so.
    pub fn assume_durability(&self, durability: Durability) -> Result<(), Error> {
        if self.0.facts.staged && durability == Durability::PowerFailSafe {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "a staged file is durable after fdatasync only: it cannot be taken for power-fail safe, use Durability::NeedsFlush",
            ));
        }
        if self.0.life.is_ending() {
            return Err(self.ended());
        }
        self.set_durable(Durable { durability, source: DurabilitySource::Assumed });
        Ok(())
    }

    /// Refuses what could never become durable.
    pub(crate) fn check_durable(&self) -> Result<(), Error> {
        let Durable { durability, source } = self.durable();
        if durability != Durability::Volatile {
            return Ok(());
        }
        let message = format!(
            "the region's memory is volatile ({source}), so nothing in it can be made durable: use persistent memory or a file, or Region::assume_durability if you know better"
        );
        Err(Error::new(ErrorKind::Volatile, message))
    }

    /// Says what is known. Before that the region is volatile.
    pub(crate) fn set_durable(&self, durable: Durable) {
        let shared = &self.0.shared;
        if durable.durability != Durability::Volatile && !self.0.facts.staged {
            shared.persist.prepare();
        }
        let host = self.0.span().map_or(0, |(base, _)| base.as_ptr().expose_provenance() as u64);
        shared.regions.set_durable(self.0.key, host, durable);
    }

    /// What is known; of a region that has ended, that it is volatile.
    fn durable(&self) -> Durable {
        self.0.shared.regions.durable(self.0.key).map_or_else(Durable::default, |(_, known)| known)
    }
}

/// What is known, and from where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Durable {
    pub(crate) durability: Durability,
    pub(crate) source: DurabilitySource,
}

const DURABILITIES: [Durability; 3] =
    [Durability::Volatile, Durability::NeedsFlush, Durability::PowerFailSafe];
const SOURCES: [DurabilitySource; 5] = [
    DurabilitySource::Memory,
    DurabilitySource::PersistenceDomain,
    DurabilitySource::NoPersistenceDomain,
    DurabilitySource::File,
    DurabilitySource::Assumed,
];

impl Durable {
    pub(crate) const FILE: Self =
        Self { durability: Durability::NeedsFlush, source: DurabilitySource::File };

    /// What a device's persistence domain means.
    pub(crate) fn of_domain(domain: Option<&str>) -> Self {
        let known = DurabilitySource::PersistenceDomain;
        let (durability, source) = match domain {
            Some("cpu_cache") => (Durability::PowerFailSafe, known),
            Some("memory_controller") => (Durability::NeedsFlush, known),
            _ => (Durability::Volatile, DurabilitySource::NoPersistenceDomain),
        };
        Self { durability, source }
    }

    /// Both in one word, by number.
    pub(crate) fn to_word(self) -> u32 {
        self.durability as u32 | (self.source as u32) << 8
    }

    /// What the word says; the default for a number that is none.
    pub(crate) fn from_word(word: u32) -> Self {
        let [durability, source, ..] = word.to_le_bytes();
        Self {
            durability: DURABILITIES.get(usize::from(durability)).copied().unwrap_or_default(),
            source: SOURCES.get(usize::from(source)).copied().unwrap_or_default(),
        }
    }
}

impl fmt::Display for Durability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Volatile => "volatile",
            Self::NeedsFlush => "needs flush",
            Self::PowerFailSafe => "power-fail safe",
        })
    }
}

impl fmt::Display for DurabilitySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Memory => "ordinary memory",
            Self::PersistenceDomain => "by its persistence domain in sysfs",
            Self::NoPersistenceDomain => "sysfs names no persistence domain that is known",
            Self::File => "a file, by fdatasync",
            Self::Assumed => "by the application's word",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_persistence_domain_is_what_sysfs_says_and_nothing_better() {
        let known = |domain| {
            let Durable { durability, source } = Durable::of_domain(domain);
            (durability, source == DurabilitySource::PersistenceDomain)
        };
        assert_eq!(known(Some("cpu_cache")), (Durability::PowerFailSafe, true));
        assert_eq!(known(Some("memory_controller")), (Durability::NeedsFlush, true));
        for unknown in [None, Some("unknown"), Some(""), Some("cpu_cache memory_controller")] {
            assert_eq!(known(unknown), (Durability::Volatile, false), "{unknown:?}");
        }
    }

    #[test]
    fn a_word_holds_both_and_a_made_up_one_is_volatile() {
        for (number, &durability) in DURABILITIES.iter().enumerate() {
            assert_eq!(durability as usize, number);
            for &source in &SOURCES {
                let durable = Durable { durability, source };
                assert_eq!(Durable::from_word(durable.to_word()), durable);
            }
        }
        assert_eq!(Durable::from_word(u32::MAX), Durable::default());
        assert_eq!(Durable::default().durability, Durability::Volatile);
    }
}
