//! The control of the checks: a run that has a defect on purpose finds it, and one that has none ends well.

use std::process::{Command, Output};

fn soak(arguments: &[&str]) -> Output {
    let mut soak = Command::new(env!("CARGO_BIN_EXE_dmaring-soak"));
    let common = ["--seed", "3", "--steps", "60", "--longest", "64", "--threads", "3"];
    soak.args(common).args(arguments).output().unwrap()
}

/// A planted defect must be found, and told like this.
fn finds(defect: &str, rounds: &str, words: &str) {
    let arguments = ["--plant", defect, "--rounds", rounds, "--patience", "4"];
    let output = soak(&arguments);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(errors.contains(words), "{errors}");
    assert!(errors.contains("again: cargo xtask soak --seed 3 --round "), "{errors}");
}

#[test]
fn without_a_defect_all_holds_and_the_report_is_json_too() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("report.json");
    let output = soak(&["--rounds", "3", "--json", path.to_str().unwrap()]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{text}{output:?}");
    assert!(text.contains("soak: ok, seed 3"), "{text}");
    let report = std::fs::read_to_string(path).unwrap();
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    assert_eq!((&report["rounds"], &report["seed"]), (&3.into(), &3.into()));
    assert!(report["futures"]["ok"].as_u64() > Some(0) && report["failure"].is_null(), "{report}");
}

#[test]
fn copies_that_are_shorter_than_they_say_are_found() {
    finds("short-copy", "8", "bytes are not what they should be");
}

#[test]
fn a_byte_outside_of_every_destination_is_found() {
    finds("stray-byte", "1", "1 bytes are not what they should be");
}

#[test]
fn a_descriptor_that_is_left_is_found() {
    finds("descriptor", "1", "left behind after the round: 1 descriptor");
}

#[test]
fn a_region_that_is_left_is_found() {
    finds("mapping", "1", "1 mapping /memfd:dmaring-region");
}

#[test]
fn a_thread_that_is_left_is_found() {
    finds("thread", "1", "1 thread");
}

/// Twelve rounds are the measure of those after them, and five in a row have to be above it.
#[test]
fn memory_that_is_left_is_found() {
    finds("memory", "40", "the memory grows");
}

#[test]
fn an_operation_that_never_ends_is_found_with_all_that_is_pending() {
    finds("hang", "1", "pending for");
}
