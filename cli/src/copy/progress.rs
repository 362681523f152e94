//! How far the work is, shown on a terminal and nowhere else.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use dmaring_driver::vfio::MapProgress;
use indicatif::{ProgressBar, ProgressStyle};

/// The time between two looks of the bar. Nothing is drawn before the first is over, so that drawing, which takes
/// longer than many a block, is no part of what a short copy measures.
const INTERVAL: Duration = Duration::from_millis(100);

/// A bar on the standard error stream, where that is a terminal. It goes away when dropped.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: ProgressBar,
    next: Instant,
}

impl Progress {
    /// A bar that is full at `bytes`.
    pub(crate) fn new(what: &'static str, bytes: u64) -> Self {
        let template =
            "{msg} {bar:40} {decimal_bytes}/{decimal_total_bytes} {decimal_bytes_per_sec}";
        let style =
            ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = ProgressBar::new(bytes).with_style(style).with_message(what);
        Self::of(bar)
    }

    /// A bar that is not shown.
    #[cfg(test)]
    pub(crate) fn hidden() -> Self {
        Self::of(ProgressBar::hidden())
    }

    fn of(bar: ProgressBar) -> Self {
        Self { bar, next: Instant::now() + INTERVAL }
    }

    /// So many bytes are done.
    pub(crate) fn set(&mut self, bytes: u64) {
        let now = Instant::now();
        if now >= self.next {
            self.bar.set_position(bytes);
            self.next = now + INTERVAL;
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// The bar of what is mapped for devices: it comes with the first part of a long mapping, and goes with the last.
#[derive(Debug, Default)]
pub(crate) struct Mapping(Mutex<Option<Progress>>);

impl Mapping {
    /// So much of a mapping is made.
    pub(crate) fn tell(&self, MapProgress { done, total, .. }: MapProgress) {
        let mut bar = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        bar.get_or_insert_with(|| Progress::new("mapping for the device", total)).set(done);
        if done == total {
            *bar = None;
        }
    }
}
