//! What is particular to each platform that the model can be.

use std::{fmt, str::FromStr};

use dmaring_ioat_spec::{
    device::{Platform, PlatformSpec},
    registers::{DmaCapability, Version},
};

/// A platform to model. Everything it presets can be set otherwise in the builder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Preset {
    /// Skylake-SP and Cascade Lake-SP: device 2021, version 3.3, with fill.
    Skx,
    /// Ice Lake-SP: device 0b00, version 3.4, without fill.
    Icx,
    /// Broadwell-EP: devices 6f20 to 6f27, version 3.2, with fill.
    Bdx,
}

/// Log2 of the longest transfer of every preset: the 1 MiB that datasheets promise.
pub(crate) const XFERCAP_LOG2: u8 = 20;

/// What one function is, as its registers say.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part {
    pub(crate) device_id: u16,
    pub(crate) version: Version,
    pub(crate) xfercap_log2: u8,
    pub(crate) capabilities: DmaCapability,
    /// Channels of this function.
    pub(crate) channels: u8,
    pub(crate) multi_function: bool,
}

impl Part {
    /// What is known of the platform with this device id.
    pub(crate) fn platform(&self) -> Option<&'static PlatformSpec> {
        Platform::of(dmaring_ioat_spec::device::VENDOR, self.device_id).spec()
    }
}

impl Preset {
    /// Every preset.
    pub const ALL: &[Self] = &[Self::Skx, Self::Icx, Self::Bdx];

    /// The preset's name, as the command line has it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Skx => "skx",
            Self::Icx => "icx",
            Self::Bdx => "bdx",
        }
    }

    /// The platform it models.
    #[must_use]
    pub const fn platform(self) -> Platform {
        match self {
            Self::Skx => Platform::SkylakeSp,
            Self::Icx => Platform::IceLakeSp,
            Self::Bdx => Platform::BroadwellEp,
        }
    }

    /// The device id of a function: those of the platform's first range, in turn.
    pub(crate) fn device_id(self, function: u8) -> u16 {
        let ranges = self.platform().spec().map_or(&[][..], |spec| spec.devices);
        let (first, last) = ranges.first().copied().unwrap_or((0, 0));
        first + u16::from(function) % (last - first + 1)
    }

    pub(crate) fn version(self) -> Version {
        self.platform().spec().map_or(Version::V3_2, |spec| spec.model_version)
    }

    /// Whether silicon can fill is settled by no source: two presets can and one cannot.
    pub(crate) fn capabilities(self) -> DmaCapability {
        match self {
            Self::Skx | Self::Bdx => DmaCapability::FILL_BLOCK,
            Self::Icx => DmaCapability::DESCRIPTOR_PREFETCH,
        }
    }
}

impl fmt::Display for Preset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Preset {
    type Err = UnknownPreset;

    fn from_str(name: &str) -> Result<Self, UnknownPreset> {
        let known = Self::ALL.iter().find(|preset| preset.name() == name);
        known.copied().ok_or_else(|| UnknownPreset { name: name.to_owned() })
    }
}

/// No preset has this name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no device preset `{name}`: there are skx, icx and bdx")]
pub struct UnknownPreset {
    /// The name given.
    pub name: String,
}

#[cfg(test)]
mod tests {
    use super::Preset;

    #[test]
    fn presets_are_what_the_table_of_platforms_says() {
        let of =
            |preset: Preset| (preset.device_id(0), preset.device_id(1), preset.version().bits());
        assert_eq!(of(Preset::Skx), (0x2021, 0x2021, 0x33));
        assert_eq!(of(Preset::Icx), (0x0b00, 0x0b00, 0x34));
        assert_eq!(of(Preset::Bdx), (0x6f20, 0x6f21, 0x32));
        assert_eq!(Preset::Bdx.device_id(8), 0x6f20);
    }

    #[test]
    fn presets_have_names() {
        for preset in Preset::ALL {
            assert_eq!(preset.to_string().parse(), Ok(*preset));
        }
        let message = "spr".parse::<Preset>().unwrap_err().to_string();
        assert_eq!(message, "no device preset `spr`: there are skx, icx and bdx");
    }
}
