//! The `dmaring` command: parses, dispatches, and turns the outcome into an exit code.
//!
//! 0: done. 1: failed while copying. 2: refused before anything was changed. What goes wrong is said in one line on the
//! standard error stream.

mod args;
mod bench;
mod bind;
mod calibrate;
mod copy;
mod doctor;
mod emulated;
mod engine_spec;
mod failure;
mod hardware;
mod list;
mod location;
mod machine;
mod output;
mod pollers;
mod selection;
mod size;
mod top;

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
        Ok(Arguments { command }) => match command {
            Command::Copy(arguments) => copy::run(&arguments),
            Command::Calibrate(arguments) => calibrate::run(&arguments),
            Command::List(arguments) => list::run(&arguments),
            Command::Doctor(arguments) => doctor::run(&arguments),
            Command::Top(arguments) => top::run(&arguments),
            Command::Bench(arguments) => bench::run(&arguments),
            Command::Bind(arguments) => bind::bind(&arguments),
            Command::Unbind(arguments) => bind::unbind(&arguments),
        },
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

/// What clap says first, which names the value and what is wrong with it.
fn usage(error: &clap::Error) -> Failure {
    let text = error.to_string();
    let mut lines = text.lines();
    let mut line = lines.next().unwrap_or_default().to_owned();
    if line.ends_with(':') {
        // What is missing is on the next.
        line = format!("{line} {}", lines.next().unwrap_or_default().trim());
    }
    let line = line.strip_prefix("error: ").unwrap_or(&line);
    // Values are refused by the parsers in this crate, whose messages have the remedy.
    if error.kind() == ErrorKind::ValueValidation {
        return Failure::Refused(line.to_owned());
    }
    let usage = text.lines().find_map(|line| line.strip_prefix("Usage: dmaring "));
    let command = usage.and_then(|usage| usage.split_whitespace().next());
    let command = command.filter(|word| word.bytes().all(|byte| byte.is_ascii_lowercase()));
    let command = command.map_or_else(String::new, |command| format!(" {command}"));
    Failure::Refused(format!("{line}: see dmaring{command} --help"))
}
