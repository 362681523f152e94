//! Copies that succeed, and what they leave.

use std::{fs, path::Path, process::Command};

use serde_json::Value;

use crate::scratch::{Scratch, succeed};

const DIRECTORIES: [fn() -> Scratch; 2] = [Scratch::on_disk, Scratch::on_tmpfs];

#[test]
fn without_paths_memory_is_copied_and_compared_with_memcpy() {
    let text = succeed(&mut Scratch::on_disk().copy(""));
    for part in [
        "engine: cpu, ",
        "(auto: ",
        "mem to mem, 32 MiB in blocks of 1 MiB, 32 in flight",
        "cpu engine: 0.",
        ", memcpy: 0.",
        ", ratio ",
        "verified: 33554432 bytes equal",
    ] {
        assert!(text.contains(part), "{part:?} is not in {text}");
    }
    assert!(!text.contains("note:") && !text.contains('\u{1b}'), "{text}");
}

#[test]
fn a_missing_destination_is_created_at_the_size_needed() {
    for directory in DIRECTORIES {
        let scratch = directory();
        let source = scratch.write("a.img", 3_000_001);
        let text = succeed(&mut scratch.copy("a.img b.img --block 64KiB --depth 4"));
        assert!(text.contains("note: the engine's time includes"), "{text}");
        assert!(text.contains("verified: 3000001 bytes equal"), "{text}");
        assert!(scratch.read("b.img") == source);
        assert!(scratch.read("a.img") == source);

        succeed(&mut scratch.copy("a.img c.img --src-offset 7 --dst-offset 4097 --size 1MiB"));
        let copy = scratch.read("c.img");
        assert_eq!(copy.len(), 4097 + (1 << 20));
        assert!(copy[..4097].iter().all(|byte| *byte == 0));
        assert!(copy[4097..] == source[7..7 + (1 << 20)]);
    }
}

#[test]
fn an_existing_destination_keeps_its_length_and_its_other_bytes() {
    for directory in DIRECTORIES {
        let scratch = directory();
        let source = scratch.write("a.img", 100_000);
        let mut expected = scratch.write("b.img", 300_000);
        succeed(&mut scratch.copy("a.img b.img --dst-offset 1001"));
        expected[1001..101_001].copy_from_slice(&source);
        assert!(scratch.read("b.img") == expected);
    }
}

#[test]
fn a_short_destination_grows_when_told_to() {
    for directory in DIRECTORIES {
        let scratch = directory();
        let source = scratch.write("a.img", 100_000);
        let mut expected = scratch.write("b.img", 50_000);
        succeed(&mut scratch.copy("a.img b.img --dst-offset 60000 --extend"));
        expected.resize(60_000, 0);
        expected.extend_from_slice(&source);
        assert!(scratch.read("b.img") == expected);
    }
}

#[test]
fn a_file_is_copied_into_another_part_of_itself() {
    for directory in DIRECTORIES {
        let scratch = directory();
        let mut expected = scratch.write("a.img", 200_000);
        succeed(&mut scratch.copy("a.img a.img --dst-offset 100000 --size 100000"));
        expected.copy_within(..100_000, 100_000);
        assert!(scratch.read("a.img") == expected);
        succeed(&mut scratch.copy("a.img a.img --dst-offset 200000 --extend"));
        expected.extend_from_within(..);
        assert!(scratch.read("a.img") == expected);
    }
}

#[test]
fn memory_is_a_source_and_a_destination() {
    let scratch = Scratch::on_tmpfs();
    succeed(&mut scratch.copy("mem a.img --size 128KiB --src-offset 4KiB"));
    assert_eq!(scratch.read("a.img").len(), 128 << 10);
    assert!(scratch.read("a.img").iter().any(|byte| *byte != 0));
    succeed(&mut scratch.copy("mem b.img --size 128KiB"));
    assert!(scratch.read("a.img") == scratch.read("b.img"), "the pattern is the same in every run");
    succeed(&mut scratch.copy("a.img mem"));
    assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 2);
}

#[test]
fn one_byte_and_one_block_of_one_byte_are_copied() {
    let scratch = Scratch::on_disk();
    let source = scratch.write("a.img", 300);
    succeed(&mut scratch.copy("a.img b.img --size 1 --src-offset 299 --depth 1"));
    assert!(scratch.read("b.img") == source[299..]);
    succeed(&mut scratch.copy("a.img c.img --block 1 --depth 3"));
    assert!(scratch.read("c.img") == source);
    succeed(&mut scratch.copy("a.img d.img --block 17179869183GiB --depth 32768"));
    assert!(scratch.read("d.img") == source);
}

#[test]
fn json_is_one_object_with_every_figure() {
    let scratch = Scratch::on_tmpfs();
    scratch.write("a.img", 100_000);
    let mut command =
        scratch.copy("a.img mem --src-offset 10 --block 1KiB --depth 5 --engine cpu --json");
    let text = succeed(command.arg("--core").arg(first_core()));
    assert_eq!(text.lines().count(), 1);
    let json: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(json["source"]["location"], "a.img");
    assert_eq!(json["source"]["offset"], 10);
    assert_eq!(json["source"]["access"], "mapped");
    assert_eq!(json["destination"]["access"], "memory");
    assert_eq!((&json["size"], &json["copied"]), (&99_990.into(), &99_990.into()));
    assert_eq!((&json["block"], &json["depth"]), (&1024.into(), &5.into()));
    assert_eq!(json["ring_entries"], 8);
    assert_eq!(json["poller_core"].to_string(), first_core());
    assert!(json["engine"].as_str().unwrap().contains("named with --engine"));
    for timing in ["engine_time", "memcpy_time"] {
        assert!(json[timing]["seconds"].as_f64().unwrap() > 0.0);
        assert!(json[timing]["bytes_per_second"].as_f64().unwrap() > 0.0);
    }
    assert!(json["ratio"].as_f64().unwrap() > 0.0);
    assert_eq!(json["includes_storage"], true);
    assert_eq!(json["verified"], true);
    assert_eq!((&json["error"], &json["first_difference"]), (&Value::Null, &Value::Null));
    assert_eq!(json["stats"]["submitted"], 98);
    assert_eq!(json["stats"]["completed"], 98);
    assert_eq!(json["stats"]["bytes"], 99_990);
    assert_eq!(json["stats"]["engines"][0]["name"], "cpu");
}

#[test]
fn what_was_not_verified_does_not_say_that_it_was() {
    let scratch = Scratch::on_disk();
    let text = succeed(&mut scratch.copy("--size 4KiB --no-verify"));
    assert!(text.contains("not verified") && !text.contains("equal"), "{text}");
    let text = succeed(&mut scratch.copy("--size 4KiB --no-verify --json"));
    assert!(text.contains(r#""verified":false"#), "{text}");
}

#[test]
fn no_locked_memory_is_needed_for_the_cpu() {
    let scratch = Scratch::on_disk();
    let mut shell = Command::new("sh");
    shell.args([
        "-c",
        "ulimit -l 0 && exec \"$0\" copy --size 1MiB",
        env!("CARGO_BIN_EXE_dmaring"),
    ]);
    assert!(succeed(shell.current_dir(scratch.path())).contains("verified: 1048576 bytes equal"));
}

/// The first core that this process may use.
pub(crate) fn first_core() -> String {
    let status = fs::read_to_string(Path::new("/proc/self/status")).unwrap();
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap();
    list.trim().split([',', '-']).next().unwrap().to_owned()
}

#[test]
fn the_emulated_device_copies_between_files_at_odd_offsets() {
    for (preset, channels) in [("skx", "1"), ("icx", "3"), ("bdx", "2")] {
        let scratch = Scratch::on_disk();
        let source = scratch.write("a.img", 700_001);
        let line = format!(
            "a.img b.img --src-offset 3 --dst-offset 5 --size 654321 --block 64KiB --engine emulated --preset {preset} --channels {channels}"
        );
        let text = succeed(&mut scratch.copy(&line));
        assert!(text.contains("emulated I/OAT device") && text.contains("in software"), "{text}");
        assert!(text.contains("verified: 654321 bytes equal"), "{text}");
        assert!(scratch.read("b.img")[5..] == source[3..][..654_321]);
    }
}

#[test]
fn a_durable_copy_says_so_and_by_what() {
    let scratch = Scratch::on_disk();
    let source = scratch.write("a.img", 300_001);
    let text = succeed(&mut scratch.copy("a.img b.img --durable --block 64KiB"));
    assert!(text.contains("durable: 300001 bytes of DST outlive"), "{text}");
    assert!(text.contains("a file, by fdatasync"), "{text}");
    assert!(scratch.read("b.img") == source);
    let text = succeed(&mut scratch.copy("a.img c.img --json"));
    let report: Value = serde_json::from_str(&text).unwrap();
    assert!(report["durable"].is_null());
}
