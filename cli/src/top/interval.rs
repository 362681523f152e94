//! Times on the command line: seconds, with `s` or `ms` after them.

use std::time::Duration;

/// The shortest and the longest time between two readings.
const SHORTEST: Duration = Duration::from_millis(10);
const LONGEST: Duration = Duration::from_secs(3600);

/// Parses a time such as `1s`, `0.5s`, `250ms` or `2`.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let (digits, scale) = match (text.strip_suffix("ms"), text.strip_suffix('s')) {
        (Some(digits), _) => (digits, 1e-3),
        (None, Some(digits)) => (digits, 1.0),
        (None, None) => (text, 1.0),
    };
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let number: Option<f64> = digits.parse().ok().filter(|_| plain);
    let time = number
        .map(|number| Duration::try_from_secs_f64(number * scale).unwrap_or(Duration::MAX))
        .ok_or("use a number of seconds or milliseconds, such as 1s, 0.5s or 250ms")?;
    if (SHORTEST..=LONGEST).contains(&time) {
        Ok(time)
    } else {
        Err("use a time from 10ms to 3600s".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_taken_with_and_without_a_unit() {
        for (text, millis) in [
            ("1s", 1000),
            ("1", 1000),
            ("0.5s", 500),
            ("250ms", 250),
            ("10ms", 10),
            ("3600s", 3_600_000),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn what_is_no_time_or_out_of_range_is_refused_with_the_remedy() {
        for text in ["", "s", "ms", "-1s", "1m", "1e3", "inf", "nan", "1 s", "."] {
            assert!(parse(text).unwrap_err().contains("such as 1s"), "{text}");
        }
        for text in ["0", "9ms", "3601s", "99999999999999999999999999s"] {
            assert!(parse(text).unwrap_err().contains("from 10ms to 3600s"), "{text}");
        }
    }
}
