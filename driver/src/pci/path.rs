//! The way from one function to another, as far as it can be known.
//!
//! sysfs has a function's directory below those of the bridges above it. Below one bridge two functions can reach each other
//! without the root complex, unless access control services send them through it. Above, the root complex forwards between
//! its ports or does not, and nothing that can be read says which: Linux keeps a list of those that were tried
//! (`pci_p2pdma_whitelist` in `drivers/pci/p2pdma.c`).
#![forbid(unsafe_code)]

use std::{
    fmt, fs,
    path::{Component, Path},
};

use super::{Address, Sysfs};

/// The way from one function to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PeerPath {
    /// The two are one function.
    Same,
    /// Below this bridge, a port of a switch or of the root complex.
    Below(Address),
    /// Through the root complex, which may forward or not.
    RootComplex,
    /// From one host bridge to another, mostly from one socket to another.
    HostBridges,
    /// It cannot be told: the functions' places are not known.
    Unknown,
}

impl PeerPath {
    /// The way between two functions.
    #[must_use]
    pub fn between(sysfs: &Sysfs, one: Address, other: Address) -> Self {
        if one == other {
            return Self::Same;
        }
        let place = |address| fs::canonicalize(sysfs.directory(address)).ok();
        let (Some(one), Some(other)) = (place(one), place(other)) else { return Self::Unknown };
        Self::of(&steps(&one), &steps(&other))
    }

    fn of(one: &[String], other: &[String]) -> Self {
        let common: Vec<_> = one
            .iter()
            .zip(other)
            .take_while(|(one, other)| one == other)
            .map(|(one, _)| one)
            .collect();
        let Some(root) = common.iter().position(|step| step.starts_with("pci")) else {
            let known = [one, other].iter().all(|steps| steps.iter().any(|s| s.starts_with("pci")));
            return if known { Self::HostBridges } else { Self::Unknown };
        };
        match common[root + 1..].last().map(|step| step.parse()) {
            None => Self::RootComplex,
            Some(Ok(bridge)) => Self::Below(bridge),
            Some(Err(_)) => Self::Unknown,
        }
    }
}

fn steps(path: &Path) -> Vec<String> {
    let names = path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_string_lossy().into_owned()),
        _ => None,
    });
    names.collect()
}

impl fmt::Display for PeerPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Same => f.write_str("within one function"),
            Self::Below(bridge) => write!(f, "below bridge {bridge}"),
            Self::RootComplex => {
                f.write_str("through the root complex, which need not forward between devices")
            }
            Self::HostBridges => {
                f.write_str("between two host bridges, which mostly do not forward to each other")
            }
            Self::Unknown => f.write_str("by a way that is not known"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::{PeerPath, steps};

    fn between(one: &str, other: &str) -> PeerPath {
        let place = |path: &str| steps(&PathBuf::from(format!("/sys/devices/{path}")));
        PeerPath::of(&place(one), &place(other))
    }

    #[test]
    fn the_last_common_step_is_the_way() {
        let root = "pci0000:00";
        let bridge = "0000:00:01.0".parse().unwrap();
        let switch = "0000:02:08.0".parse().unwrap();
        let at = |path: &str| format!("{root}/{path}");
        let way = |one: &str, other: &str| between(&at(one), &at(other));
        assert_eq!(way("0000:00:05.0", "0000:00:0b.0"), PeerPath::RootComplex);
        assert_eq!(way("0000:00:05.0", "0000:00:01.0/0000:01:00.0"), PeerPath::RootComplex);
        let one = "0000:00:01.0/0000:01:00.0/0000:02:08.0/0000:03:00.0";
        let near = "0000:00:01.0/0000:01:00.0/0000:02:08.0/0000:03:00.1";
        assert_eq!(way(one, near), PeerPath::Below(switch));
        assert_eq!(
            way("0000:00:01.0/0000:01:00.0", "0000:00:01.0/0000:01:01.0"),
            PeerPath::Below(bridge)
        );
        assert_eq!(between(&at(one), "pci0000:80/0000:80:04.0"), PeerPath::HostBridges);
        assert_eq!(between("platform/a", "platform/b"), PeerPath::Unknown);
    }
}
