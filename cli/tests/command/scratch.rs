//! A directory for one test, and the command run in it.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

/// A directory that goes away with its files.
pub(crate) struct Scratch(tempfile::TempDir);

/// Everything in a directory: lengths and bytes of files, `None` for what is none.
pub(crate) type Snapshot = BTreeMap<PathBuf, Option<Vec<u8>>>;

impl Scratch {
    /// On the file system that the build is on: a disk's, as a rule.
    pub(crate) fn on_disk() -> Self {
        Self(tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap())
    }

    /// On tmpfs.
    pub(crate) fn on_tmpfs() -> Self {
        Self(tempfile::tempdir_in("/dev/shm").unwrap())
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// Writes a file and returns its bytes, of which no two runs of 256 are alike.
    pub(crate) fn write(&self, name: &str, length: usize) -> Vec<u8> {
        let seed = name.bytes().map(u64::from).sum::<u64>();
        let bytes: Vec<u8> = (seed..).map(hash).take(length).collect();
        fs::write(self.path().join(name), &bytes).unwrap();
        bytes
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path().join(name)).unwrap()
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        let entries = fs::read_dir(self.path()).unwrap();
        entries
            .map(|entry| entry.unwrap().path())
            .map(|path| (path.clone(), fs::read(path).ok()))
            .collect()
    }

    /// The command `dmaring copy`, with the words of `line`.
    pub(crate) fn copy(&self, line: &str) -> Command {
        let mut command = self.command();
        command.arg("copy").args(line.split_whitespace());
        command
    }

    /// The command without arguments.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dmaring"));
        command.current_dir(self.path());
        command
    }

    /// Runs a command that must be refused: exit code 2, one line of error, no output, every file as it was.
    /// Returns the line.
    #[track_caller]
    pub(crate) fn refuse(&self, command: &mut Command) -> String {
        let before = self.snapshot();
        let line = error_line(&command.output().unwrap(), 2, "");
        assert!(self.snapshot() == before, "files changed: {line}");
        line
    }
}

/// Checks that a command ended well and returns what it printed.
#[track_caller]
pub(crate) fn succeed(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let (stdout, stderr) = texts(&output);
    assert_eq!((output.status.code(), stderr.as_str()), (Some(0), ""), "{stdout}");
    stdout
}

/// Checks exit code, the one line of error, and that the output begins with `stdout`; returns the line.
#[track_caller]
pub(crate) fn error_line(output: &Output, code: i32, begin: &str) -> String {
    let (stdout, stderr) = texts(output);
    assert_eq!(output.status.code(), Some(code), "{stdout}{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert!(stderr.starts_with("dmaring: ") && stderr.ends_with('\n'), "{stderr}");
    assert!(stdout.starts_with(begin) && stdout.is_empty() == begin.is_empty(), "{stdout}");
    stderr
}

fn texts(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (text(&output.stdout), text(&output.stderr))
}

fn hash(number: u64) -> u8 {
    let mixed = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9).to_be_bytes()[0]
}
