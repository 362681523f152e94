//! `cargo xtask soak`: random operations and faults for as long as wanted, held against a model.
//!
//! `docs/soak.md` says what is checked, and how a round that failed is run again.

use std::path::PathBuf;

use clap::Args;

use crate::{command::Run, failure::Outcome, vm};

/// How long, and from which seed.
#[derive(Debug, Args)]
pub(crate) struct Soak {
    /// How long new rounds are begun, in minutes
    #[arg(long, value_name = "N", default_value_t = 1.0, conflicts_with = "round")]
    minutes: f64,
    /// What all rounds follow from [default: another at each run]
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
    /// Only this round of the seed, as a run that failed names it
    #[arg(long, value_name = "R", requires = "seed")]
    round: Option<u64>,
    /// Where the final report goes as JSON, too
    #[arg(long, value_name = "PATH")]
    json: Option<PathBuf>,
    /// Options of `dmaring-soak`, which has more
    #[arg(last = true, value_name = "OPTION")]
    more: Vec<String>,
}

/// How long a change is run, in minutes, and from which seed.
const BRIEFLY: f64 = 5.0;
const BRIEF_SEED: u64 = 1;

/// What a change must pass.
pub(crate) fn briefly() -> Outcome {
    let seed = Some(BRIEF_SEED);
    run(&Soak { minutes: BRIEFLY, seed, round: None, json: None, more: Vec::new() })
}

/// Builds `dmaring-soak` and runs it.
pub(crate) fn run(soak: &Soak) -> Outcome {
    let program = vm::soak()?;
    let length = match soak.round {
        Some(round) => ["--round".to_owned(), round.to_string()],
        None => ["--minutes".to_owned(), soak.minutes.to_string()],
    };
    let mut run = Run::new(program).args(length);
    if let Some(seed) = soak.seed {
        run = run.args(["--seed".to_owned(), seed.to_string()]);
    }
    if let Some(path) = &soak.json {
        run = run.arg("--json").arg(std::path::absolute(path).unwrap_or_else(|_| path.clone()));
    }
    // Rounds that began in time are run to their end.
    run.args(&soak.more).limit(soak.minutes.ceil() as u32 + 10).run()
}
