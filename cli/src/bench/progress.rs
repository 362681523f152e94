//! How far the run is, shown on a terminal and nowhere else.

use indicatif::{ProgressBar, ProgressStyle};

/// A bar on the standard error stream, where that is a terminal. It is drawn between two points, never within one, and
/// goes away when dropped.
#[derive(Debug)]
pub(super) struct Progress(ProgressBar);

impl Progress {
    /// A bar that is full after so many points.
    pub(super) fn new(points: usize) -> Self {
        let style = ProgressStyle::with_template("{bar:40} {pos}/{len} {msg}")
            .unwrap_or_else(|_| ProgressStyle::default_bar());
        Self(ProgressBar::new(points as u64).with_style(style))
    }

    /// The next point begins.
    pub(super) fn next(&self, what: &str) {
        self.0.set_message(what.to_owned());
        self.0.inc(1);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
