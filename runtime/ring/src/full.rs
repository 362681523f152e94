//! The refusal of both rings.

use core::fmt;

/// The ring has no room for what was pushed; nothing was pushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the ring has no room")
    }
}

impl core::error::Error for Full {}
