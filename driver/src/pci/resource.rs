//! What a BAR is, as sysfs has it.
//!
//! `resource` in a function's directory has a line for each BAR: first address, last address and flags, in hexadecimal. Source:
//! Linux, `drivers/pci/pci-sysfs.c`; the flags are those of `include/linux/ioport.h`.
#![forbid(unsafe_code)]

use super::{Address, Sysfs, SysfsError, sysfs::text};

const IO: u64 = 0x100;
const MEMORY: u64 = 0x200;
const PREFETCH: u64 = 0x2000;
const UNSET: u64 = 0x2000_0000;

/// BARs of a function that is no bridge.
pub(super) const BARS: usize = 6;

/// A BAR as the kernel has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Resource {
    /// The first address on the host's bus.
    pub start: u64,
    /// The length, in bytes; 0: there is no such BAR, or it has no address.
    pub bytes: u64,
    /// Whether it is memory, and not I/O ports.
    pub is_memory: bool,
    /// Whether reads have no side effects.
    pub prefetchable: bool,
}

impl Sysfs {
    /// The six BARs of a function. That after one of 64 bits is empty.
    ///
    /// # Errors
    ///
    /// See [`SysfsError`].
    pub fn resources(&self, address: Address) -> Result<Vec<Resource>, SysfsError> {
        let path = self.directory(address).join("resource");
        let text = text(&path)?;
        let resources: Option<Vec<_>> = text.lines().take(BARS).map(parse).collect();
        resources.ok_or(SysfsError::Malformed { path, text })
    }
}

fn parse(line: &str) -> Option<Resource> {
    let mut numbers = line
        .split_whitespace()
        .map(|number| u64::from_str_radix(number.strip_prefix("0x")?, 16).ok());
    let (start, end, flags) = (numbers.next()??, numbers.next()??, numbers.next()??);
    let present = flags & (IO | MEMORY) != 0 && flags & UNSET == 0;
    let bytes = if present { end.checked_sub(start)?.checked_add(1)? } else { 0 };
    let (is_memory, prefetchable) = (flags & MEMORY != 0, flags & PREFETCH != 0);
    Some(Resource { start, bytes, is_memory, prefetchable })
}

#[cfg(test)]
mod tests {
    use super::{Resource, parse};

    #[test]
    fn lines_of_the_kernel_are_understood() {
        let memory = parse("0x000000c000000000 0x000000c0003fffff 0x000000000014220c");
        let expected =
            Resource { start: 0xc0_0000_0000, bytes: 4 << 20, is_memory: true, prefetchable: true };
        assert_eq!(memory, Some(expected));
        let registers = parse("0x00000000febf1000 0x00000000febf10ff 0x0000000000040200").unwrap();
        assert_eq!(
            (registers.bytes, registers.is_memory, registers.prefetchable),
            (256, true, false)
        );
        let ports = parse("0x000000000000c000 0x000000000000c01f 0x0000000000040101").unwrap();
        assert_eq!((ports.bytes, ports.is_memory), (32, false));
        assert_eq!(parse("0x0000000000000000 0x0000000000000000 0x0").unwrap().bytes, 0);
        let unset = "0x0000000000000000 0x00000000003fffff 0x0000000020042208";
        assert_eq!(parse(unset).unwrap().bytes, 0, "the firmware gave it no address");
    }

    #[test]
    fn what_no_kernel_writes_is_none() {
        for line in
            ["", "0x0 0x0", "0 0 0", "0x10 0x5 0x200", "0x0 0xffffffffffffffff 0x200", "0xg"]
        {
            assert_eq!(parse(line), None, "{line}");
        }
    }
}
