//! How a task runs a program: the command line is shown first, a failure names it.

use std::{
    ffi::{OsStr, OsString},
    fmt::Write as _,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use crate::{
    account::Account,
    failure::{Failure, Outcome},
    root,
    watch::{self, End, Reads},
};

/// A program to run in the workspace's root, its output going where the task's own goes.
#[derive(Debug)]
pub(crate) struct Run {
    program: OsString,
    arguments: Vec<OsString>,
    variables: Vec<(String, OsString)>,
    limit: Option<u32>,
}

impl Run {
    /// A run of `program`, found on `PATH`.
    pub(crate) fn new(program: impl AsRef<OsStr>) -> Self {
        Self {
            program: program.as_ref().into(),
            arguments: Vec::new(),
            variables: Vec::new(),
            limit: None,
        }
    }

    /// A run of cargo.
    pub(crate) fn cargo() -> Self {
        Self::new("cargo")
    }

    /// Adds one argument.
    pub(crate) fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.arguments.push(argument.as_ref().into());
        self
    }

    /// Adds arguments.
    pub(crate) fn args<A: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.arguments.extend(arguments.into_iter().map(|argument| argument.as_ref().into()));
        self
    }

    /// Sets an environment variable.
    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.variables.push((name.to_owned(), value.as_ref().into()));
        self
    }

    /// Sets an environment variable unless whoever started the task has set it.
    pub(crate) fn default_env(self, name: &str, value: &str) -> Self {
        if std::env::var_os(name).is_some() { self } else { self.env(name, value) }
    }

    /// Sets a limit, held to only where `CI` is set: a slow machine is no failure, a hung runner is one.
    pub(crate) fn limit(mut self, minutes: u32) -> Self {
        self.limit = std::env::var_os("CI").is_some().then_some(minutes);
        self
    }

    /// Runs the program. Where it has a limit, a failure tells what of its output tells why.
    pub(crate) fn run(self) -> Outcome {
        let reads = if self.limit.is_some() { Reads::Output } else { Reads::Nothing };
        println!("$ {self}");
        self.watch(reads, &mut |line| println!("{line}"))
    }

    /// Runs the program and returns the lines of its output, of both streams, which are shown as they come.
    pub(crate) fn lines(self) -> Outcome<Vec<String>> {
        let mut lines = Vec::new();
        println!("$ {self}");
        self.watch(Reads::Output, &mut |line| {
            println!("{line}");
            lines.push(line.to_owned());
        })?;
        Ok(lines)
    }

    /// Runs the program and returns what [`Self::lines`] would have shown, however it ends.
    pub(crate) fn quietly(self) -> (Vec<String>, Outcome) {
        let mut lines = vec![format!("$ {self}")];
        let outcome = self.watch(Reads::Output, &mut |line| lines.push(line.to_owned()));
        (lines, outcome)
    }

    /// Runs the program and returns its standard output. Shows nothing unless it fails.
    pub(crate) fn output(self) -> Outcome<String> {
        let output = self.command().output();
        let output = output.map_err(Failure::of(format!("cannot start `{self}`")))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let why = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Err(Failure::new(format!("`{self}` failed: {}: {why}", output.status)))
    }

    /// Whether the program starts and succeeds. Shows nothing.
    pub(crate) fn succeeds(self) -> bool {
        let status = self.command().stdout(Stdio::null()).stderr(Stdio::null()).status();
        status.is_ok_and(|status| status.success())
    }

    fn watch(self, reads: Reads, show: &mut dyn FnMut(&str)) -> Outcome {
        let mut account = Account::default();
        let mut line = |line: &str| {
            account.take(line);
            show(line);
        };
        let limit = self.limit.map(|minutes| Duration::from_secs(60 * u64::from(minutes)));
        let end = watch::watch(self.command(), reads, limit, &mut line)
            .map_err(Failure::of(format!("cannot start `{self}`")))?;
        let how = match (end, self.limit) {
            (End::Itself(status), _) if status.success() => return Ok(()),
            (End::Itself(status), _) => format!("failed: {status}"),
            (End::Stopped, minutes) => {
                format!("was stopped after {} minutes", minutes.unwrap_or_default())
            }
        };
        // Without a limit somebody looks on, and has just seen it.
        let why = if self.limit.is_some() { account.tell() } else { String::new() };
        Err(Failure::new(format!("`{self}` {how}{why}")))
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).current_dir(root());
        // What cargo said of this program would be taken for what it says of the one that is started.
        for (name, _) in std::env::vars_os() {
            let name_text = name.to_string_lossy();
            if ["CARGO_PKG_", "CARGO_MANIFEST_"].iter().any(|own| name_text.starts_with(own)) {
                command.env_remove(&name);
            }
        }
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }
}

/// The command line as a shell would take it, but for the limit.
impl std::fmt::Display for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (name, value) in &self.variables {
            write!(f, "{name}={} ", quoted(value))?;
        }
        f.write_str(&quoted(&self.program))?;
        self.arguments.iter().try_for_each(|argument| write!(f, " {}", quoted(argument)))
    }
}

/// The word as a shell would take it.
pub(crate) fn quoted(text: &OsStr) -> String {
    let text = text.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=./:,+@%".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.into_owned();
    }
    let mut quoted = String::from("'");
    for c in text.chars() {
        match c {
            '\'' => quoted.push_str("'\\''"),
            c => {
                let _ = quoted.write_char(c);
            }
        }
    }
    quoted.push('\'');
    quoted
}

/// Reads a file of the workspace.
pub(crate) fn read(path: &Path) -> Outcome<String> {
    std::fs::read_to_string(path).map_err(Failure::of(format!("cannot read {}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::Run;

    #[test]
    fn a_command_is_shown_as_a_shell_would_take_it() {
        let run = Run::cargo().args(["test", "--", "it's"]).env("RUSTFLAGS", "--cfg loom");
        assert_eq!(run.to_string(), r"RUSTFLAGS='--cfg loom' cargo test -- 'it'\''s'");
    }

    #[test]
    fn a_failure_names_the_command_and_a_missing_program_too() {
        let failure = Run::new("sh").args(["-c", "exit 7"]).run().unwrap_err().to_string();
        assert!(failure.contains("sh -c 'exit 7'") && failure.contains('7'), "{failure}");
        let failure = Run::new("no-such-program").run().unwrap_err().to_string();
        assert!(failure.starts_with("cannot start `no-such-program`"), "{failure}");
    }

    #[test]
    fn lines_are_kept_and_variables_reach_the_program() {
        let run = Run::new("sh").args(["-c", "echo one; echo $WORD"]).env("WORD", "two");
        assert_eq!(run.lines().unwrap(), ["one", "two"]);
    }
}
