//! What fails once copying has begun: exit code 1, how far it came, and one line of error.

use std::{fs::OpenOptions, process::Stdio};

use serde_json::Value;

use crate::scratch::{Scratch, error_line};

/// A regular file that says it has 4096 bytes and gives fewer when read.
const SHORTER_THAN_IT_SAYS: &str = "/sys/devices/system/cpu/online";

#[test]
fn a_source_that_ends_early_fails_with_the_bytes_done() {
    let scratch = Scratch::on_tmpfs();
    let mut command = scratch.copy(&format!("{SHORTER_THAN_IT_SAYS} b.img"));
    let line = error_line(&command.output().unwrap(), 1, "engine: cpu");
    assert!(line.contains("failed after 0 of 4096 bytes"), "{line}");
    assert!(line.contains(&format!("SRC {SHORTER_THAN_IT_SAYS} to DST b.img")), "{line}");
}

#[test]
fn json_has_the_error_too() {
    let scratch = Scratch::on_tmpfs();
    let mut command = scratch.copy(&format!("{SHORTER_THAN_IT_SAYS} mem --json"));
    let output = command.output().unwrap();
    error_line(&output, 1, "{");
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&json["verified"], &json["copied"]), (&false.into(), &0.into()));
    assert!(json["error"].as_str().unwrap().contains("failed after 0 of 4096 bytes"));
    assert_eq!((&json["memcpy_time"], &json["ratio"]), (&Value::Null, &Value::Null));
}

#[test]
fn a_report_that_cannot_be_written_is_a_failure_and_a_reader_that_left_is_none() {
    let scratch = Scratch::on_disk();
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = scratch.copy("--size 4KiB").stdout(full).output().unwrap();
    assert!(error_line(&output, 1, "").contains("report cannot be written"));

    let mut command = scratch.copy("--size 4KiB");
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), b"".as_slice()));
}

#[test]
fn a_planned_fault_fails_its_copy_with_its_bit_and_place() {
    let scratch = Scratch::on_disk();
    let mut command = scratch
        .copy("--engine emulated --size 1MiB --block 64KiB --depth 4 --fault-plan nth=7:chanerr=8");
    let line = error_line(&command.output().unwrap(), 1, "engine: emulated");
    assert!(line.contains("reading the source failed (error bits 0x100)"), "{line}");
    assert!(line.contains("bytes, in the block at SRC offset"), "{line}");
}

#[test]
fn a_stalled_channel_is_given_up_and_the_command_ends() {
    let scratch = Scratch::on_disk();
    let mut command =
        scratch.copy("--engine emulated --size 1MiB --block 64KiB --fault-plan nth=5:stall");
    let line = error_line(&command.output().unwrap(), 1, "engine: emulated");
    assert!(line.contains("no progress"), "{line}");
}

/// The control of verifying: a device that says done and has not copied.
#[test]
fn a_device_that_lies_is_found_out() {
    let scratch = Scratch::on_disk();
    let mut command = scratch
        .copy("--engine emulated --size 1MiB --block 64KiB --fault-plan nth=7:silent-short=100");
    let line = error_line(&command.output().unwrap(), 1, "engine: emulated");
    assert!(line.contains("the copy is not equal: SRC holds"), "{line}");
}
