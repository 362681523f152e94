//! Cargo's subcommands of a fixed version, among the build's own tools.

use std::{env, ffi::OsString, path::PathBuf};

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
    /// Installs it if it was not, and gives the `PATH` on which cargo finds it first.
    pub(crate) fn path(self) -> Outcome<OsString> {
        let (tools, name) = (target("tools"), format!("cargo-{}", self.name));
        let binaries = tools.join("bin");
        let program = binaries.join(&name);
        let wanted = format!("{name} {}", self.version);
        // It prints its name, then its version.
        let version = Run::new(&program).arg("--version").lines();
        let known = format!(" {}", self.version);
        if !version.is_ok_and(|lines| lines.iter().any(|line| line.ends_with(&known))) {
            Run::cargo()
                .args(["install", &name, "--version", self.version, "--locked", "--debug"])
                .arg("--force")
                .arg("--root")
                .arg(&tools)
                .env("CARGO_TARGET_DIR", tools.join("build"))
                .limit(15)
                .run()
                .map_err(Failure::of(format!("{wanted} cannot be had")))?;
        }
        let others = env::var_os("PATH").unwrap_or_default();
        let all = std::iter::once(binaries).chain(env::split_paths(&others));
        env::join_paths(all.collect::<Vec<PathBuf>>())
            .map_err(Failure::of("PATH cannot have the build's tools in it"))
    }
}
