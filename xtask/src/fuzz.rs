//! `cargo xtask fuzz`: the fuzz targets, each for some seconds, from the kept corpus.
//!
//! They are built with cargo-fuzz on the nightly that `xtask/miri-toolchain` names. What a run finds worth keeping goes
//! below `target/`; the kept corpus, `fuzz/corpus`, is only read. `docs/fuzzing.md` says more.

use std::{fs, path::PathBuf};

use crate::{
    command::{self, Run},
    failure::{Failure, Outcome, all},
    root, target,
    tool::Tool,
};

const CARGO_FUZZ: Tool = Tool { name: "fuzz", version: "0.13.2" };

/// How long each target runs in continuous integration, in seconds.
const BRIEFLY: u32 = 10;

/// What the short runs draw from: a change is not refused for what another one brought. Longer runs draw anew.
const BRIEF_SEED: u32 = 1;

/// The longest input that is tried, in bytes: a few hundred calls.
const MAX_LENGTH: u32 = 1024;

/// After how many seconds one input counts as a hang: a healthy one takes milliseconds.
const HANG: u32 = 25;

/// Runs the target, or all where none is named, for so many seconds each.
pub(crate) fn run(target: Option<&str>, seconds: u32) -> Outcome {
    try_for(target, seconds, None)
}

fn try_for(target: Option<&str>, seconds: u32, seed: Option<u32>) -> Outcome {
    let targets = chosen(target, &targets()?)?;
    let fuzz = Fuzz { toolchain: toolchain()?, program: CARGO_FUZZ.program()? };
    fuzz.build()?;
    all(targets.iter().map(|target| fuzz.run(target, seconds, seed))).map(drop)
}

/// What a change must pass: the crate's format and lints, and a short run of each target.
pub(crate) fn briefly() -> Outcome {
    let manifest = ["--manifest-path", "fuzz/Cargo.toml"];
    Run::cargo().arg("fmt").args(manifest).arg("--check").run()?;
    Run::cargo()
        .arg("clippy")
        .args(manifest)
        .args(["--all-targets", "--locked", "--", "-D", "warnings"])
        .env("CARGO_TARGET_DIR", target("fuzz-clippy"))
        .limit(10)
        .run()?;
    try_for(None, BRIEFLY, Some(BRIEF_SEED))
}

struct Fuzz {
    toolchain: String,
    program: PathBuf,
}

impl Fuzz {
    fn build(&self) -> Outcome {
        self.cargo_fuzz().arg("build").limit(15).run()
    }

    fn run(&self, name: &str, seconds: u32, seed: Option<u32>) -> Outcome {
        let found = target("fuzz").join("found").join(name);
        fs::create_dir_all(&found)
            .map_err(Failure::of(format!("cannot make {}", found.display())))?;
        let kept = format!("fuzz/corpus/{name}");
        if !root().join(&kept).is_dir() {
            return Err(Failure::new(format!("{kept} is not there: every target has a corpus")));
        }
        let again = format!("cargo xtask fuzz {name} --seconds 60");
        self.cargo_fuzz()
            .args(["run", name])
            .arg(&found)
            .args([&kept, "--"])
            .arg(format!("-max_total_time={seconds}"))
            .arg(format!("-max_len={MAX_LENGTH}"))
            .arg(format!("-timeout={HANG}"))
            .args(seed.map(|seed| format!("-seed={seed}")))
            .args(["-verbosity=0", "-print_final_stats=1"])
            .limit(seconds.div_ceil(60) + 10)
            .run()
            .map_err(Failure::of(format!(
                "the target {name} found an input, in fuzz/artifacts/{name}: mend the code, keep the input in \
                 {kept}, try `{again}`"
            )))
    }

    fn cargo_fuzz(&self) -> Run {
        Run::new("rustup")
            .args(["run", &self.toolchain])
            .arg(&self.program)
            .arg("fuzz")
            // The cargo that runs this task is another toolchain's.
            .env("CARGO", "cargo")
            .env("CARGO_TARGET_DIR", target("fuzz"))
    }
}

/// The names of the targets, in order.
fn targets() -> Outcome<Vec<String>> {
    let directory = root().join("fuzz/fuzz_targets");
    let entries = fs::read_dir(&directory)
        .map_err(Failure::of(format!("cannot read {}", directory.display())))?;
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut targets: Vec<_> =
        names.filter_map(|name| name.strip_suffix(".rs").map(str::to_owned)).collect();
    targets.sort();
    Ok(targets)
}

/// The one target named, if it is one, or all.
fn chosen(target: Option<&str>, targets: &[String]) -> Outcome<Vec<String>> {
    match target {
        None => Ok(targets.to_vec()),
        Some(name) if targets.iter().any(|known| known == name) => Ok(vec![name.to_owned()]),
        Some(name) => {
            let known = targets.join(", ");
            Err(Failure::new(format!("there is no fuzz target `{name}`: there are {known}")))
        }
    }
}

/// The pinned nightly, installed if it was not.
fn toolchain() -> Outcome<String> {
    let name = command::read(&root().join("xtask/miri-toolchain"))?.trim().to_owned();
    if !Run::new("rustup").args(["run", &name, "cargo", "--version"]).succeeds() {
        Run::new("rustup")
            .args(["toolchain", "install", &name, "--profile", "minimal"])
            .run()
            .map_err(Failure::of(format!("the toolchain {name} for fuzzing cannot be had")))?;
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::{chosen, root, targets};

    #[test]
    fn every_target_has_a_corpus_and_a_place_in_the_manifest() {
        let manifest = std::fs::read_to_string(root().join("fuzz/Cargo.toml")).unwrap();
        let targets = targets().unwrap();
        assert!(!targets.is_empty());
        for target in targets {
            let kept = root().join("fuzz/corpus").join(&target);
            assert!(std::fs::read_dir(kept).unwrap().count() > 0, "{target}");
            assert!(manifest.contains(&format!("name = \"{target}\"")), "{target}");
        }
    }

    #[test]
    fn one_target_is_chosen_by_its_name_and_an_unknown_one_is_refused_with_the_known() {
        let known = ["a".to_owned(), "b".to_owned()];
        assert_eq!(chosen(None, &known).unwrap(), known);
        assert_eq!(chosen(Some("b"), &known).unwrap(), ["b"]);
        let refusal = chosen(Some("c"), &known).unwrap_err().to_string();
        assert_eq!(refusal, "there is no fuzz target `c`: there are a, b");
    }
}
