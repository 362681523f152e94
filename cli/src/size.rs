//! Sizes and offsets on the command line: bytes, or KiB, MiB and GiB.

/// The units, the largest first.
const UNITS: [(&str, u64); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];

/// Parses a number of bytes, which may be 0: an offset.
pub(crate) fn parse(text: &str) -> Result<u64, String> {
    let unit = UNITS.iter().find(|(name, _)| text.ends_with(name));
    let (digits, bytes) = match unit {
        Some((name, bytes)) => (&text[..text.len() - name.len()], *bytes),
        None => (text, 1),
    };
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(String::from(
            "use a whole number of bytes, or one with KiB, MiB or GiB, such as 32MiB",
        ));
    }
    let number: Option<u64> = digits.parse().ok();
    number
        .and_then(|number| number.checked_mul(bytes))
        .ok_or_else(|| format!("more than {} bytes: use less", u64::MAX))
}

/// Parses a number of bytes that may not be 0: a length.
pub(crate) fn parse_length(text: &str) -> Result<u64, String> {
    match parse(text)? {
        0 => Err(String::from("0 bytes: use at least 1")),
        bytes => Ok(bytes),
    }
}

/// `32 MiB` where it is a whole number of some unit, else `33554433 bytes`.
pub(crate) fn format(bytes: u64) -> String {
    let unit = UNITS.iter().find(|(_, unit)| bytes >= *unit && bytes.is_multiple_of(*unit));
    match unit {
        Some((name, unit)) => format!("{} {name}", bytes / unit),
        None => format!("{bytes} bytes"),
    }
}

#[cfg(test)]
mod tests {
    use super::{format, parse, parse_length};

    #[test]
    fn every_unit_is_taken() {
        for (text, bytes) in [
            ("0", 0),
            ("1", 1),
            ("4096", 4096),
            ("64KiB", 64 << 10),
            ("32MiB", 32 << 20),
            ("3GiB", 3 << 30),
            ("0GiB", 0),
            ("18446744073709551615", u64::MAX),
            ("17179869183GiB", u64::MAX - (1 << 30) + 1),
        ] {
            assert_eq!(parse(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn what_is_no_size_is_refused_with_the_forms_that_are() {
        for text in [
            "", "MiB", "32MB", "32M", "32 MiB", "1.5MiB", "-1", "+1", "0x10", "1_000", "32mib",
            "1TiB", "٣",
        ] {
            let message = parse(text).unwrap_err();
            assert!(message.contains("KiB, MiB or GiB"), "{text}: {message}");
        }
    }

    #[test]
    fn what_is_too_much_is_refused_with_the_limit() {
        for text in ["18446744073709551616", "17179869184GiB", "99999999999999999999999KiB"] {
            let message = parse(text).unwrap_err();
            assert!(message.contains("18446744073709551615"), "{text}: {message}");
        }
    }

    #[test]
    fn a_length_is_at_least_one_byte() {
        assert_eq!(parse_length("1"), Ok(1));
        assert!(parse_length("0KiB").unwrap_err().contains("at least 1"));
    }

    #[test]
    fn sizes_are_shown_in_the_largest_unit_that_divides_them() {
        for (bytes, text) in [
            (1, "1 bytes"),
            (1 << 10, "1 KiB"),
            (1536 << 10, "1536 KiB"),
            (32 << 20, "32 MiB"),
            (3 << 30, "3 GiB"),
            ((32 << 20) + 1, "33554433 bytes"),
        ] {
            assert_eq!(format(bytes), text);
        }
    }
}
