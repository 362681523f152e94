//! A function to serve, as the command line describes it.

use std::{path::PathBuf, str::FromStr};

use dmaring_ioat_spec::registers::Version;

use crate::{
    Device, DeviceBuilder, FaultPlan, FaultPlanError, Preset, UnknownPreset,
    guest::{NotASlot, Slot},
};

/// One function and the socket that QEMU's proxy reaches it by.
///
/// Parsed from parts separated by commas: `slot=05.0,socket=PATH`, and where they differ from the
/// preset, `preset=skx|icx|bdx`, `xfercap=LOG2`, `version=MAJOR.MINOR`, `device-id=0xHEX`, `channels=N`, and
/// last `fault-plan=PLAN`, which may have commas itself.
#[derive(Clone, Debug)]
pub struct FunctionSpec {
    /// Where the function stands on bus 0, as QEMU's `addr=` says.
    pub slot: Slot,
    /// Where to listen for QEMU's proxy.
    pub socket: PathBuf,
    /// What the function is.
    pub builder: DeviceBuilder,
}

/// Why a text describes no function.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FunctionSpecError {
    /// A part that is none of those known, or is given twice.
    #[error(
        "`{part}` is unknown or there twice: the form is slot=05.0,socket=PATH, then any of preset=, \
         xfercap=, version=, device-id=, channels= and last fault-plan="
    )]
    Part {
        /// The part.
        part: String,
    },
    /// A value that is none.
    #[error("`{part}` has no valid value: the form is {form}")]
    Value {
        /// The part.
        part: String,
        /// What it should look like.
        form: &'static str,
    },
    /// A part that must be there.
    #[error("a function needs {missing}: the form is slot=05.0,socket=PATH")]
    Missing {
        /// Which.
        missing: &'static str,
    },
    /// No slot.
    #[error(transparent)]
    Slot(#[from] NotASlot),
    /// No preset.
    #[error(transparent)]
    Preset(#[from] UnknownPreset),
    /// No fault plan.
    #[error(transparent)]
    Plan(#[from] FaultPlanError),
}

const XFERCAP: &str = "xfercap=LOG2, as in xfercap=20 for 1 MiB";
const VERSION: &str = "version=MAJOR.MINOR, each 0 to 15, as in version=3.3";
const DEVICE_ID: &str = "device-id=0xHEX, as in device-id=0x2021";
const CHANNELS: &str = "channels=N, as in channels=1";

impl FromStr for FunctionSpec {
    type Err = FunctionSpecError;

    fn from_str(text: &str) -> Result<Self, FunctionSpecError> {
        let parts = parts(text);
        for (index, (name, value)) in parts.iter().enumerate() {
            let twice = parts.iter().take(index).any(|(other, _)| other == name);
            if twice || !KNOWN.contains(name) {
                return Err(FunctionSpecError::Part { part: format!("{name}={value}") });
            }
        }
        let find = |wanted| parts.iter().find(|(name, _)| *name == wanted).map(|(_, value)| *value);
        let need = |missing| find(missing).ok_or(FunctionSpecError::Missing { missing });

        let slot = need("slot")?.parse()?;
        let socket = PathBuf::from(need("socket")?);
        let preset = find("preset").map_or(Ok(Preset::Skx), str::parse)?;
        let mut builder = Device::builder(preset);
        if let Some(value) = find("xfercap") {
            builder = builder.xfercap(number("xfercap", value, XFERCAP)?);
        }
        if let Some(value) = find("version") {
            builder = builder.version(version(value)?);
        }
        if let Some(value) = find("device-id") {
            builder = builder.device_id(device_id(value)?);
        }
        if let Some(value) = find("channels") {
            let channels = number("channels", value, CHANNELS)?;
            builder = builder.channels(channels).channels_per_function(channels);
        }
        if let Some(value) = find("fault-plan") {
            builder = builder.fault_plan(value.parse::<FaultPlan>()?);
        }
        Ok(Self { slot, socket, builder })
    }
}

const KNOWN: &[&str] =
    &["slot", "socket", "preset", "xfercap", "version", "device-id", "channels", "fault-plan"];

/// Names and values; everything after `fault-plan=` is its value.
fn parts(text: &str) -> Vec<(&str, &str)> {
    let (mut parts, mut rest) = (Vec::new(), Some(text));
    while let Some(text) = rest {
        let (part, after) = match text.split_once(',') {
            Some((part, after)) if !text.starts_with("fault-plan=") => (part, Some(after)),
            _ => (text, None),
        };
        parts.push(part.split_once('=').unwrap_or((part, "")));
        rest = after;
    }
    parts
}

fn number<T: FromStr>(name: &str, value: &str, form: &'static str) -> Result<T, FunctionSpecError> {
    value.parse().map_err(|_| refused(name, value, form))
}

fn version(value: &str) -> Result<Version, FunctionSpecError> {
    let nibble = |text: &str| text.parse::<u8>().ok().filter(|number| *number < 16);
    value
        .split_once('.')
        .and_then(|(major, minor)| Some(nibble(major)? << 4 | nibble(minor)?))
        .map(Version::from_bits)
        .ok_or_else(|| refused("version", value, VERSION))
}

fn device_id(value: &str) -> Result<u16, FunctionSpecError> {
    value
        .strip_prefix("0x")
        .and_then(|hex| u16::from_str_radix(hex, 16).ok())
        .ok_or_else(|| refused("device-id", value, DEVICE_ID))
}

fn refused(name: &str, value: &str, form: &'static str) -> FunctionSpecError {
    FunctionSpecError::Value { part: format!("{name}={value}"), form }
}

#[cfg(test)]
mod tests {
    use super::FunctionSpec;

    #[test]
    fn a_function_is_described_by_its_parts() {
        let text = "slot=05.1,socket=/p/f0.sock,preset=icx,xfercap=16,version=3.4,device-id=0x0b00,\
                    channels=2,fault-plan=nth=5:chanerr=8,every=9:stall";
        let spec: FunctionSpec = text.parse().unwrap();
        assert_eq!((spec.slot.device(), spec.slot.function()), (5, 1));
        assert_eq!(spec.socket.to_str(), Some("/p/f0.sock"));
        let device = spec.builder.build().unwrap();
        assert_eq!((device.channels(), device.functions()), (2, 1));
        assert_eq!(device.function(0).unwrap().device_id(), 0x0b00);
        "slot=1f.7,socket=x".parse::<FunctionSpec>().unwrap().builder.build().unwrap();
    }

    #[test]
    fn what_describes_none_is_refused_with_the_form() {
        let cases = [
            ("", "is unknown or there twice"),
            ("slot=05.0", "a function needs socket"),
            ("socket=x", "a function needs slot"),
            ("slot=05.0,socket=x,slot=05.1", "`slot=05.1` is unknown or there twice"),
            ("slot=05.0,socket=x,colour=red", "`colour=red` is unknown"),
            ("slot=05,socket=x", "`05` is no slot"),
            ("slot=05.0,socket=x,preset=spr", "no device preset `spr`"),
            ("slot=05.0,socket=x,version=3", "the form is version=MAJOR.MINOR"),
            ("slot=05.0,socket=x,version=3.16", "the form is version=MAJOR.MINOR"),
            ("slot=05.0,socket=x,xfercap=256", "the form is xfercap=LOG2"),
            ("slot=05.0,socket=x,device-id=2021", "the form is device-id=0xHEX"),
            ("slot=05.0,socket=x,fault-plan=stall", "does not say when"),
            ("slot=05.0,socket=x,", "is unknown"),
        ];
        for (text, message) in cases {
            let error = text.parse::<FunctionSpec>().unwrap_err().to_string();
            assert!(error.contains(message), "{text}: {error}");
        }
    }
}
