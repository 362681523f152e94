//! Cargo's subcommands of a fixed version, among the build's own tools.

use std::path::PathBuf;

use crate::{
    command::Run,
    failure::{Failure, Outcome},
    target,
};

/// A subcommand of cargo that is a crate, `cargo-NAME`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tool {
    pub(crate) name: &'static str,
    pub(crate) version: &'static str,
}

impl Tool {
    /// Installs it if it was not, and gives its program, which takes its own name as the first argument.
    pub(crate) fn program(self) -> Outcome<PathBuf> {
        let (tools, name) = (target("tools"), format!("cargo-{}", self.name));
        let program = tools.join("bin").join(&name);
        // It prints its name, then its version; not every one without its own name as an argument.
        let version = Run::new(&program).args([self.name, "--version"]).output();
        let known = format!(" {}", self.version);
        if !version.is_ok_and(|text| text.lines().any(|line| line.ends_with(&known))) {
            Run::cargo()
                .args(["install", &name, "--version", self.version, "--locked", "--debug"])
                .args(["--force", "--root"])
                .arg(&tools)
                .env("CARGO_TARGET_DIR", tools.join("build"))
                .limit(15)
                .run()
                .map_err(Failure::of(format!("{name} {} cannot be had", self.version)))?;
        }
        Ok(program)
    }
}
