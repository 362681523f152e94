//! Help, version, and what is no command.

use crate::scratch::{Scratch, succeed};

#[test]
fn help_and_version_go_to_the_output() {
    let scratch = Scratch::on_disk();
    let help = succeed(scratch.command().arg("--help"));
    assert!(help.contains("copy") && help.contains("Exit codes"), "{help}");
    let version = succeed(scratch.command().arg("--version"));
    assert_eq!(version, concat!("dmaring ", env!("CARGO_PKG_VERSION"), "\n"));
}

#[test]
fn help_of_copy_names_every_option_and_has_examples() {
    let help = succeed(&mut Scratch::on_disk().copy("--help"));
    for part in [
        "[SRC]",
        "[DST]",
        "--src-offset",
        "--dst-offset",
        "--size",
        "--engine",
        "--core",
        "--depth",
        "--block",
        "--extend",
        "--durable",
        "--pollers",
        "--calibration",
        "--engine-reads-mmio",
        "--no-verify",
        "--json",
        "--preset",
        "--channels",
        "--fault-plan",
        "Examples:",
        "What is measured:",
        "mem",
    ] {
        assert!(help.contains(part), "{part:?} is not in {help}");
    }
}

/// The examples in the help text are parsed, so that none names what there is not.
#[test]
fn the_examples_in_the_help_are_understood() {
    let scratch = Scratch::on_disk();
    let help = succeed(&mut scratch.copy("--help"));
    let examples = help.lines().filter_map(|line| line.trim().strip_prefix("dmaring copy"));
    let mut count = 0;
    for example in examples {
        count += 1;
        // A second --no-verify, and clap reads no further than that.
        let line = format!("{example} --no-verify --no-verify");
        let message = scratch.refuse(&mut scratch.copy(&line));
        assert!(
            message.contains("'--no-verify' cannot be used multiple times"),
            "{line}: {message}"
        );
    }
    assert_eq!(count, 10);
}

#[test]
fn what_is_no_command_is_refused_in_one_line() {
    let scratch = Scratch::on_disk();
    let message = scratch.refuse(&mut scratch.command());
    assert!(message.contains("see dmaring --help"), "{message}");
    let message = scratch.refuse(scratch.command().arg("move"));
    assert!(message.contains("'move'"), "{message}");
}
