//! Where things lie on the logarithmic axes of the drawing.

use std::ops::Range;

/// How high a line of straight pieces is at `size`, on logarithmic axes.
pub(super) fn height(line: &[(f64, f64)], size: f64) -> f64 {
    let piece = line.windows(2).find(|pair| (pair[0].0..=pair[1].0).contains(&size));
    let Some([(smaller, before), (larger, after)]) = piece else {
        return line.first().map_or(1.0, |(_, height)| *height);
    };
    let part = (size / smaller).ln() / (larger / smaller).ln();
    before * (after / before).powf(part)
}

/// From the least to the greatest, with room around them.
pub(super) fn range(values: impl Iterator<Item = f64>, room: f64) -> Range<f64> {
    let (least, most) = values
        .filter(|value| value.is_finite() && *value > 0.0)
        .fold((f64::INFINITY, 0.0), |(least, most): (f64, f64), value| {
            (least.min(value), most.max(value))
        });
    if least > most { 1.0..10.0 } else { least / room..most * room }
}

#[cfg(test)]
mod tests {
    use super::{height, range};

    #[test]
    fn marks_lie_on_the_line() {
        let line = [(1024.0, 1.0), (4096.0, 4.0)];
        assert!((height(&line, 2048.0) - 2.0).abs() < 1e-9);
        assert!((height(&line, 4096.0) - 4.0).abs() < 1e-9);
        assert!((height(&[], 5.0) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn axes_have_room_and_are_never_empty() {
        assert_eq!(range([4.0, 2.0, f64::NAN, 0.0].into_iter(), 2.0), 1.0..8.0);
        assert_eq!(range(std::iter::empty(), 2.0), 1.0..10.0);
    }
}
