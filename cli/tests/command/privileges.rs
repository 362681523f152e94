//! What the system does not permit. Where the tests run with root's rights, the command is run without them.

use std::{
    fs::{self, File, Permissions},
    os::unix::{fs::PermissionsExt, process::CommandExt},
    process::Command,
};

use crate::scratch::Scratch;

/// A user who has no rights of their own.
const NOBODY: u32 = 65_534;

/// The command, run by somebody whom a file's mode binds. The binary is copied to where anybody can run it.
fn bound(scratch: &Scratch, line: &str) -> Command {
    let secret = scratch.path().join("secret");
    fs::write(&secret, "").unwrap();
    set_mode(scratch, "secret", 0);
    let privileged = File::open(&secret).is_ok();
    fs::remove_file(&secret).unwrap();
    if !privileged {
        return scratch.copy(line);
    }
    set_mode(scratch, "", 0o777);
    let binary = scratch.path().join("dmaring");
    fs::copy(env!("CARGO_BIN_EXE_dmaring"), &binary).unwrap();
    set_mode(scratch, "dmaring", 0o755);
    let mut command = Command::new(binary);
    command.arg("copy").args(line.split_whitespace()).uid(NOBODY).gid(NOBODY);
    command.current_dir(scratch.path());
    command
}

fn set_mode(scratch: &Scratch, name: &str, mode: u32) {
    fs::set_permissions(scratch.path().join(name), Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_source_that_may_not_be_read_is_refused_and_no_destination_is_left() {
    let scratch = Scratch::on_tmpfs();
    scratch.write("a.img", 5000);
    set_mode(&scratch, "a.img", 0o200);
    let mut command = bound(&scratch, "a.img b.img");
    let message = scratch.refuse(&mut command);
    assert!(message.contains("SRC a.img: ") && message.contains("Permission denied"), "{message}");
}

#[test]
fn a_destination_that_may_not_be_written_is_refused() {
    let scratch = Scratch::on_tmpfs();
    scratch.write("a.img", 5000);
    scratch.write("b.img", 5000);
    set_mode(&scratch, "a.img", 0o444);
    set_mode(&scratch, "b.img", 0o444);
    let mut command = bound(&scratch, "a.img b.img");
    let message = scratch.refuse(&mut command);
    assert!(message.contains("DST b.img: ") && message.contains("Permission denied"), "{message}");
}

#[test]
fn an_extended_destination_that_may_not_be_read_shrinks_back() {
    let scratch = Scratch::on_tmpfs();
    scratch.write("a.img", 5000);
    scratch.write("b.img", 1000);
    set_mode(&scratch, "a.img", 0o444);
    // It can be extended, and then it cannot be opened for reading and writing.
    set_mode(&scratch, "b.img", 0o222);
    let mut command = bound(&scratch, "a.img b.img --extend");
    let message = scratch.refuse(&mut command);
    assert!(message.contains("DST b.img: ") && message.contains("Permission denied"), "{message}");
}

#[test]
fn too_little_locked_memory_is_refused_with_the_need_and_the_limit() {
    let scratch = Scratch::on_disk();
    scratch.write("a.img", 5000);
    set_mode(&scratch, "a.img", 0o644);
    let copy = bound(&scratch, "a.img b.img");
    let mut limited = Command::new("sh");
    limited.args(["-c", "ulimit -l 64 && exec \"$0\" \"$@\""]);
    limited.arg(copy.get_program()).args(copy.get_args()).current_dir(scratch.path());
    if copy.get_program() != scratch.copy("").get_program() {
        limited.uid(NOBODY).gid(NOBODY);
    }
    let message = scratch.refuse(&mut limited);
    for part in ["locked memory", "65536 bytes", "RLIMIT_MEMLOCK", "ulimit -l"] {
        assert!(message.contains(part), "{part:?} is not in {message}");
    }
}
