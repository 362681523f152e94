//! `dmaring-soak`: long runs of random operations and faults, held against a model. `docs/soak.md` says what is checked.
#![allow(
    clippy::print_stdout,
    reason = "a program that talks to the person or the log that started it"
)]
#![allow(clippy::print_stderr, reason = "what went wrong is said on the error stream")]

mod args;
mod counts;
mod devices;
mod directories;
mod holdings;
mod life;
mod plan;
mod region;
mod report;
mod round;
mod run;
mod submitter;
mod watch;

use std::{
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use clap::Parser;

use crate::{
    args::{Arguments, Defect},
    counts::Counts,
    directories::Directories,
    plan::Scale,
    report::Report,
    run::{Ledger, Run},
    watch::Watch,
};

/// How often a run says how far it is.
const NEWS: Duration = Duration::from_secs(30);

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match soak(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(message) => {
            eprintln!("dmaring-soak: {message}");
            ExitCode::from(2)
        }
    }
}

/// Runs the rounds. `false`: one of them failed.
fn soak(arguments: &Arguments) -> Result<bool, String> {
    let time = arguments.time()?;
    let seed = arguments.seed.unwrap_or_else(|| fastrand::u64(..));
    println!("seed {seed}");
    let round = Arc::new(AtomicU64::new(0));
    let at = Arc::clone(&round);
    let patience = Duration::from_secs(arguments.patience);
    let watch = Watch::start(patience, move |account| {
        tell(seed, at.load(Ordering::Relaxed), account);
        std::process::exit(1);
    });
    let run = Run {
        watch: watch.map_err(|error| format!("the watchdog does not start: {error}"))?,
        directories: Directories::find(),
        functions: arguments.engine.iter().map(|function| function.0).collect(),
        scale: Scale {
            threads: arguments.threads as usize,
            steps: arguments.steps as usize,
            longest: arguments.longest << 10,
            functions: arguments.engine.len(),
            short_copies: arguments.plant == Some(Defect::ShortCopy),
        },
        plant: arguments.plant,
    };
    let mut ledger = Ledger::begin()?;
    let (begin, mut news) = (Instant::now(), Instant::now());
    let mut counts = Counts::default();
    let mut failure = None;
    let first = arguments.round.unwrap_or(0);
    for number in first.. {
        let enough = match (arguments.round, arguments.rounds) {
            (Some(_), _) => number > first,
            (None, Some(rounds)) => number >= rounds,
            (None, None) => begin.elapsed() >= time,
        };
        if enough {
            break;
        }
        round.store(number, Ordering::Relaxed);
        let played = round::play(&run, seed, number).and_then(|played| {
            counts.add(&played);
            ledger.settle(played.leaked_runtimes, patience)
        });
        if let Err(what) = played {
            tell(seed, number, &what);
            failure = Some(what);
            break;
        }
        if news.elapsed() >= NEWS {
            news = Instant::now();
            println!(
                "{:>6} s: {} rounds, {} operations, {} MiB checked, {} resets, {} KiB",
                begin.elapsed().as_secs(),
                counts.rounds,
                counts.operations,
                counts.bytes_checked >> 20,
                counts.resets,
                ledger.memory().1,
            );
        }
    }
    let memory = ledger.memory();
    let report = Report { seed, seconds: begin.elapsed().as_secs_f64(), memory, failure, counts };
    print!("{report}");
    if let Some(path) = &arguments.json {
        report.write(path)?;
    }
    Ok(report.failure.is_none())
}

/// Says what went wrong, and how to have it again.
fn tell(seed: u64, round: u64, what: &str) {
    eprintln!("FAILED in round {round}: {what}");
    eprintln!("again: cargo xtask soak --seed {seed} --round {round}");
    eprintln!("(the same operations and faults; when threads run differs from run to run)");
}
