//! The server on its sockets, and the program.

use std::{
    io::{BufRead, BufReader, Read, Write},
    os::{fd::AsFd, unix::net::UnixStream},
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    thread,
};

use dmaring_emulated::server::{Server, ServerError, ServerOptions};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tempfile::TempDir;

use crate::{proxy::Qemu, rig::*, tables::*};

const RING: u64 = 0x20_0000;

/// Sockets of two functions.
pub(crate) struct Place {
    pub(crate) directory: TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self { directory: TempDir::new().unwrap() }
    }

    pub(crate) fn at(&self, name: &str) -> String {
        self.directory.path().join(name).to_str().unwrap().to_owned()
    }

    fn specs(&self) -> [String; 2] {
        [
            format!("slot=05.0,socket={}", self.at("f0")),
            format!("slot=05.1,socket={},preset=icx", self.at("f1")),
        ]
    }

    pub(crate) fn options(&self) -> ServerOptions {
        ServerOptions {
            functions: self.specs().iter().map(|spec| spec.parse().unwrap()).collect(),
            qtest: self.at("qtest").into(),
            control: self.at("control").into(),
        }
    }

    pub(crate) fn function(&self, number: u8) -> Qemu {
        Qemu(UnixStream::connect(self.at(&format!("f{number}"))).unwrap())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.directory.path().read_dir().unwrap().next().is_none()
    }
}

/// QEMU's qtest, until the other end is closed.
pub(crate) fn play_qtest(stream: &UnixStream, chipset: &FakeChipset) {
    use dmaring_emulated::guest::Chipset;
    for line in BufReader::new(stream).lines().map_while(Result::ok) {
        let words: Vec<_> = line.split(' ').collect();
        let number =
            |text: &str| u64::from_str_radix(text.strip_prefix("0x").unwrap(), 16).unwrap();
        let answer = match words.as_slice() {
            ["readl", at] => format!("OK {:#018x}\n", chipset.read32(number(at)).unwrap()),
            ["readq", at] => format!("OK {:#018x}\n", chipset.read64(number(at)).unwrap()),
            ["writel", at, value] => {
                chipset.write32(number(at), number(value) as u32).unwrap();
                "OK\n".to_owned()
            }
            _ => panic!("{line}"),
        };
        if (&*stream).write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

/// A line to the control socket and its answer.
pub(crate) fn ask(control: &UnixStream, line: &str) -> String {
    (&*control).write_all(format!("{line}\n").as_bytes()).unwrap();
    let mut answer = String::new();
    BufReader::new(control).read_line(&mut answer).unwrap();
    answer.trim_end().to_owned()
}

#[test]
fn a_machine_copies_is_interrupted_and_goes() {
    let place = Place::new();
    let server = Server::bind(&place.options()).unwrap();
    let (ram, chipset) = (Ram::new(16 << 20), FakeChipset::new());
    chipset.translate(ROOT);
    let mut tables = Tables::new(&ram);
    let top = (tables.domain(0x29, 4), 4);
    tables.map(top, 0x7f00_0000_1000, RING, 1);
    ram.descriptor(RING, [64, 0x09, 0x7f00_0000_1400, 0x7f00_0000_1800, 0]);
    ram.write(RING + 0x400, &pattern(64));

    thread::scope(|scope| {
        let served = scope.spawn(|| server.run());
        let qtest = UnixStream::connect(place.at("qtest")).unwrap();
        let (peer, registers) = (qtest.try_clone().unwrap(), Arc::clone(&chipset));
        scope.spawn(move || play_qtest(&peer, &registers));
        let (first, mut second) = (place.function(0), place.function(1));
        let file = ram.file();
        second.sync(&[(0, 16 << 20, 0, file.as_fd())]);
        second.config_write(0x10, BAR as u32, 4);
        second.config_write(0x04, 0x6, 2);
        // Two functions in a slot say so.
        assert_eq!(second.config_read(0x0e, 1), 0x80);
        assert_eq!(second.config_read(0x02, 2), 0x0b00);
        second.bar_write(BAR + 0x2000, 0xfee0_1000, 8);
        second.bar_write(BAR + 0x2008, 0x31, 8);
        second.config_write(0x82, 0x8000, 2);
        second.bar_write(BAR + 0x03, 0x01, 1);
        second.bar_write(BAR + 0x80, 0x0d, 2);
        second.bar_write(BAR + 0x98, 0x7f00_0000_1c00, 8);
        second.bar_write(BAR + 0x90, 0x7f00_0000_1000, 8);
        second.bar_write(BAR + 0x86, 1, 2);
        while chipset.written().is_empty() {
            thread::yield_now();
        }
        assert_eq!(chipset.written(), [(0xfee0_1000, 0x31)]);
        assert_eq!(ram.read(RING + 0x800, 64), pattern(64));
        assert_eq!(ram.word(RING + 0xc00), 0x7f00_0000_1000 | IDLE);

        // One function goes and is plugged in again: as power leaves it, and with no memory.
        drop(second);
        let mut again = place.function(1);
        assert_eq!(again.config_read(0x04, 2), 0);
        again.config_write(0x10, BAR as u32, 4);
        again.config_write(0x04, 0x6, 2);
        again.bar_write(BAR + 0x98, 0x7f00_0000_1c00, 8);
        again.bar_write(BAR + 0x90, 0x7f00_0000_1000, 8);
        again.bar_write(BAR + 0x86, 1, 2);
        while again.bar_read(BAR + 0x88, 8) & 7 == ACTIVE {
            thread::yield_now();
        }
        assert_eq!(again.bar_read(BAR + 0x88, 8) & 7, HALTED);
        drop((first, again));
        served.join().unwrap().unwrap();
        qtest.shutdown(std::net::Shutdown::Both).unwrap();
    });
    assert!(place.is_empty());
}

#[test]
fn a_message_that_is_none_ends_its_connection_alone_and_is_told_at_the_end() {
    let place = Place::new();
    let server = Server::bind(&place.options()).unwrap();
    let served = thread::spawn(move || server.run());
    let (mut good, mut bad) = (place.function(0), place.function(1));
    assert_eq!(good.config_read(0, 2), 0x8086);
    bad.send(99, &[], &[]);
    assert_eq!(bad.0.read(&mut [0; 1]).unwrap(), 0);
    assert_eq!(good.config_read(0, 2), 0x8086);
    drop(good);
    let end = served.join().unwrap();
    assert!(matches!(&end, Err(ServerError::Connection { slot: at, .. }) if *at == slot("05.1")));
    assert!(place.is_empty());
}

#[test]
fn one_that_goes_leaves_another_served_that_has_only_just_connected() {
    for _ in 0..200 {
        let place = Place::new();
        let server = Server::bind(&place.options()).unwrap();
        // Whichever thread comes first: both are connected before there is any.
        let (first, mut second) = (place.function(0), place.function(1));
        drop(first);
        let served = thread::spawn(move || server.run());
        assert_eq!(second.config_read(0, 2), 0x8086);
        drop(second);
        served.join().unwrap().unwrap();
    }
}

#[test]
fn a_qtest_that_goes_alone_ends_the_server_with_an_error() {
    let place = Place::new();
    let server = Server::bind(&place.options()).unwrap();
    let served = thread::spawn(move || server.run());
    drop(UnixStream::connect(place.at("qtest")).unwrap());
    let mut qemu = place.function(0);
    qemu.config_write(0x10, BAR as u32, 4);
    qemu.config_write(0x04, 0x6, 2);
    qemu.bar_write(BAR + 0x90, 0x1000, 8);
    qemu.bar_write(BAR + 0x86, 1, 2);
    let end = served.join().unwrap();
    assert!(matches!(end, Err(ServerError::Chipset(_))), "{end:?}");
    assert!(place.is_empty());
}

#[test]
fn a_stop_ends_it_with_everything_connected() {
    let place = Place::new();
    let server = Server::bind(&place.options()).unwrap();
    let stopper = server.stopper();
    let served = thread::spawn(move || server.run());
    let mut qemu = place.function(0);
    assert_eq!(qemu.config_read(0, 2), 0x8086);
    let control = UnixStream::connect(place.at("control")).unwrap();
    assert!(ask(&control, "help").starts_with("ok "));
    let _qtest = UnixStream::connect(place.at("qtest")).unwrap();
    stopper.stop();
    served.join().unwrap().unwrap();
    assert!(place.is_empty());
    stopper.stop();
}

#[test]
fn what_cannot_be_served_is_refused_and_leaves_no_socket() {
    let refused = |change: fn(&mut ServerOptions), message: &str| {
        let place = Place::new();
        let mut options = place.options();
        change(&mut options);
        let error = Server::bind(&options).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
        assert!(place.is_empty());
    };
    refused(|options| options.functions.clear(), "no function to serve");
    refused(|options| options.functions[1].slot = slot("05.0"), "two functions at 05.0");
    refused(|options| options.control = options.qtest.clone(), "the file must not; rm it");
    refused(|options| options.qtest = "/nowhere/at/all".into(), "its directory must be there");
    let too_many = |options: &mut ServerOptions| {
        options.functions[0].builder = builder().channels(40).channels_per_function(40);
    };
    refused(too_many, "no function at 05.0");
}

fn program(place: &Place) -> Command {
    let mut program = Command::new(env!("CARGO_BIN_EXE_dmaring-emulated"));
    for spec in place.specs() {
        program.args(["--function", &spec]);
    }
    program.args(["--qtest", &place.at("qtest"), "--control", &place.at("control")]);
    program.stdout(Stdio::piped()).stderr(Stdio::piped());
    program
}

#[test]
fn the_program_is_ready_when_every_socket_listens_and_leaves_none() {
    for by_signal in [false, true] {
        let place = Place::new();
        let mut child = program(&place).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        for name in ["f0", "f1", "qtest", "control"] {
            assert!(Path::new(&place.at(name)).exists(), "{name}");
        }
        let qemu = place.function(0);
        if by_signal {
            let child = Pid::from_raw(child.id().try_into().unwrap());
            kill(child, Signal::SIGTERM).unwrap();
        } else {
            drop(qemu);
        }
        assert!(child.wait().unwrap().success());
        assert!(place.is_empty());
    }
}

#[test]
fn the_program_says_in_one_line_why_it_does_not_start() {
    let place = Place::new();
    std::fs::write(place.at("qtest"), "").unwrap();
    let output = program(&place).output().unwrap();
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), message.lines().count()), (Some(1), 1), "{message}");
    assert!(message.starts_with("dmaring-emulated: no socket at "), "{message}");
    assert_eq!(output.stdout, b"");
}
