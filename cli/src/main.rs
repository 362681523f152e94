//! The `dmaring` command: parses, dispatches, and turns the outcome into an exit code.
//!
//! 0: done. 1: failed while copying. 2: refused before anything was changed. What goes wrong is said in one line on the
//! standard error stream.

mod args;
mod copy;
mod emulated;
mod engine_spec;
mod failure;
mod location;
mod size;

use std::{
    io::{self, Write},
    process::ExitCode,
};

use clap::{Parser, error::ErrorKind};

use crate::{
    args::{Arguments, Command},
    failure::Failure,
};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // Where the error stream is closed, the exit code says it alone.
            let _ = writeln!(io::stderr(), "dmaring: {failure}");
            failure.exit_code()
        }
    }
}

fn run() -> Result<(), Failure> {
    match Arguments::try_parse() {
        Ok(Arguments { command: Command::Copy(arguments) }) => copy::run(&arguments),
        Err(error)
            if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) =>
        {
            // Nobody is left to be told if the reader has gone.
            let _ = error.print();
            Ok(())
        }
        Err(error) => Err(usage(&error)),
    }
}

/// The first line of what clap says, which names the value and what is wrong with it.
fn usage(error: &clap::Error) -> Failure {
    let text = error.to_string();
    let line = text.lines().next().unwrap_or_default();
    let line = line.strip_prefix("error: ").unwrap_or(line);
    // Values are refused by the parsers in this crate, whose messages have the remedy.
    if error.kind() == ErrorKind::ValueValidation {
        return Failure::Refused(line.to_owned());
    }
    let command = if text.contains("Usage: dmaring copy") { "dmaring copy" } else { "dmaring" };
    Failure::Refused(format!("{line}: see {command} --help"))
}
