//! The I/OAT functions that a machine can have, as the device model and QEMU are told of them.

use std::{fmt, path::Path, str::FromStr};

/// A function of the standard machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Function {
    slot: Slot,
    bus: Bus,
    /// What the model is told besides the slot and the socket.
    model: &'static str,
}

/// Device and function number on the root bus.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Slot {
    device: u8,
    function: u8,
}

/// Where a function is plugged in. The model knows a function by its slot; behind the bridge QEMU and the machine know
/// it by another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bus {
    Root,
    /// Device 1 behind a bridge, in one IOMMU group with the serial port beside it, which a host driver has. Functions
    /// of one slot would not do: Linux gives each of Intel's integrated endpoints a group of its own.
    Bridge,
}

/// Two of two parts, two of one slot, two that are refused, and one that shares its IOMMU group.
pub(crate) const STANDARD: &[Function] = &[
    function(5, 0, Bus::Root, "preset=skx"),
    function(6, 0, Bus::Root, "preset=icx"),
    function(7, 0, Bus::Root, "preset=bdx"),
    function(7, 1, Bus::Root, "preset=bdx"),
    function(8, 0, Bus::Root, "preset=skx,version=2.0"),
    function(9, 0, Bus::Root, "preset=skx,xfercap=0"),
    function(10, 0, Bus::Bridge, "preset=skx"),
];

const fn function(device: u8, function: u8, bus: Bus, model: &'static str) -> Function {
    Function { slot: Slot { device, function }, bus, model }
}

impl Function {
    /// The value of the model's `--function`.
    pub(crate) fn for_model(&self, socket: &Path) -> String {
        format!("slot={},socket={},{}", self.slot, socket.display(), self.model)
    }

    /// The values of QEMU's `-device`, for a connection to the model on this descriptor.
    pub(crate) fn for_qemu(&self, descriptor: i32, all: &[Self]) -> Vec<String> {
        let Slot { device, function } = self.slot;
        let proxy = format!("x-pci-proxy-dev,id=f{device}x{function},fd={descriptor}");
        match self.bus {
            Bus::Root => {
                let same = |other: &&Self| other.slot.device == device;
                let shared = function == 0 && all.iter().filter(same).count() > 1;
                let several = if shared { ",multifunction=on" } else { "" };
                vec![format!("{proxy},bus=pcie.0,addr={}{several}", self.slot)]
            }
            Bus::Bridge => vec![
                format!("i82801b11-bridge,id=bridge,bus=pcie.0,addr={}", self.slot),
                "pci-serial,bus=bridge,addr=02.0".to_owned(),
                format!("{proxy},bus=bridge,addr=01.0"),
            ],
        }
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02x}.{:x}", self.device, self.function)
    }
}

/// A function of the standard machine by its slot, as in `05.0`.
impl FromStr for Function {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = STANDARD.iter().find(|function| function.slot.to_string() == text);
        found.copied().ok_or_else(|| {
            let known: Vec<_> = STANDARD.iter().map(|function| function.slot.to_string()).collect();
            format!("no function at `{text}`: the machine can have {}", known.join(", "))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{Function, STANDARD};

    #[test]
    fn model_and_qemu_are_told_the_same_slot() {
        let function: Function = "05.0".parse().unwrap();
        assert_eq!(
            function.for_model(Path::new("/p/f0.sock")),
            "slot=05.0,socket=/p/f0.sock,preset=skx"
        );
        assert_eq!(
            function.for_qemu(9, STANDARD),
            ["x-pci-proxy-dev,id=f5x0,fd=9,bus=pcie.0,addr=05.0"]
        );
    }

    #[test]
    fn the_first_of_several_functions_says_so() {
        let devices: Vec<_> =
            STANDARD.iter().flat_map(|function| function.for_qemu(3, STANDARD)).collect();
        let several: Vec<_> =
            devices.iter().filter(|text| text.contains("multifunction")).collect();
        assert_eq!(several, ["x-pci-proxy-dev,id=f7x0,fd=3,bus=pcie.0,addr=07.0,multifunction=on"]);
    }

    #[test]
    fn the_bridge_comes_before_what_is_behind_it() {
        let function: Function = "0a.0".parse().unwrap();
        let devices = function.for_qemu(4, STANDARD);
        assert!(devices[0].starts_with("i82801b11-bridge,id=bridge"), "{devices:?}");
        assert!(devices[1..].iter().all(|device| device.contains("bus=bridge")), "{devices:?}");
    }

    #[test]
    fn an_unknown_slot_is_refused_with_those_that_exist() {
        let error = "1f.0".parse::<Function>().unwrap_err();
        assert!(error.contains("1f.0") && error.contains("05.0, 06.0"), "{error}");
    }
}
