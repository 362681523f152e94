//! Lists that could not be had, which take none of the others with them.

use std::fmt;

use serde::Serialize;

/// A list that could not be had.
#[derive(Debug, Serialize)]
pub(super) struct Unlisted {
    pub(super) list: &'static str,
    why: String,
}

/// What there is of a list that could be had, and else why not.
pub(super) fn had<'a, T>(
    list: &'static str,
    rows: &'a Result<Vec<T>, String>,
    unlisted: &mut Vec<Unlisted>,
) -> &'a [T] {
    match rows {
        Ok(rows) => rows,
        Err(why) => {
            unlisted.push(Unlisted { list, why: why.clone() });
            &[]
        }
    }
}

impl fmt::Display for Unlisted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} cannot be listed: {}", self.list, self.why)
    }
}
