//! Where bytes come from and go to, as the command line names it.

use std::{
    ffi::OsString,
    fmt,
    path::{Path, PathBuf},
};

use dmaring_driver::pci::Address;

/// One end of a copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Location {
    /// Memory that the command allocates: `mem`.
    Memory,
    /// A device-dax node, by its name `/dev/daxX.Y`: never created.
    Device(PathBuf),
    /// A file that must be on hugetlbfs: `hugetlb:PATH`.
    Huge(PathBuf),
    /// A BAR of a PCI function: `pci:BDF:barN`.
    Bar(Bar),
    /// Any other path.
    Path(PathBuf),
}

/// A BAR of a PCI function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bar {
    pub(crate) address: Address,
    pub(crate) number: u8,
}

const HUGE: &str = "hugetlb:";
const PCI: &str = "pci:";

impl Location {
    /// Parses `mem`, `/dev/daxX.Y`, `hugetlb:PATH`, `pci:BDF:barN` or a path.
    pub(crate) fn parse(text: OsString) -> Result<Self, String> {
        if text == "mem" {
            return Ok(Self::Memory);
        }
        let path = PathBuf::from(text);
        let name = path.to_string_lossy();
        if let Some(bar) = name.strip_prefix(PCI) {
            return Ok(Self::Bar(parse_bar(bar)?));
        }
        if name.starts_with(HUGE) {
            return match path.to_str().and_then(|name| name.strip_prefix(HUGE)) {
                Some("") => {
                    Err(String::from("no path: use hugetlb:PATH, as hugetlb:/dev/hugepages/a"))
                }
                Some(path) => Ok(Self::Huge(path.into())),
                None => Err(String::from("the path is no UTF-8: name it without hugetlb:")),
            };
        }
        if name.starts_with("/dev/dax") { Ok(Self::Device(path)) } else { Ok(Self::Path(path)) }
    }

    /// The path, where there is one.
    pub(crate) fn path(&self) -> Option<&Path> {
        match self {
            Self::Memory | Self::Bar(_) => None,
            Self::Device(path) | Self::Huge(path) | Self::Path(path) => Some(path),
        }
    }

    /// The BAR, where it is one.
    pub(crate) fn bar(&self) -> Option<Bar> {
        match self {
            Self::Bar(bar) => Some(*bar),
            _ => None,
        }
    }
}

/// Reads `BDF:barN`.
fn parse_bar(text: &str) -> Result<Bar, String> {
    let form = || String::from("no BAR: use pci:BDF:barN, as pci:0000:00:0b.0:bar2");
    let (address, bar) = text.rsplit_once(':').ok_or_else(form)?;
    let number = bar.strip_prefix("bar").ok_or_else(form)?;
    let number = number.parse().ok().filter(|number| *number < 6);
    let number = number.ok_or("no BAR has this number: BARs are bar0 to bar5")?;
    let address =
        address.parse().map_err(|error| format!("{error}, and pci:BDF:barN for a BAR"))?;
    Ok(Bar { address, number })
}

impl fmt::Display for Bar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PCI}{}:bar{}", self.address, self.number)
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory => f.write_str("mem"),
            Self::Bar(bar) => bar.fmt(f),
            Self::Huge(path) => write!(f, "{HUGE}{}", path.display()),
            Self::Device(path) | Self::Path(path) => write!(f, "{}", path.display()),
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
    fn memory_devices_bars_and_paths_are_told_apart() {
        assert_eq!(parse("mem"), Ok(Location::Memory));
        assert_eq!(parse("./mem"), Ok(Location::Path("./mem".into())));
        assert_eq!(parse("/dev/dax0.0"), Ok(Location::Device("/dev/dax0.0".into())));
        assert_eq!(parse("/dev/shm/a.img"), Ok(Location::Path("/dev/shm/a.img".into())));
        assert_eq!(parse("a:b.img"), Ok(Location::Path("a:b.img".into())));
        assert_eq!(parse("hugetlb:/mnt/a"), Ok(Location::Huge("/mnt/a".into())));
        assert_eq!(parse("./hugetlb:a"), Ok(Location::Path("./hugetlb:a".into())));
        let bar = parse("pci:0000:3a:0b.1:bar2").unwrap();
        let Some(found) = bar.bar() else { panic!("{bar}") };
        assert_eq!((found.address.to_string().as_str(), found.number), ("0000:3a:0b.1", 2));
        assert_eq!(parse("pci:3a:0b.1:bar2"), Ok(bar));
        for text in ["mem", "/dev/dax0.0", "a.img", "hugetlb:a", "pci:0000:00:0b.0:bar5"] {
            assert_eq!(parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_names_no_bar_and_no_file_is_refused_with_the_form() {
        for text in ["pci:", "pci:0000:00:04.0", "pci:bar2", "pci:0000:00:04.0:2", "hugetlb:"] {
            let message = parse(text).unwrap_err();
            assert!(message.contains("use ") && message.contains(", as "), "{message}");
        }
        assert!(parse("pci:0000:00:04.0:bar6").unwrap_err().contains("bar0 to bar5"));
        assert!(parse("pci:0000:00:99.0:bar0").unwrap_err().contains("0000:00:99.0"));
    }
}
