//! Addresses of PCI functions.

use std::{fmt, str::FromStr};

/// The address of a PCI function: domain, bus, device and function, written `0000:00:05.0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    domain: u32,
    bus: u8,
    device: u8,
    function: u8,
}

impl Address {
    /// The domain. Above 0xffff on some virtual buses.
    #[must_use]
    pub const fn domain(self) -> u32 {
        self.domain
    }

    /// The bus within the domain.
    #[must_use]
    pub const fn bus(self) -> u8 {
        self.bus
    }

    /// The device on the bus, below 32.
    #[must_use]
    pub const fn device(self) -> u8 {
        self.device
    }

    /// The function of the device, below 8.
    #[must_use]
    pub const fn function(self) -> u8 {
        self.function
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { domain, bus, device, function } = self;
        write!(f, "{domain:04x}:{bus:02x}:{device:02x}.{function}")
    }
}

/// A text is no address of a PCI function.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is no address of a PCI function: use DOMAIN:BUS:DEVICE.FUNCTION as lspci -D prints it, for example 0000:00:04.0"
)]
pub struct AddressError {
    /// The text.
    pub text: String,
}

impl FromStr for Address {
    type Err = AddressError;

    /// Takes `0000:00:05.0`, and `00:05.0` for domain 0.
    fn from_str(text: &str) -> Result<Self, AddressError> {
        parse(text).ok_or_else(|| AddressError { text: text.to_owned() })
    }
}

fn parse(text: &str) -> Option<Address> {
    let (place, function) = text.split_once('.')?;
    let (place, device) = place.rsplit_once(':')?;
    let (domain, bus) = place.rsplit_once(':').unwrap_or(("0000", place));
    let address = Address {
        domain: number(domain, 4..=8)?,
        bus: number(bus, 2..=2)?.try_into().ok()?,
        device: number(device, 2..=2)?.try_into().ok()?,
        function: number(function, 1..=1)?.try_into().ok()?,
    };
    (address.device < 32 && address.function < 8).then_some(address)
}

fn number(text: &str, digits: std::ops::RangeInclusive<usize>) -> Option<u32> {
    let hexadecimal = text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let number = u32::from_str_radix(text, 16).ok()?;
    (hexadecimal && digits.contains(&text.len())).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::Address;

    #[test]
    fn addresses_are_read_and_written_as_sysfs_has_them() {
        for text in ["0000:00:05.0", "ffff:ff:1f.7", "10000:e1:00.1"] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
        let short: Address = "3a:04.2".parse().unwrap();
        assert_eq!(short.to_string(), "0000:3a:04.2");
        let parts = (short.domain(), short.bus(), short.device(), short.function());
        assert_eq!(parts, (0, 0x3a, 4, 2));
        assert_eq!("0000:00:0A.0".parse::<Address>().unwrap().to_string(), "0000:00:0a.0");
    }

    #[test]
    fn what_is_no_address_is_refused_with_the_form() {
        for text in [
            "",
            "5.0",
            "00:05",
            "0000:00:05.8",
            "0000:00:20.0",
            "0000:00:05.00",
            "000:00:05.0",
            "0000:0:05.0",
            "0000:00:+5.0",
            "0000:00:05.0 ",
            "../../0:00:05.0",
            "1:0000:00:05.0",
        ] {
            let message = text.parse::<Address>().unwrap_err().to_string();
            assert!(message.contains(text) && message.contains("0000:00:04.0"), "{message}");
        }
    }
}
