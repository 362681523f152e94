//! The control protocol: what goes wrong, and when, is said from outside.

use std::{
    io::{BufReader, Read, Write},
    os::{fd::AsFd, unix::net::UnixStream},
    sync::Arc,
    thread,
};

use dmaring_emulated::server::Server;

use crate::{
    proxy::Qemu,
    rig::*,
    server::{Place, ask, play_qtest},
};

const RING: u64 = 0x20_0000;

/// A served function with 63 copies of 8 bytes in its memory, from 4 MiB to 5 MiB, and a control client.
fn served(test: impl FnOnce(&Ram, &mut Qemu, &UnixStream)) {
    let place = Place::new();
    let server = Server::bind(&place.options()).unwrap();
    let (ram, chipset) = (Ram::new(16 << 20), FakeChipset::new());
    for at in 0..63 {
        let (from, to) = (0x40_0000 + 8 * at, 0x50_0000 + 8 * at);
        ram.descriptor(RING + 64 * at, [8, 0x08, from, to, RING + 64 * (at + 1)]);
        ram.set_word(from, at + 1);
    }
    thread::scope(|scope| {
        let running = scope.spawn(|| server.run());
        let qtest = UnixStream::connect(place.at("qtest")).unwrap();
        let (peer, registers) = (qtest.try_clone().unwrap(), Arc::clone(&chipset));
        scope.spawn(move || play_qtest(&peer, &registers));
        let control = UnixStream::connect(place.at("control")).unwrap();
        let mut qemu = place.function(0);
        let file = ram.file();
        qemu.sync(&[(0, 16 << 20, 0, file.as_fd())]);
        qemu.config_write(0x10, BAR as u32, 4);
        qemu.config_write(0x04, 0x6, 2);
        qemu.bar_write(BAR + 0x80, 0x0c, 2);
        qemu.bar_write(BAR + 0x98, RING + 0x1000, 8);
        qemu.bar_write(BAR + 0x90, RING, 8);
        test(&ram, &mut qemu, &control);
        drop((qemu, control));
        running.join().unwrap().unwrap();
        qtest.shutdown(std::net::Shutdown::Both).unwrap();
    });
}

fn becomes(qemu: &mut Qemu, state: u64) {
    while qemu.bar_read(BAR + 0x88, 8) & 7 != state {
        thread::yield_now();
    }
}

fn value(status: &str, name: &str) -> String {
    let mut pairs = status.split(' ').filter_map(|pair| pair.split_once('='));
    pairs.find(|(found, _)| *found == name).unwrap().1.to_owned()
}

#[test]
fn a_fault_plan_set_while_the_machine_runs_counts_from_there() {
    served(|ram, qemu, control| {
        qemu.bar_write(BAR + 0x86, 5, 2);
        becomes(qemu, IDLE);
        assert_eq!(ask(control, "fault-plan 05.0 nth=3:chanerr=8,nth=90:stall"), "ok");
        qemu.bar_write(BAR + 0x86, 20, 2);
        becomes(qemu, HALTED);
        assert_eq!(qemu.bar_read(BAR + 0xa8, 4), 1 << 8);
        assert_eq!((ram.word(0x50_0030), ram.word(0x50_0038)), (7, 0));
        let status = ask(control, "status 05.0");
        assert_eq!(
            (value(&status, "executed"), value(&status, "faults-fired")),
            ("8".into(), "1".into())
        );
        assert_eq!(
            (value(&status, "state"), value(&status, "bus-master")),
            ("halted".into(), "on".into())
        );

        // An empty plan ends it; the other function has none of it.
        assert_eq!(ask(control, "fault-plan 05.0"), "ok");
        assert_eq!(value(&ask(control, "status 05.0"), "faults-fired"), "0");
        assert_eq!(value(&ask(control, "status 05.1"), "executed"), "0");
    });
}

#[test]
fn a_paused_function_runs_by_steps_and_still_answers_and_resets() {
    served(|ram, qemu, control| {
        assert_eq!(ask(control, "pause 05.0"), "ok");
        qemu.bar_write(BAR + 0x86, 20, 2);
        assert_eq!(ask(control, "step 05.0 3"), "ok executed=3");
        let status = ask(control, "status 05.0");
        assert_eq!(
            (value(&status, "executed"), value(&status, "state")),
            ("3".into(), "active".into())
        );
        assert_eq!(value(&status, "paused"), "yes");
        assert!(status.ends_with(" paused=yes interrupts-dropped=0"), "{status}");
        assert_eq!((ram.word(0x50_0010), ram.word(0x50_0018)), (3, 0));
        qemu.bar_write(BAR + 0x84, 0x20, 1);
        becomes(qemu, HALTED);
        while qemu.bar_read(BAR + 0x84, 1) != 0 {}
        qemu.bar_write(BAR + 0x98, RING + 0x1000, 8);
        qemu.bar_write(BAR + 0x90, RING, 8);
        qemu.bar_write(BAR + 0x86, 2, 2);
        assert_eq!(ask(control, "step 05.0 100"), "ok executed=2");
        qemu.bar_write(BAR + 0x86, 10, 2);
        assert_eq!(ask(control, "resume 05.0"), "ok");
        becomes(qemu, IDLE);
        assert_eq!(value(&ask(control, "status 05.0"), "executed"), "13");
        assert!(ask(control, "step 05.0 1").starts_with("error: function 05.0 is not paused"));
    });
}

#[test]
fn faults_and_violations_are_listed() {
    served(|ram, qemu, control| {
        assert_eq!(ask(control, "violations 05.0"), "ok 0:");
        assert_eq!(ask(control, "iommu-faults 05.0"), "ok 0:");
        ram.descriptor(RING, [8, 0x08, 1 << 40, 0x50_0000, 0]);
        qemu.bar_write(BAR + 0x86, 1, 2);
        becomes(qemu, HALTED);
        qemu.bar_write(BAR + 0x86, 2, 2);
        assert_eq!(ask(control, "iommu-faults 05.0"), "ok 1: 0x10000000000/read/no memory there");
        assert_eq!(
            ask(control, "violations 05.0"),
            "ok 1: function 0, channel 0: CountWhileHalted"
        );
        let status = ask(control, "status 05.0");
        assert_eq!(
            (value(&status, "iommu-faults"), value(&status, "violations")),
            ("1".into(), "1".into())
        );
    });
}

#[test]
fn a_function_is_paused_where_it_was_said() {
    served(|ram, qemu, control| {
        assert_eq!(ask(control, "pause 05.0 5"), "ok");
        qemu.bar_write(BAR + 0x86, 20, 2);
        while value(&ask(control, "status 05.0"), "paused") == "no" {
            thread::yield_now();
        }
        let status = ask(control, "status 05.0");
        assert_eq!(
            (value(&status, "executed"), value(&status, "state")),
            ("5".into(), "active".into())
        );
        assert_eq!((ram.word(0x50_0020), ram.word(0x50_0028)), (5, 0));
        assert_eq!(ask(control, "step 05.0 1"), "ok executed=1");
        assert_eq!(ask(control, "resume 05.0"), "ok");
        becomes(qemu, IDLE);
        assert_eq!(value(&ask(control, "status 05.0"), "executed"), "20");
        assert_eq!(ask(control, "pause 05.0 0"), "ok");
        assert_eq!(value(&ask(control, "status 05.0"), "paused"), "yes");
        assert!(ask(control, "pause 05.0 soon").starts_with("error: `soon` is no number"));
    });
}

#[test]
fn a_function_that_is_unplugged_answers_with_ones() {
    served(|_, qemu, control| {
        assert_eq!(ask(control, "unplug 05.0"), "ok");
        assert_eq!(qemu.config_read(0, 4), 0xffff_ffff);
        assert_eq!(qemu.bar_read(BAR + 0x88, 8), u64::MAX);
        let status = ask(control, "status 05.0");
        assert_eq!(
            (value(&status, "state"), value(&status, "bus-master")),
            ("gone".into(), "on".into())
        );

        // Plugged in again it is as after a reset, where it was.
        assert_eq!(ask(control, "plug 05.0"), "ok");
        assert_eq!(qemu.config_read(0x10, 4), BAR);
        assert_eq!(qemu.bar_read(BAR + 0x88, 8), HALTED);
        assert_eq!(qemu.bar_read(BAR + 0x98, 8), 0);
        qemu.bar_write(BAR + 0x98, RING + 0x1000, 8);
        assert_eq!(ask(control, "plug 05.0"), "ok");
        assert_eq!(
            qemu.bar_read(BAR + 0x98, 8),
            RING + 0x1000,
            "a function that is there is left alone"
        );
    });
}

#[test]
fn what_is_no_command_is_refused_in_one_line() {
    served(|_, _, control| {
        let cases = [
            ("", "error: `` is no command: fault-plan SLOT PLAN"),
            ("explode 05.0", "error: `explode` is no command"),
            ("status", "error: `` is no slot: the form is DEVICE.FUNCTION"),
            ("status 1f.0", "error: no function at 1f.0: there are 05.0, 05.1"),
            ("status 05.0 now", "error: `now` is too much: the form is status SLOT"),
            ("step 05.0 many", "error: `many` is no number of descriptors"),
            ("fault-plan 05.0 nth=1", "error: `nth=1` does not say what happens"),
            ("\u{fffd}", "error: `\u{fffd}` is no command"),
        ];
        for (line, answer) in cases {
            let got = ask(control, line);
            assert!(got.starts_with(answer), "{line}: {got}");
        }
        let mut control = control;
        control.write_all(b"\xff\n").unwrap();
        let mut answers = BufReader::new(control);
        let mut answer = [0; 26];
        answers.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"error: a line is no UTF-8\n");
        // A line without end is not gathered for ever.
        control.write_all(&[b'x'; 65536]).unwrap();
        let mut rest = String::new();
        answers.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "error: a line is longer than 65536 bytes\n");
    });
}
