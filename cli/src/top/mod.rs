//! `dmaring top`: what runtimes are doing, read from their statistics again and again.

mod figures;
mod interval;
mod reading;
mod screen;
mod tables;
mod ticks;

use std::{
    fmt::Write as _,
    io::{self, IsTerminal},
    ops::ControlFlow,
    time::Instant,
};

use dmaring::observe::{self, ObserveError, Observer};

pub(crate) use self::{interval::parse as parse_interval, ticks::Tick};
use self::{
    reading::{Reading, Watched},
    screen::Screen,
    ticks::Ticks,
};
use crate::{args::TopArguments, failure::Failure};

/// Carries out the command, until nothing is left to show, so many readings are shown, or it is interrupted.
pub(crate) fn run(arguments: &TopArguments) -> Result<(), Failure> {
    let ticks = Ticks::new(arguments.interval)
        .map_err(|error| Failure::refused("signals cannot be waited for", error))?;
    let mut watched = Vec::new();
    join(&mut watched, find(arguments.pid).map_err(|error| Failure::Refused(error.to_string()))?);
    if watched.is_empty() {
        let none = "no process that may be looked at has a dmaring runtime at this moment: start one, or run this as root to see those of other users";
        return Err(Failure::Refused(none.to_owned()));
    }
    let redraws = arguments.count.is_none() && !arguments.json && io::stdout().is_terminal();
    let mut screen = Screen::new(redraws);
    let mut left = arguments.count;
    loop {
        let reading = Reading::take(&mut watched, Instant::now());
        let text = if arguments.json { reading.json()? } else { tables::text(&reading) };
        if screen.show(&text)?.is_break() {
            return Ok(());
        }
        let ended = leave(&mut watched, arguments.pid);
        left = left.map(|left| left - 1);
        let done = left == Some(0);
        if !done && ticks.wait() == Tick::Stop {
            return Ok(());
        }
        // One that has just come keeps the command going where others have gone.
        join(&mut watched, find(arguments.pid).unwrap_or_default());
        if !arguments.json && screen.tell(&ended)?.is_break() {
            return Ok(());
        }
        if done || watched.is_empty() {
            return Ok(());
        }
    }
}

fn find(pid: Option<u32>) -> Result<Vec<Observer>, ObserveError> {
    match pid {
        Some(pid) => observe::attach(pid),
        None => observe::find(),
    }
}

/// Adds the runtimes that are not watched yet.
fn join(watched: &mut Vec<Watched>, found: Vec<Observer>) {
    for observer in found {
        if observer.is_live() && !watched.iter().any(|known| known.is(&observer)) {
            watched.push(Watched::new(observer));
        }
    }
}

/// Takes out the runtimes that have ended, and says so.
fn leave(watched: &mut Vec<Watched>, pid: Option<u32>) -> String {
    let mut text = String::new();
    watched.retain(|runtime| {
        if runtime.was_live() {
            return true;
        }
        let (pid, what) =
            (runtime.pid(), if runtime.has_process() { "runtime of process" } else { "process" });
        let _ = writeln!(text, "the {what} {pid} has ended");
        false
    });
    // Several runtimes of one process end together.
    if let (Some(pid), true) = (pid, watched.is_empty() && text.lines().count() > 1) {
        text = format!("process {pid} has no runtime any more\n");
    }
    text
}

/// Whether to go on showing.
type Shown = Result<ControlFlow<()>, Failure>;
