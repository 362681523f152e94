//! Measuring engines, keeping what was found, and copying by it.

use crate::scratch::{Scratch, succeed};

const ENGINES: &str = "--engine cpu --engine emulated --channels 2";

fn calibrate(scratch: &Scratch, line: &str) -> std::process::Command {
    let mut command = scratch.command();
    command.arg("calibrate").args(line.split_whitespace());
    command
}

#[test]
fn what_is_measured_is_shown_saved_and_copied_by() {
    let scratch = Scratch::on_tmpfs();
    let line = format!("{ENGINES} --seconds 1 --size 4MiB --save found.json");
    let text = succeed(&mut calibrate(&scratch, &line));
    for part in
        ["measured: mem to mem, 4 MiB", "ratio", "saved: found.json", "copies are", "mapped"]
    {
        assert!(text.contains(part), "{part:?} is not in {text}");
    }
    let file = String::from_utf8(scratch.read("found.json")).unwrap();
    assert!(file.contains("\"format\": \"dmaring calibration\""), "{file}");
    let text =
        succeed(&mut scratch.copy(&format!("{ENGINES} --calibration found.json --size 5MiB")));
    assert!(text.contains("verified: 5242880 bytes equal"), "{text}");

    let why = scratch.refuse(&mut scratch.copy("--engine cpu --calibration found.json"));
    assert!(why.contains("--calibration: the calibration was measured with engines"), "{why}");
    assert!(why.contains("measure again"), "{why}");
    let why = scratch
        .refuse(&mut scratch.copy(&format!("{ENGINES} --pollers engine --calibration found.json")));
    assert!(why.contains("pollers one, not per engine"), "{why}");
}

#[test]
fn files_of_tmpfs_are_measured_and_as_one_json_object() {
    let scratch = Scratch::on_tmpfs();
    scratch.write("a.img", 100_000);
    scratch.write("b.img", 200_000);
    let text = succeed(&mut calibrate(&scratch, "a.img b.img --engine cpu --seconds 1 --json"));
    let report: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(report["size"], 100_000);
    assert_eq!(report["crossover"], serde_json::Value::Null);
    assert_eq!(scratch.read("b.img").len(), 200_000);
}

#[test]
fn what_says_nothing_of_engines_is_refused_and_left_alone() {
    let scratch = Scratch::on_disk();
    scratch.write("a.img", 100_000);
    let before = scratch.write("b.img", 100_000);
    let why = scratch.refuse(&mut calibrate(&scratch, "a.img b.img --engine cpu"));
    assert!(why.contains("its disk decides") || why.contains("io_uring"), "{why}");
    assert!(scratch.read("b.img") == before);
    let why = scratch.refuse(&mut calibrate(&scratch, "a.img --engine cpu"));
    assert!(why.contains("DST"), "{why}");
    let why = scratch.refuse(&mut calibrate(&scratch, "mem pci:0000:3a:00.0:bar2 --engine cpu"));
    assert!(why.contains("word by word"), "{why}");
    let why = scratch.refuse(&mut calibrate(&scratch, "hugetlb:a.img mem --engine cpu"));
    assert!(why.contains("not on hugetlbfs"), "{why}");
    let why = scratch.refuse(&mut scratch.copy("--engine cpu --calibration a.img"));
    assert!(why.contains("--calibration a.img"), "{why}");
    let why = scratch.refuse(&mut scratch.copy("--engine cpu --calibration none.json"));
    assert!(why.contains("none.json"), "{why}");
}
