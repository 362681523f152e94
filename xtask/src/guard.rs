//! A limit for each program of tests that cargo runs: one that hangs is described and ended, and the others still run.

use std::{ffi::OsString, process::Command, time::Duration};

use crate::{
    command::Run,
    failure::{Failure, Outcome},
    watch::{self, End, Reads},
};

/// What each program of tests may take, in minutes: on two processors the longest takes half of one.
const MINUTES: u32 = 5;

/// Has cargo start each program of tests through [`run`], where `CI` is set.
pub(crate) fn guarded(cargo: Run) -> Outcome<Run> {
    if std::env::var_os("CI").is_none() {
        return Ok(cargo);
    }
    let program = std::env::current_exe().map_err(Failure::of("cannot find this program"))?;
    Ok(cargo.arg("--config").arg(runner(&program.to_string_lossy())))
}

/// Runs a program for so many minutes at most; `Err` holds the exit code if it failed by itself.
pub(crate) fn run(minutes: u32, words: &[OsString]) -> Outcome<Result<(), i32>> {
    watched(Duration::from_secs(60 * u64::from(minutes)), words, &mut |line| eprintln!("{line}"))
}

fn watched(
    limit: Duration,
    words: &[OsString],
    line: &mut dyn FnMut(&str),
) -> Outcome<Result<(), i32>> {
    let [program, arguments @ ..] = words else { return Err(Failure::new("no program to guard")) };
    let shown = program.to_string_lossy();
    let mut command = Command::new(program);
    command.args(arguments);
    let end = watch::watch(command, Reads::Nothing, Some(limit), line)
        .map_err(Failure::of(format!("cannot start `{shown}`")))?;
    match end {
        End::Itself(status) if status.success() => Ok(Ok(())),
        End::Itself(status) => match status.code() {
            Some(code) => Ok(Err(code)),
            None => Err(Failure::new(format!("`{shown}` ended with {status}"))),
        },
        End::Stopped => {
            Err(Failure::new(format!("`{shown}` was stopped after {} s", limit.as_secs())))
        }
    }
}

/// Cargo's configuration for this.
fn runner(program: &str) -> String {
    format!("target.'cfg(unix)'.runner = ['{program}', 'guard', '{MINUTES}']")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::watched;

    fn run(script: &str, limit: Duration) -> (Result<Result<(), i32>, String>, Vec<String>) {
        let mut lines = Vec::new();
        let words = ["sh", "-c", script].map(Into::into);
        let ended = watched(limit, &words, &mut |line| lines.push(line.to_owned()));
        (ended.map_err(|failure| failure.to_string()), lines)
    }

    #[test]
    fn an_exit_code_is_handed_on_and_a_signal_told() {
        let limit = Duration::from_secs(300);
        assert_eq!(run("exit 0", limit), (Ok(Ok(())), Vec::new()));
        assert_eq!(run("exit 101", limit), (Ok(Err(101)), Vec::new()));
        let killed = run("kill -KILL $$", limit).0.unwrap_err();
        assert!(killed.starts_with("`sh` ended with signal: 9"), "{killed}");
    }

    #[test]
    fn what_hangs_is_described_and_ended() {
        let (ended, lines) = run("exec tail -f /dev/null", Duration::from_millis(100));
        assert_eq!(ended.unwrap_err(), "`sh` was stopped after 0 s");
        assert!(lines.iter().any(|line| line.starts_with("stopped: process ")), "{lines:?}");
    }
}
