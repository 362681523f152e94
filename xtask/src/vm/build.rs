//! The workspace's own programs that a run needs, built as for a test of some speed.

use std::path::{Path, PathBuf};

use crate::{
    command::Run,
    failure::{Failure, Outcome},
    root, target,
};

/// A program that cargo built.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    /// What it is called in the machine.
    pub(crate) name: String,
    /// Where it is.
    pub(crate) path: PathBuf,
}

/// Packages that have a test target `vfio`, whose tests need the machine, and their directories.
const SUITES: &[(&str, &str)] = &[("dmaring-driver", "driver"), ("dmaring", "runtime")];

/// The command.
pub(crate) fn command() -> Outcome<Program> {
    program("dmaring", &["build", "--package", "dmaring-cli", "--bin", "dmaring"])
}

/// The device model, which runs outside of the machine.
pub(crate) fn model() -> Outcome<Program> {
    let bin = "dmaring-emulated";
    program(bin, &["build", "--package", "dmaring-emulated", "--bin", bin])
}

/// The long run.
pub(crate) fn soak() -> Outcome<Program> {
    let bin = "dmaring-soak";
    program(bin, &["build", "--package", "dmaring-soak", "--bin", bin])
}

/// The tests that need the machine, called by their package's directory and `-vfio`.
pub(crate) fn suites() -> Outcome<Vec<Program>> {
    let present =
        SUITES.iter().filter(|(_, directory)| root().join(directory).join("tests/vfio").exists());
    present
        .map(|(package, directory)| {
            let arguments = ["test", "--no-run", "--package", package, "--test", "vfio"];
            program(&format!("{directory}-vfio"), &arguments)
        })
        .collect()
}

fn program(name: &str, arguments: &[&str]) -> Outcome<Program> {
    let messages = Run::cargo()
        .args(arguments)
        .args(["--quiet", "--message-format", "json-render-diagnostics"])
        // Debug assertions stay; without the speed, software emulation multiplies what the compiler left in.
        .env("CARGO_PROFILE_DEV_OPT_LEVEL", "2")
        .env("CARGO_PROFILE_DEV_DEBUG", "0")
        .env("CARGO_TARGET_DIR", target("vm").join("build"))
        .output()?;
    let path = executable(&messages)
        .ok_or_else(|| Failure::new(format!("cargo built no executable for {name}")))?;
    Ok(Program { name: name.to_owned(), path })
}

/// The executable of cargo's last message that has one.
fn executable(messages: &str) -> Option<PathBuf> {
    let parsed = cargo_metadata::Message::parse_stream(messages.as_bytes());
    let paths = parsed.filter_map(|message| match message {
        Ok(cargo_metadata::Message::CompilerArtifact(artifact)) => artifact.executable,
        _ => None,
    });
    paths.last().map(|path| Path::new(path.as_str()).to_path_buf())
}
