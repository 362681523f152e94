//! Where bytes come from and go to, as the command line names it.

use std::{
    ffi::OsString,
    fmt,
    path::{Path, PathBuf},
};

/// One end of a copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Location {
    /// Memory that the command allocates: `mem`.
    Memory,
    /// A device-dax node, by its name `/dev/daxX.Y`: never created.
    Device(PathBuf),
    /// Any other path.
    Path(PathBuf),
}

/// What begins with one of these is kept for places other than files.
const SCHEMES: [&str; 2] = ["hugetlb:", "pci:"];

impl Location {
    /// Parses `mem`, `/dev/daxX.Y` or a path.
    pub(crate) fn parse(text: OsString) -> Result<Self, String> {
        if text == "mem" {
            return Ok(Self::Memory);
        }
        let path = PathBuf::from(text);
        let name = path.to_string_lossy();
        if SCHEMES.iter().any(|scheme| name.starts_with(scheme)) {
            return Err(String::from(
                "not a location this version knows: use /dev/daxX.Y, a path (./ before a name with a colon) or mem",
            ));
        }
        if name.starts_with("/dev/dax") { Ok(Self::Device(path)) } else { Ok(Self::Path(path)) }
    }

    /// The path, where there is one.
    pub(crate) fn path(&self) -> Option<&Path> {
        match self {
            Self::Memory => None,
            Self::Device(path) | Self::Path(path) => Some(path),
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.path() {
            None => f.write_str("mem"),
            Some(path) => write!(f, "{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Location;

    fn parse(text: &str) -> Result<Location, String> {
        Location::parse(text.into())
    }

    #[test]
    fn memory_devices_and_paths_are_told_apart() {
        assert_eq!(parse("mem"), Ok(Location::Memory));
        assert_eq!(parse("./mem"), Ok(Location::Path("./mem".into())));
        assert_eq!(parse("/dev/dax0.0"), Ok(Location::Device("/dev/dax0.0".into())));
        assert_eq!(parse("/dev/shm/a.img"), Ok(Location::Path("/dev/shm/a.img".into())));
        assert_eq!(parse("a:b.img"), Ok(Location::Path("a:b.img".into())));
        for text in ["mem", "/dev/dax0.0", "a.img"] {
            assert_eq!(parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn unknown_schemes_are_refused_with_what_is_known() {
        for text in ["hugetlb:/mnt/huge/a", "pci:0000:00:04.0:bar2"] {
            let message = parse(text).unwrap_err();
            assert!(message.contains("/dev/daxX.Y, a path"), "{message}");
        }
        assert!(parse("./hugetlb:a").is_ok());
    }
}
