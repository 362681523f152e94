//! What runtimes have done at a moment, and since the moment before.

use std::{fs, time::Instant};

use dmaring::{Stats, observe::Observer};
use serde::Serialize;

use super::figures::{Rates, Totals};
use crate::failure::{Failure, is_unprintable};

/// A runtime that is watched.
#[derive(Debug)]
pub(super) struct Watched {
    observer: Observer,
    /// The program's name, as the kernel has it.
    name: String,
    before: Option<(Instant, Stats)>,
    was_live: bool,
}

/// One look at every runtime.
#[derive(Debug, Serialize)]
pub(super) struct Reading {
    version: &'static str,
    pub(super) runtimes: Vec<Runtime>,
}

/// One look at a runtime.
#[derive(Debug, Serialize)]
pub(super) struct Runtime {
    pub(super) pid: u32,
    pub(super) name: String,
    /// Tells runtimes of a process apart.
    pub(super) id: u64,
    /// Since the runtime was built, by the system's clock.
    pub(super) up_seconds: f64,
    /// Whether it still worked when it was looked at.
    pub(super) live: bool,
    /// Since the runtime was built.
    pub(super) totals: Totals,
    /// Since the look before; `null` at the first.
    pub(super) rates: Option<Rates>,
}

impl Watched {
    pub(super) fn new(observer: Observer) -> Self {
        let name = fs::read_to_string(format!("/proc/{}/comm", observer.pid())).unwrap_or_default();
        // It may hold anything but a zero byte.
        let name =
            name.trim_end().chars().filter(|character| !is_unprintable(*character)).collect();
        Self { observer, name, before: None, was_live: true }
    }

    pub(super) fn is(&self, observer: &Observer) -> bool {
        self.pid() == observer.pid() && self.observer.id() == observer.id()
    }

    pub(super) fn pid(&self) -> u32 {
        self.observer.pid()
    }

    /// Whether it worked when it was looked at last.
    pub(super) fn was_live(&self) -> bool {
        self.was_live
    }

    pub(super) fn has_process(&self) -> bool {
        self.observer.has_process()
    }

    fn look(&mut self, now: Instant) -> Runtime {
        // In this order: what is told of one that has ended is its last.
        self.was_live = self.observer.is_live();
        let stats = self.observer.stats();
        let rates = self.before.as_ref().map(|(then, before)| {
            Rates::between(before, &stats, now.saturating_duration_since(*then))
        });
        let up = self.observer.started().elapsed().unwrap_or_default();
        let totals = Totals::of(&stats);
        self.before = Some((now, stats));
        Runtime {
            pid: self.pid(),
            name: self.name.clone(),
            id: self.observer.id(),
            up_seconds: up.as_secs_f64(),
            live: self.was_live,
            totals,
            rates,
        }
    }
}

impl Reading {
    /// Looks at all of them.
    pub(super) fn take(watched: &mut [Watched], now: Instant) -> Self {
        let runtimes = watched.iter_mut().map(|runtime| runtime.look(now)).collect();
        Self { version: env!("CARGO_PKG_VERSION"), runtimes }
    }

    /// One line.
    pub(super) fn json(&self) -> Result<String, Failure> {
        let line = serde_json::to_string(self);
        line.map(|line| line + "\n")
            .map_err(|error| Failure::Failed(format!("the figures cannot be written: {error}")))
    }
}
