//! Both cores wake each other for a while before a work, and look whether anybody shares them.
//!
//! The cores of a virtual machine are threads of its host, which moves them: near each other or far apart, for seconds. Far
//! apart a line takes three to four times as long from one to the other, so that whoever is measured then loses to whoever is
//! measured a second later. What moves them near is a wake-up after both slept, so that all sides begin with some hundreds.
//! On a machine of its own this changes nothing.

use std::{
    io, thread,
    time::{Duration, Instant},
};

use dmaring_benches::shared;

use crate::sleeper::Sleeper;

/// For how long.
const LONG: Duration = Duration::from_millis(100);
/// How long both sleep before a wake-up.
const SLEEP: Duration = Duration::from_micros(100);

/// Brings this thread's core and that one together, and [notes](shared::found) whether they are shared then.
///
/// # Errors
///
/// If a thread cannot be had on that core.
pub(crate) fn bring(core: usize) -> io::Result<()> {
    let mut sleeper = Sleeper::start(core)?;
    let begin = Instant::now();
    while begin.elapsed() < LONG {
        thread::sleep(SLEEP);
        sleeper.wake();
    }
    shared::note(sleeper.look());
    Ok(())
}
