//! `dmaring bench`, with few and short points.

use std::{collections::BTreeSet, process::Command};

use serde_json::Value;

use crate::{
    copies::first_core,
    scratch::{Scratch, error_line, succeed},
};

/// The command with points as short as may be.
fn bench(scratch: &Scratch, line: &str) -> Command {
    let mut command = scratch.command();
    command.args(["bench", "--seconds", "10ms", "--working-set", "4MiB"]);
    command.args(line.split_whitespace());
    command
}

fn figures(scratch: &Scratch, line: &str) -> (String, Value) {
    let text = succeed(&mut bench(scratch, &format!("{line} --json figures.json")));
    let json = String::from_utf8(scratch.read("figures.json")).unwrap();
    assert_eq!(json.lines().count(), 1);
    (text, serde_json::from_str(&json).unwrap())
}

/// What can be said of any point.
#[track_caller]
fn check(point: &Value) {
    let number = |name: &str| point[name].as_f64().unwrap_or_else(|| panic!("{name}: {point}"));
    assert!(number("operations") >= 1.0 && number("seconds") > 0.0, "{point}");
    let rate = number("operations_per_second") * number("size_bytes");
    assert!((rate / number("bytes_per_second") - 1.0).abs() < 1e-6, "{point}");
    let latency = &point["latency_ns"];
    let times: Vec<_> = ["p50", "p90", "p99", "p99_9", "max"]
        .iter()
        .map(|name| latency[name].as_u64().unwrap())
        .collect();
    assert!(times.is_sorted() && times[0] > 0 && latency["samples"].as_u64().unwrap() > 0);
    let is_memcpy = point["engine"].is_null();
    assert_eq!(is_memcpy, point["depth"].is_null());
    assert_eq!(is_memcpy, point["ratio_to_memcpy"].is_null());
}

#[test]
fn every_size_depth_thread_and_state_is_a_point_of_the_cpu_and_of_memcpy() {
    let scratch = Scratch::on_disk();
    let (text, json) = figures(
        &scratch,
        "--engine cpu --sizes 100,64KiB --depths 1,5 --threads 1,2 --plot drawing.svg",
    );
    assert_eq!((&json["schema"], &json["schema_version"]), (&"dmaring-bench".into(), &1.into()));
    assert_eq!(json["engines"][0]["name"], "cpu");
    assert_eq!(json["engines"][0]["emulated"], false);
    assert_eq!(json["seconds_per_point"], 0.01);
    let points = json["points"].as_array().unwrap();
    points.iter().for_each(check);
    let keys = |engine: Value, depth: Value| {
        let of = move |point: &&Value| (&point["engine"], &point["depth"]) == (&engine, &depth);
        let key = |point: &Value| {
            format!("{} {} {}", point["cache"], point["threads"], point["size_bytes"])
        };
        points.iter().filter(of).map(key).collect::<BTreeSet<_>>()
    };
    let memcpy = keys(Value::Null, Value::Null);
    assert_eq!(memcpy.len(), 8);
    for depth in [1, 5] {
        assert_eq!(keys("cpu".into(), depth.into()), memcpy);
    }
    assert_eq!(points.len(), 3 * memcpy.len());
    assert_eq!(json["crossovers"].as_array().unwrap().len(), 8);
    for part in
        ["cold, 2 threads", "warm, 1 thread", "x memcpy", "verified: the copies of all 24 points"]
    {
        assert!(text.contains(part), "{part:?} is not in {text}");
    }
    // There are cycles in every point, or it is said why not.
    let counted = points.iter().filter(|point| point["cycles_per_byte"].is_number()).count();
    assert_eq!(json["no_cycles"].is_null(), counted > 0);
    assert_eq!(text.contains("note: no cycles: "), counted == 0);

    let svg = String::from_utf8(scratch.read("drawing.svg")).unwrap();
    let document = roxmltree::Document::parse(&svg).unwrap();
    let labels: Vec<_> = document.descendants().filter_map(|node| node.text()).collect();
    for part in ["memcpy", "cpu, depth 5", "cold, 2 threads: throughput"] {
        assert!(labels.iter().any(|label| label.contains(part)), "{part:?} is not in {labels:?}");
    }
}

#[test]
fn the_emulated_device_is_measured_and_says_what_it_is() {
    let scratch = Scratch::on_disk();
    let line = "--engine emulated --engine cpu --channels 2 --sizes 4KiB --depths 8 --warm";
    let (text, json) = figures(&scratch, line);
    assert!(text.contains("emulated is a model in this process"), "{text}");
    let engines: Vec<_> =
        json["points"].as_array().unwrap().iter().map(|point| point["engine"].clone()).collect();
    assert_eq!(engines, [Value::Null, "emulated".into(), "cpu".into()]);
    json["points"].as_array().unwrap().iter().for_each(check);
    assert_eq!(json["engines"][0]["emulated"], true);
    assert_eq!(json["memory"]["cold_enough"], Value::Null);
}

#[test]
fn without_an_engine_the_best_there_is_are_measured_and_named() {
    let (text, json) = figures(&Scratch::on_disk(), "--sizes 64 --depths 1 --warm");
    let engine = &json["engines"][0];
    assert!(engine["description"].as_str().unwrap().contains("(auto: "), "{engine}");
    assert_eq!((&engine["name"], &json["points"][1]["engine"]), (&"cpu".into(), &"cpu".into()));
    assert!(text.starts_with("cpu: cpu, "), "{text}");
}

#[test]
fn a_copy_that_fails_ends_the_run_with_its_place() {
    let scratch = Scratch::on_disk();
    let line = "--engine emulated --fault-plan nth=5:chanerr=8 --sizes 4KiB --depths 8 --warm --json x.json";
    let line = error_line(&bench(&scratch, line).output().unwrap(), 1, "");
    assert!(
        line.contains("emulated, 4096 bytes, warm, 1 thread: ") && line.contains("0x100"),
        "{line}"
    );
    assert!(!scratch.path().join("x.json").exists());
}

/// A device that says that it has written what it has not is found out.
#[test]
fn a_copy_that_is_not_equal_is_told() {
    let scratch = Scratch::on_disk();
    let line =
        "--engine emulated --fault-plan every=1:silent-short=100 --sizes 4KiB --depths 8 --warm";
    let line = error_line(&bench(&scratch, line).output().unwrap(), 1, "");
    assert!(line.contains("differs from the source"), "{line}");
}

#[test]
fn a_poller_that_is_bound_has_its_core() {
    let scratch = Scratch::on_disk();
    let core = first_core();
    let line = format!("--engine cpu --sizes 64 --depths 2 --warm --core {core}");
    let (_, json) = figures(&scratch, &line);
    assert_eq!(json["poller_core"].to_string(), core);
    let line = bench(&scratch, "--engine cpu --sizes 64 --core 100000").output().unwrap();
    assert!(error_line(&line, 2, "").contains("--core 100000"));
}

#[test]
fn bad_values_are_refused_with_value_limit_and_remedy() {
    let scratch = Scratch::on_disk();
    for (line, parts) in [
        ("--sizes 0", &["'0'", "--sizes", "at least 1"] as &[&str]),
        ("--sizes 64,many", &["'many'", "--sizes", "KiB, MiB or GiB"]),
        ("--sizes 64,,128", &["''", "--sizes", "KiB, MiB or GiB"]),
        ("--depths 0", &["0", "--depths", "1..=32768"]),
        ("--depths 1,32769", &["32769", "--depths", "1..=32768"]),
        ("--threads 257", &["257", "--threads", "1..=256"]),
        ("--depths 32768 --threads 2", &["--depths 32768", "65536", "32768", "use fewer"]),
        ("--engine warp", &["'warp'", "--engine", "use auto, cpu, emulated"]),
        ("--engine cpu --engine cpu", &["--engine cpu", "given twice"]),
        ("--engine auto --engine cpu", &["--engine auto", "name no other"]),
        ("--sizes 64 --engine 7ffffffe:00:04.0", &["--engine 7ffffffe:00:04.0", "`dmaring list`"]),
        ("--engine cpu --channels 2", &["--channels", "add --engine emulated"]),
        ("--sizes 4MiB", &["--working-set 4194304", "8388608 bytes are needed", "smaller --sizes"]),
        ("--sizes 17179869183GiB --warm", &["bytes of memory are needed", "smaller --sizes"]),
        ("--json /nowhere/at/all.json", &["--json /nowhere/at/all.json", "No such file"]),
        ("--plot /dev/null/x.svg", &["--plot /dev/null/x.svg", "Not a directory"]),
    ] {
        let message = scratch.refuse(&mut bench(&scratch, line));
        for part in parts {
            assert!(message.contains(part), "{line}: {part:?} is not in {message}");
        }
    }
    for time in ["1ms", "3601", "long"] {
        let mut command = scratch.command();
        let message = scratch.refuse(command.args(["bench", "--seconds", time]));
        assert!(message.contains("--seconds") && message.contains("use a"), "{message}");
    }
}

/// The examples in the help text are parsed, so that none names what there is not.
#[test]
fn the_examples_in_the_help_are_understood() {
    let scratch = Scratch::on_disk();
    let help = succeed(scratch.command().args(["bench", "--help"]));
    let examples = help.lines().filter_map(|line| line.trim().strip_prefix("dmaring bench"));
    let mut count = 0;
    for example in examples {
        count += 1;
        let mut command = scratch.command();
        command.arg("bench").args(example.split_whitespace()).args(["--core", "x"]);
        let message = scratch.refuse(&mut command);
        assert!(message.contains("'x' for '--core"), "{example}: {message}");
    }
    assert_eq!(count, 4);
}
