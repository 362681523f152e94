//! The watchdog: whatever takes too long ends the process, with all that is pending.
//!
//! Whoever waits for a future says so before and after. A thread looks at these notes once a second.

use std::{
    collections::BTreeMap,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc},
    thread,
    time::{Duration, Instant},
};

/// The watchdog.
#[derive(Debug)]
pub(crate) struct Watch {
    notes: Mutex<Notes>,
    patience: Duration,
}

#[derive(Default)]
struct Notes {
    next: u64,
    waits: BTreeMap<u64, (Instant, String)>,
    states: BTreeMap<u64, Box<dyn Fn() -> String + Send>>,
}

impl std::fmt::Debug for Notes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Notes").field("waits", &self.waits).finish_non_exhaustive()
    }
}

/// A note. It is taken back when this is dropped.
#[derive(Debug)]
pub(crate) struct Note<'a> {
    watch: &'a Watch,
    number: u64,
}

impl Watch {
    /// A watchdog that calls `expired` with what is pending once something has been so for longer than `patience`.
    pub(crate) fn start(
        patience: Duration,
        expired: impl Fn(&str) + Send + 'static,
    ) -> std::io::Result<Arc<Self>> {
        let watch = Arc::new(Self { notes: Mutex::new(Notes::default()), patience });
        let watched = Arc::clone(&watch);
        let (begun, begins) = mpsc::channel();
        thread::Builder::new().name("watch".to_owned()).spawn(move || {
            let bell = Condvar::new();
            // By now the thread has its name, and is counted under it.
            let _ = begun.send(());
            loop {
                let notes = watched.notes();
                let (notes, _) = bell
                    .wait_timeout(notes, Duration::from_secs(1))
                    .unwrap_or_else(PoisonError::into_inner);
                if let Some(account) = notes.overdue(watched.patience) {
                    drop(notes);
                    expired(&account);
                }
            }
        })?;
        let _ = begins.recv();
        Ok(watch)
    }

    /// Notes that something is waited for.
    pub(crate) fn wait(&self, what: impl FnOnce() -> String) -> Note<'_> {
        let what = what();
        let mut notes = self.notes();
        let number = notes.number();
        notes.waits.insert(number, (Instant::now(), what));
        Note { watch: self, number }
    }

    /// Has `state` told when something takes too long.
    pub(crate) fn state(&self, state: impl Fn() -> String + Send + 'static) -> Note<'_> {
        let mut notes = self.notes();
        let number = notes.number();
        notes.states.insert(number, Box::new(state));
        Note { watch: self, number }
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Notes {
    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn overdue(&self, patience: Duration) -> Option<String> {
        let waits = || self.waits.values().map(|(since, what)| (since.elapsed(), what));
        let (longest, what) = waits().max()?;
        if longest < patience {
            return None;
        }
        let mut account = format!("{what}: not within {} s", patience.as_secs());
        for (time, what) in waits() {
            account += &format!("\n  pending for {:.1} s: {what}", time.as_secs_f64());
        }
        for state in self.states.values() {
            account += &format!("\n  {}", state());
        }
        Some(account)
    }
}

impl Drop for Note<'_> {
    fn drop(&mut self) {
        let mut notes = self.watch.notes();
        notes.waits.remove(&self.number);
        notes.states.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, time::Duration};

    use super::Watch;

    #[test]
    fn what_takes_too_long_is_told_with_all_that_is_pending() {
        let (told, account) = mpsc::channel();
        let watch =
            Watch::start(Duration::ZERO, move |account| drop(told.send(account.to_owned())));
        let watch = watch.unwrap();
        drop(watch.wait(|| "the first".to_owned()));
        let _state = watch.state(|| "a state".to_owned());
        let _second = watch.wait(|| "the second".to_owned());
        let account = account.recv_timeout(Duration::from_secs(30)).unwrap();
        assert!(account.contains("the second") && account.contains("a state"), "{account}");
        assert!(!account.contains("the first"), "{account}");
    }
}
