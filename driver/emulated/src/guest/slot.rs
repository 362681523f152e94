//! Where a function stands on bus 0.

use std::{fmt, str::FromStr};

/// Device and function number of a PCI function on bus 0, written as `05.0`, both hexadecimal.
///
/// It is the function's requester id, too, which VT-d looks its tables up by: the bus is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot {
    device: u8,
    function: u8,
}

impl Slot {
    /// The slot with these numbers; `None` above 31 and 7.
    #[must_use]
    pub const fn new(device: u8, function: u8) -> Option<Self> {
        if device < 32 && function < 8 { Some(Self { device, function }) } else { None }
    }

    /// The device number, 0 to 31.
    #[must_use]
    pub const fn device(self) -> u8 {
        self.device
    }

    /// The function number, 0 to 7.
    #[must_use]
    pub const fn function(self) -> u8 {
        self.function
    }

    /// Both in one number, as VT-d's context tables are indexed.
    #[must_use]
    pub const fn devfn(self) -> u8 {
        self.device << 3 | self.function
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02x}.{}", self.device, self.function)
    }
}

impl FromStr for Slot {
    type Err = NotASlot;

    fn from_str(text: &str) -> Result<Self, NotASlot> {
        let number = |text: &str| {
            let plain = (1..=2).contains(&text.len()) && !text.starts_with('+');
            plain.then(|| u8::from_str_radix(text, 16).ok()).flatten()
        };
        text.split_once('.')
            .and_then(|(device, function)| Self::new(number(device)?, number(function)?))
            .ok_or_else(|| NotASlot { text: text.to_owned() })
    }
}

/// A text that is no slot.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is no slot: the form is DEVICE.FUNCTION in hexadecimal, 00.0 to 1f.7, as in 05.0"
)]
pub struct NotASlot {
    /// The text.
    pub text: String,
}

#[cfg(test)]
mod tests {
    use super::Slot;

    #[test]
    fn slots_are_hexadecimal_and_within_their_range() {
        let slot: Slot = "1f.7".parse().unwrap();
        assert_eq!((slot.device(), slot.function(), slot.devfn()), (0x1f, 7, 0xff));
        assert_eq!("5.0".parse::<Slot>().unwrap().to_string(), "05.0");
        for text in ["", "5", "20.0", "05.8", "+5.0", "005.0", "05.0.0", "g.0", ".", "05."] {
            assert!(text.parse::<Slot>().is_err(), "{text}");
        }
    }
}
