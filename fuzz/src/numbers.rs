//! Numbers worth trying.

use arbitrary::Unstructured;

/// The next byte; 0 past the end.
pub(crate) fn byte(input: &mut Unstructured<'_>) -> u8 {
    number(input)
}

/// The next number, little endian; what is missing of it is 0.
pub(crate) fn number<'a, N: arbitrary::Arbitrary<'a> + Default>(input: &mut Unstructured<'a>) -> N {
    input.arbitrary().unwrap_or_default()
}

/// A word near one of the places where arithmetic goes wrong, near `honest`, or any.
pub(crate) fn word(input: &mut Unstructured<'_>, honest: u64) -> u64 {
    let near = |input: &mut Unstructured<'_>, middle: u64| {
        let offset: i8 = number(input);
        middle.wrapping_add_signed(offset.into())
    };
    match byte(input) % 6 {
        0 => near(input, honest),
        1 => near(input, 0),
        2 => near(input, 1 << 32),
        3 => near(input, 1 << 63),
        4 => 1 << (byte(input) % 64),
        _ => number(input),
    }
}
