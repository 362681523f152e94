//! Which PCI functions are I/OAT channels, and what is particular to each platform.
//!
//! Ids are those of Linux's, SPDK's and DPDK's tables. From Sapphire Rapids on there is none: those
//! parts have DSA, device 0b25, another interface.

use crate::registers::Version;

/// Intel's PCI vendor id.
pub const VENDOR: u16 = 0x8086;

/// The PCI class and subclass of a channel: other system peripheral.
pub const CLASS: u16 = 0x0880;

/// The BAR that has the registers.
pub const REGISTER_BAR: u8 = 0;

/// Bits of an address that every part takes, in descriptors and registers: keep IOVAs below 2 to the
/// power of this. 40 bits on some parts; 39 suits the smallest IOMMUs too.
pub const SAFE_ADDRESS_BITS: u32 = 39;

/// The longest transfer of one descriptor that datasheets promise, in bytes; XFERCAP has the part's.
pub const PROMISED_TRANSFER_BYTES: u32 = 1 << 20;

/// A family of parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Platform {
    /// Tylersburg: Nehalem and Westmere.
    Tylersburg,
    /// Jasper Forest.
    JasperForest,
    /// Sandy Bridge-EP.
    SandyBridgeEp,
    /// Ivy Bridge-EP.
    IvyBridgeEp,
    /// Haswell-EP.
    HaswellEp,
    /// Broadwell-EP.
    BroadwellEp,
    /// Briarwood Atom.
    Briarwood,
    /// Broadwell-DE.
    BroadwellDe,
    /// Skylake-SP and Cascade Lake-SP.
    SkylakeSp,
    /// Ice Lake-SP.
    IceLakeSp,
    /// An id that is in no source's table: by no means a channel because its vendor is Intel's.
    Unknown {
        /// The vendor id.
        vendor: u16,
        /// The device id.
        device: u16,
    },
}

impl Platform {
    /// The platform of a function with these ids.
    #[must_use]
    pub fn of(vendor: u16, device: u16) -> Self {
        PLATFORMS
            .iter()
            .find(|spec| vendor == VENDOR && spec.has(device))
            .map_or(Self::Unknown { vendor, device }, |spec| spec.platform)
    }

    /// What is known of the platform; `None` for [`Platform::Unknown`].
    #[must_use]
    pub fn spec(self) -> Option<&'static PlatformSpec> {
        PLATFORMS.iter().find(|spec| spec.platform == self)
    }

    /// The platform's name; `unknown` for [`Platform::Unknown`].
    #[must_use]
    pub fn name(self) -> &'static str {
        self.spec().map_or("unknown", |spec| spec.name)
    }
}

/// What is known of a platform.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlatformSpec {
    /// Which platform.
    pub platform: Platform,
    /// Its name.
    pub name: &'static str,
    /// The device ids of its channels, as ranges with both ends in.
    pub devices: &'static [(u16, u16)],
    /// What CBVER may say.
    pub versions: &'static [Version],
    /// What a model of the part puts in CBVER: the last of `versions`.
    pub model_version: Version,
    /// A channel reset wipes the function's MSI-X table: save and restore it. Source: FreeBSD.
    pub reset_wipes_msix: bool,
    /// DMAUNCERRSTS has its parity bit set spuriously after a restart: clear it. Source: Linux, for
    /// device 3430.
    pub spurious_config_parity: bool,
}

impl PlatformSpec {
    /// Whether this device id is one of the platform's.
    #[must_use]
    pub fn has(&self, device: u16) -> bool {
        self.devices.iter().any(|(first, last)| (*first..=*last).contains(&device))
    }
}

/// Every platform that a source names, the oldest first.
pub const PLATFORMS: &[PlatformSpec] = &[
    PlatformSpec {
        spurious_config_parity: true,
        ..spec(
            Platform::Tylersburg,
            "Tylersburg",
            &[(0x3430, 0x3433), (0x3429, 0x342c)],
            &[Version::V3_0],
        )
    },
    spec(Platform::JasperForest, "Jasper Forest", &[(0x3710, 0x3719)], &[Version::V3_2]),
    spec(
        Platform::SandyBridgeEp,
        "Sandy Bridge-EP",
        &[(0x3c20, 0x3c27), (0x3c2e, 0x3c2f)],
        &[Version::V3_2],
    ),
    spec(
        Platform::IvyBridgeEp,
        "Ivy Bridge-EP",
        &[(0x0e20, 0x0e27), (0x0e2e, 0x0e2f)],
        &[Version::V3_2],
    ),
    spec(
        Platform::HaswellEp,
        "Haswell-EP",
        &[(0x2f20, 0x2f27), (0x2f2e, 0x2f2f)],
        &[Version::V3_2],
    ),
    spec(
        Platform::BroadwellEp,
        "Broadwell-EP",
        &[(0x6f20, 0x6f27), (0x6f2e, 0x6f2f)],
        &[Version::V3_2],
    ),
    PlatformSpec {
        reset_wipes_msix: true,
        ..spec(Platform::Briarwood, "Briarwood", &[(0x0c50, 0x0c53)], &[Version::V3_3])
    },
    PlatformSpec {
        reset_wipes_msix: true,
        ..spec(Platform::BroadwellDe, "Broadwell-DE", &[(0x6f50, 0x6f53)], &[Version::V3_3])
    },
    // Linux takes it for 3.2 whatever CBVER says, so silicon must say something else: 3.3 here.
    spec(Platform::SkylakeSp, "Skylake-SP", &[(0x2021, 0x2021)], &[Version::V3_2, Version::V3_3]),
    spec(Platform::IceLakeSp, "Ice Lake-SP", &[(0x0b00, 0x0b00)], &[Version::V3_4]),
];

const fn spec(
    platform: Platform,
    name: &'static str,
    devices: &'static [(u16, u16)],
    versions: &'static [Version],
) -> PlatformSpec {
    PlatformSpec {
        platform,
        name,
        devices,
        versions,
        model_version: versions[versions.len() - 1],
        reset_wipes_msix: false,
        spurious_config_parity: false,
    }
}

#[cfg(test)]
mod tests {
    use super::{PLATFORMS, Platform};

    /// Every id of the sources' tables, typed by hand.
    const IDS: &[(Platform, u8, &[u16])] = &[
        (
            Platform::Tylersburg,
            0x30,
            &[0x3430, 0x3431, 0x3432, 0x3433, 0x3429, 0x342a, 0x342b, 0x342c],
        ),
        (
            Platform::JasperForest,
            0x32,
            &[0x3710, 0x3711, 0x3712, 0x3713, 0x3714, 0x3715, 0x3716, 0x3717, 0x3718, 0x3719],
        ),
        (
            Platform::SandyBridgeEp,
            0x32,
            &[0x3c20, 0x3c21, 0x3c22, 0x3c23, 0x3c24, 0x3c25, 0x3c26, 0x3c27, 0x3c2e, 0x3c2f],
        ),
        (
            Platform::IvyBridgeEp,
            0x32,
            &[0x0e20, 0x0e21, 0x0e22, 0x0e23, 0x0e24, 0x0e25, 0x0e26, 0x0e27, 0x0e2e, 0x0e2f],
        ),
        (
            Platform::HaswellEp,
            0x32,
            &[0x2f20, 0x2f21, 0x2f22, 0x2f23, 0x2f24, 0x2f25, 0x2f26, 0x2f27, 0x2f2e, 0x2f2f],
        ),
        (
            Platform::BroadwellEp,
            0x32,
            &[0x6f20, 0x6f21, 0x6f22, 0x6f23, 0x6f24, 0x6f25, 0x6f26, 0x6f27, 0x6f2e, 0x6f2f],
        ),
        (Platform::Briarwood, 0x33, &[0x0c50, 0x0c51, 0x0c52, 0x0c53]),
        (Platform::BroadwellDe, 0x33, &[0x6f50, 0x6f51, 0x6f52, 0x6f53]),
        (Platform::SkylakeSp, 0x33, &[0x2021]),
        (Platform::IceLakeSp, 0x34, &[0x0b00]),
    ];

    #[test]
    fn every_device_id_is_of_its_platform_or_unknown() {
        for device in 0..=u16::MAX {
            let known = IDS.iter().find(|(_, _, ids)| ids.contains(&device));
            let unknown = Platform::Unknown { vendor: 0x8086, device };
            let expected = known.map_or(unknown, |(platform, _, _)| *platform);
            assert_eq!(Platform::of(0x8086, device), expected, "{device:#06x}");
        }
        let other = Platform::Unknown { vendor: 0x1022, device: 0x2021 };
        assert_eq!(Platform::of(0x1022, 0x2021), other);
        assert_eq!((other.spec(), other.name()), (None, "unknown"));
    }

    #[test]
    fn each_platform_has_its_version_and_quirks() {
        assert_eq!(PLATFORMS.len(), IDS.len());
        for (platform, version, _) in IDS {
            let spec = platform.spec().unwrap();
            assert_eq!((spec.platform, spec.model_version.bits()), (*platform, *version));
            assert!(spec.versions.contains(&spec.model_version));
            let wiped = matches!(platform, Platform::Briarwood | Platform::BroadwellDe);
            assert_eq!(spec.reset_wipes_msix, wiped);
            assert_eq!(spec.spurious_config_parity, *platform == Platform::Tylersburg);
        }
    }
}
