//! What is refused: exit code 2, one line with value, limit and remedy, and every file as it was.

use std::{
    ffi::OsStr,
    fs,
    os::unix::{ffi::OsStrExt, fs::symlink, net::UnixListener},
    path::Path,
    process::Command,
};

use crate::scratch::Scratch;

/// A directory with files of 5000 and 1000 bytes, and other things that are there.
fn scratch() -> Scratch {
    let scratch = Scratch::on_disk();
    scratch.write("a.img", 5000);
    scratch.write("short.img", 1000);
    scratch.write("empty.img", 0);
    fs::create_dir(scratch.path().join("directory")).unwrap();
    fs::hard_link(scratch.path().join("a.img"), scratch.path().join("same.img")).unwrap();
    symlink("a.img", scratch.path().join("link.img")).unwrap();
    symlink("nowhere", scratch.path().join("dangling.img")).unwrap();
    scratch
}

#[test]
fn bad_values_and_ends_are_refused_with_value_limit_and_remedy() {
    let scratch = scratch();
    for (line, parts) in [
        // Values.
        ("--size 0", &["'0'", "--size", "at least 1"] as &[&str]),
        ("--size 0MiB", &["'0MiB'", "--size", "at least 1"]),
        ("--size 32MB", &["'32MB'", "--size", "KiB, MiB or GiB"]),
        ("--size 17179869184GiB", &["--size", "18446744073709551615"]),
        ("--size -1", &["-1", "see dmaring copy --help"]),
        ("--block 0", &["'0'", "--block", "at least 1"]),
        ("--block many", &["'many'", "--block", "KiB, MiB or GiB"]),
        ("--src-offset x", &["'x'", "--src-offset", "KiB, MiB or GiB"]),
        ("--dst-offset 1e9", &["'1e9'", "--dst-offset", "KiB, MiB or GiB"]),
        ("--depth 0", &["0", "--depth", "1..=32768"]),
        ("--depth 32769", &["32769", "--depth", "1..=32768"]),
        ("--depth deep", &["deep", "--depth"]),
        ("--core 100000", &["--core 100000", "use one of"]),
        ("--core x", &["'x'", "--core"]),
        ("--engine warp", &["'warp'", "--engine", "use auto, cpu, emulated", "0000:00:04.0"]),
        // No bus has this domain.
        (
            "--engine 7ffffffe:00:04.0",
            &["--engine 7ffffffe:00:04.0", "no PCI function", "`dmaring list`"],
        ),
        ("--engine cpu --engine 7ffffffe:00:04.0", &["no PCI function 7ffffffe:00:04.0"]),
        ("--engine 00:04.0 --engine 0000:00:04.0", &["--engine 0000:00:04.0 is given twice"]),
        ("--engine auto --engine 0000:00:04.0", &["name no other"]),
        ("--engine emulated --preset warp", &["warp", "--preset", "skx"]),
        ("--engine emulated --channels 0", &["0", "--channels", "1..=31"]),
        ("--engine emulated --channels 32", &["32", "--channels", "1..=31"]),
        ("--engine emulated --fault-plan nth=5", &["nth=5", "--fault-plan"]),
        ("--channels 2", &["--channels", "add --engine emulated"]),
        ("--engine cpu --fault-plan nth=5:stall", &["--fault-plan", "add --engine emulated"]),
        ("--engine cpu --engine cpu", &["--engine cpu", "given twice"]),
        ("--engine auto --engine cpu", &["--engine auto", "name no other"]),
        ("--colour", &["--colour", "see dmaring copy --help"]),
        ("a.img b.img c.img", &["c.img", "see dmaring copy --help"]),
        // SRC.
        ("a.img", &["SRC a.img", "without DST", "mem"]),
        ("none.img b.img", &["SRC none.img", "no such file"]),
        ("directory b.img", &["SRC directory", "a directory"]),
        ("empty.img b.img", &["SRC empty.img", "0 bytes"]),
        ("dangling.img b.img", &["SRC dangling.img", "leads nowhere"]),
        ("a.img/x b.img", &["SRC a.img/x", "Not a directory"]),
        ("/dev/null b.img", &["SRC /dev/null", "not a device-dax node"]),
        ("/dev/dax98.76 b.img", &["SRC /dev/dax98.76", "No such file"]),
        ("hugetlb:a.img b.img", &["SRC hugetlb:a.img", "not on hugetlbfs", "mount -t hugetlbfs"]),
        ("hugetlb: b.img", &["no path", "hugetlb:PATH"]),
        ("pci:7ffffffe:00:04.0:bar2 b.img --engine cpu", &["SRC pci:", "7ffffffe:00:04.0"]),
        ("pci:7ffffffe:00:04.0:bar2 b.img --engine emulated", &["SRC pci:", "--engine cpu"]),
        ("a.img b.img --src-offset 5000", &["SRC a.img", "5000", "use less than 5000"]),
        ("a.img b.img --src-offset 1GiB", &["SRC a.img", "1073741824", "use less than 5000"]),
        ("a.img b.img --size 5001", &["SRC a.img", "5001 bytes", "5000", "--size 5000"]),
        ("a.img b.img --src-offset 4999 --size 2", &["SRC a.img", "4999", "--size 1 or less"]),
        ("--src-offset 18446744073709551615", &["SRC mem", "18446744073709551615"]),
        // DST.
        ("a.img directory", &["DST directory", "a directory"]),
        ("a.img none/b.img", &["DST none/b.img", "directory does not exist"]),
        ("a.img dangling.img", &["DST dangling.img", "leads nowhere"]),
        ("a.img /dev/null", &["DST /dev/null", "not a device-dax node"]),
        ("a.img /dev/dax98.76", &["DST /dev/dax98.76", "No such file"]),
        ("a.img /dev/dmaring-none", &["DST /dev/dmaring-none", "no such device"]),
        ("a.img pci:7ffffffe:00:04.0:bar0", &["DST pci:", "no PCI function", "7ffffffe:00:04.0"]),
        ("a.img pci:0000:00:04.0", &["no BAR", "pci:BDF:barN"]),
        ("a.img pci:0000:00:04.0:bar9", &["bar0 to bar5"]),
        ("a.img short.img", &["DST short.img", "1000 bytes", "5000", "--extend", "--size 1000"]),
        ("a.img empty.img", &["DST empty.img", "0 bytes", "5000", "--extend"]),
        ("a.img short.img --size 1 --dst-offset 1000", &["1001", "--dst-offset less than 1000"]),
        ("a.img b.img --dst-offset 18446744073709551615", &["--dst-offset", "9223372036854775807"]),
        // Both.
        ("a.img a.img", &["overlap", "5000 bytes apart"]),
        ("a.img a.img --size 3000 --dst-offset 2000", &["overlap", "3000 bytes apart"]),
        ("a.img same.img", &["DST same.img", "overlap"]),
        ("a.img ./link.img", &["DST ./link.img", "overlap"]),
        // No machine has so much memory.
        ("--size 1000000GiB", &["bytes of memory are needed", "available", "smaller --size"]),
    ] {
        let message = scratch.refuse(&mut scratch.copy(line));
        for part in parts {
            assert!(message.contains(part), "{line}: {part:?} is not in {message}");
        }
    }
    assert!(!Path::new("/dev/dmaring-none").exists() && !Path::new("/dev/dax98.76").exists());
}

#[test]
fn overlap_is_seen_where_no_two_blocks_overlap() {
    let scratch = scratch();
    // Block 0 goes to where block 2 comes from: each single copy would be allowed.
    let message =
        scratch.refuse(&mut scratch.copy("a.img a.img --size 3000 --dst-offset 2000 --block 1KiB"));
    assert!(message.contains("overlap"), "{message}");
}

#[test]
fn a_socket_is_no_file() {
    let scratch = scratch();
    let _listener = UnixListener::bind(scratch.path().join("socket")).unwrap();
    let message = scratch.refuse(&mut scratch.copy("socket b.img"));
    assert!(
        message.contains("SRC socket: ") && message.contains("neither a device nor a file"),
        "{message}"
    );
}

#[test]
fn a_path_may_hold_any_bytes_and_the_message_stays_one_line() {
    let scratch = scratch();
    for (name, shown) in [(b"a\nb\x1b[2J".as_slice(), "a\\nb\\u{1b}[2J"), (b"a\xff", "a\u{fffd}")] {
        let mut command = scratch.copy("");
        let message = scratch.refuse(command.args([OsStr::from_bytes(name), OsStr::new("b.img")]));
        assert!(message.contains(shown), "{message}");
    }
}

#[test]
fn a_destination_that_cannot_have_its_length_is_as_it_was() {
    // On tmpfs the command needs no other long file: staging buffers would be one.
    let scratch = Scratch::on_tmpfs();
    scratch.write("long.img", 100_000);
    scratch.write("short.img", 1000);
    for line in ["long.img b.img", "long.img short.img --extend"] {
        // No file of more than 16 KiB, and an error for it instead of a signal.
        let mut shell = Command::new("sh");
        shell.args(["-c", "trap '' XFSZ; ulimit -f 16 && exec \"$0\" copy $1"]);
        shell.args([env!("CARGO_BIN_EXE_dmaring"), line]).current_dir(scratch.path());
        let message = scratch.refuse(&mut shell);
        assert!(message.contains("cannot make it 100000 bytes long"), "{message}");
    }
}

#[test]
fn what_cannot_be_durable_is_refused_and_nothing_is_created() {
    let scratch = Scratch::on_tmpfs();
    scratch.write("a.img", 5000);
    let before = scratch.snapshot();
    for line in ["a.img b.img --durable", "a.img mem --durable", "--durable"] {
        let output = scratch.copy(line).output().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{line}: {text}");
        for part in ["DST", "--durable", "volatile (ordinary memory)", "use persistent memory"] {
            assert!(text.contains(part), "{line}: {part:?} is not in {text}");
        }
        assert!(scratch.snapshot() == before, "{line}");
    }
}
