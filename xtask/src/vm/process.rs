//! A process that ends with the task, however the task ends.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader},
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use crate::failure::{Failure, Outcome};

// Numbers of signals on Linux, from signal(7).
const SIGABRT: i32 = 6;
const SIGSEGV: i32 = 11;

/// A running program, killed when dropped; the kernel kills it when the task is killed.
#[derive(Debug)]
pub(crate) struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `program` with both its streams going to the file `log`, and its libraries in `library_path` first.
    ///
    /// The caller's thread must outlive it: the kernel takes the end of that thread for the end of the task.
    pub(crate) fn start(
        program: &Path,
        arguments: &[String],
        library_path: &str,
        log: PathBuf,
    ) -> Outcome<Self> {
        Self::spawn(program, arguments, library_path, log, false).map(|(process, _)| process)
    }

    /// Starts `program` and waits for its first line, which must be `expected`.
    pub(crate) fn start_until(
        program: &Path,
        arguments: &[String],
        log: PathBuf,
        expected: &str,
        limit: Duration,
    ) -> Outcome<Self> {
        let (mut process, output) = Self::spawn(program, arguments, "", log, true)?;
        let (sender, receiver) = mpsc::channel();
        // Reads to the end, so that the program can never wait for a reader.
        thread::spawn(move || {
            for line in output.into_iter().flat_map(|output| BufReader::new(output).lines()) {
                let Ok(line) = line else { break };
                let _ = sender.send(line);
            }
        });
        let line = receiver.recv_timeout(limit);
        if line.as_deref() == Ok(expected) {
            return Ok(process);
        }
        let said = line.unwrap_or_else(|_| format!("nothing within {} s", limit.as_secs()));
        let account = process.account();
        Err(Failure::new(format!("{} said {said} and not `{expected}`\n{account}", process.name)))
    }

    /// How it ended, or that it has not, and what it has written to its log.
    pub(crate) fn account(&mut self) -> String {
        let state = match self.child.try_wait() {
            Ok(None) => "is running".to_owned(),
            Ok(Some(status)) => format!("ended with {status}"),
            Err(error) => format!("cannot be asked: {error}"),
        };
        format!("---- {} {state}\n{}", self.name, self.log())
    }

    /// Ends it, unless it has ended. One that is on its way to its end keeps the reason for it.
    pub(crate) fn end(&mut self) {
        // Fails only for a process that has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Whether it has crashed.
    pub(crate) fn crashed(&mut self) -> bool {
        let status = self.child.try_wait().ok().flatten();
        status.is_some_and(|status| matches!(status.signal(), Some(SIGSEGV | SIGABRT)))
    }

    /// What it has written to its log.
    pub(crate) fn log(&self) -> String {
        fs::read(&self.log).map_or_else(
            |error| format!("cannot read {}: {error}", self.log.display()),
            |bytes| String::from_utf8_lossy(&bytes).into_owned(),
        )
    }

    fn spawn(
        program: &Path,
        arguments: &[String],
        library_path: &str,
        log: PathBuf,
        piped: bool,
    ) -> Outcome<(Self, Option<ChildStdout>)> {
        let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let create = || -> std::io::Result<(Stdio, Stdio)> {
            let errors = File::create(&log)?;
            let output = if piped { Stdio::piped() } else { errors.try_clone()?.into() };
            Ok((errors.into(), output))
        };
        let (errors, output) =
            create().map_err(Failure::of(format!("cannot create {}", log.display())))?;
        // `env` so that only the program gets the libraries.
        let mut child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--", "env"])
            .arg(format!("LD_LIBRARY_PATH={library_path}"))
            .arg(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .spawn()
            .map_err(Failure::of(format!("cannot start {name} through setpriv")))?;
        let output = child.stdout.take();
        Ok((Self { name, child, log }, output))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

#[cfg(test)]
mod tests {
    use std::{path::Path, time::Duration};

    use super::Process;

    fn start(script: &str) -> Result<Process, String> {
        let directory = tempfile::tempdir().unwrap();
        let arguments = ["-c".to_owned(), script.to_owned()];
        let limit = Duration::from_secs(10);
        let log = directory.path().join("log");
        Process::start_until(Path::new("/bin/sh"), &arguments, log, "ready", limit)
            .map_err(|failure| failure.to_string())
    }

    #[test]
    fn a_program_is_ready_when_it_says_so() {
        let process = start("echo ready; exec tail -f /dev/null").unwrap();
        let directory = format!("/proc/{}", process.child.id());
        assert!(Path::new(&directory).exists());
        drop(process);
        assert!(!Path::new(&directory).exists());
    }

    #[test]
    fn a_crash_is_told_from_other_ends() {
        for (script, crash) in [
            ("ulimit -c 0; kill -SEGV $$; echo ready", true),
            ("kill -KILL $$; echo ready", false),
            ("exit 1", false),
        ] {
            let log = tempfile::NamedTempFile::new().unwrap().path().to_path_buf();
            let arguments = ["-c".to_owned(), script.to_owned()];
            let mut process = Process::start(Path::new("/bin/sh"), &arguments, "", log).unwrap();
            let _ = process.child.wait();
            assert_eq!(process.crashed(), crash, "{script}");
        }
    }

    #[test]
    fn what_it_says_instead_is_told_with_its_log() {
        let failure = start("echo other; echo why >&2").unwrap_err();
        assert!(failure.contains("sh said other"), "{failure}");
        assert!(start("exit 3").unwrap_err().contains("said nothing"));
    }
}
