//! How far the work is, shown on a terminal and nowhere else.

use indicatif::{ProgressBar, ProgressStyle};

/// How many times a bar moves: often enough to be seen, seldom enough not to be measured.
const STEPS: u64 = 200;

/// A bar on the standard error stream, where that is a terminal. It goes away when dropped.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: ProgressBar,
    step: u64,
    next: u64,
}

impl Progress {
    /// A bar that is full at `bytes`.
    pub(crate) fn new(what: &'static str, bytes: u64) -> Self {
        let bar = ProgressBar::new(bytes);
        let template =
            "{msg} {bar:40} {decimal_bytes}/{decimal_total_bytes} {decimal_bytes_per_sec}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_message(what);
        Self { bar, step: bytes / STEPS, next: 0 }
    }

    /// A bar that is not shown.
    #[cfg(test)]
    pub(crate) fn hidden() -> Self {
        Self { bar: ProgressBar::hidden(), step: 0, next: 0 }
    }

    /// So many bytes are done.
    pub(crate) fn set(&mut self, bytes: u64) {
        if bytes >= self.next {
            self.bar.set_position(bytes);
            self.next = bytes.saturating_add(self.step);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
