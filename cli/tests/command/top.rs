//! `dmaring top`, on runtimes of this process and of another.

use std::{
    env,
    io::{self, BufRead, BufReader, Read, Write},
    process::{self, Child, Command, Stdio},
};

use dmaring::{Region, Runtime};
use dmaring_cpu::CpuEngine;
use dmaring_manual::ManualEngine;
use futures::executor::block_on;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;

use crate::scratch::{Scratch, error_line, succeed};

const CHILD: &str = "DMARING_OBSERVED";
const READY: &str = "ready to be observed";

fn top(line: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dmaring"));
    command.arg("top").args(line.split_whitespace());
    command
}

/// The one runtime of this process with an engine of this name, as one reading has it.
fn observed(engine: &str) -> Value {
    let text = succeed(&mut top(&format!("--count 1 --json {}", process::id())));
    let reading: Value = serde_json::from_str(&text).unwrap();
    let runtimes = reading["runtimes"].as_array().unwrap();
    let mut named =
        runtimes.iter().filter(|runtime| runtime["totals"]["engines"][0]["name"] == engine);
    let runtime = named.next().unwrap().clone();
    assert_eq!((named.next(), &runtime["pid"]), (None, &process::id().into()));
    runtime
}

fn regions(runtime: &Runtime) -> (Region, Region) {
    (runtime.allocate(1 << 20).unwrap(), runtime.allocate(1 << 20).unwrap())
}

#[test]
fn it_shows_what_the_runtime_says_of_itself() {
    let (engine, control) = ManualEngine::builder().name("observed").build();
    let runtime = Runtime::builder().engine(engine).build().unwrap();
    let (source, destination) = regions(&runtime);
    control.set_auto(true);
    for _ in 0..100 {
        block_on(source.copy_to(0, &destination, 0, 4096)).unwrap();
    }
    control.set_auto(false);
    let held: Vec<_> = (0..3).map(|_| source.copy_to(0, &destination, 0, 64).submit()).collect();
    // The counters are read one after the other: each is waited for.
    let stats = loop {
        let stats = runtime.stats();
        if (stats.submitted, stats.in_flight, stats.engines[0].in_flight) == (103, 3, 3) {
            break stats;
        }
        std::thread::yield_now();
    };
    let shown = observed("observed");
    let totals = &shown["totals"];
    assert_eq!((&shown["live"], &shown["rates"]), (&true.into(), &Value::Null));
    for (name, value) in [
        ("submitted", stats.submitted),
        ("completed", stats.completed),
        ("failed", 0),
        ("timed_out", 0),
        ("retried", 0),
        ("bytes", stats.bytes),
        ("in_flight", 3),
        ("violations", 0),
    ] {
        assert_eq!(totals[name], value, "{name}");
    }
    assert_eq!((stats.submitted, stats.completed, stats.bytes), (103, 100, 409_600));
    let engine = &totals["engines"][0];
    for (name, value) in [
        ("transfers", stats.engines[0].transfers),
        ("bytes", 409_600),
        ("in_flight", 3),
        ("errors", 0),
        ("resets", 0),
        ("retirements", 0),
    ] {
        assert_eq!(engine[name], value, "{name}");
    }
    assert_eq!(engine["state"], "running");
    for (latency, own) in
        [(&totals["latency"], &stats.latency), (&engine["latency"], &stats.engines[0].latency)]
    {
        assert_eq!(latency["operations"], own.count());
        assert!(own.count() > 60, "the first 64 are measured each");
        for (name, time) in [
            ("p50_ns", own.percentile(50.0)),
            ("p90_ns", own.percentile(90.0)),
            ("p99_ns", own.percentile(99.0)),
            ("p99_9_ns", own.percentile(99.9)),
            ("max_ns", own.max()),
        ] {
            assert_eq!(latency[name], u64::try_from(time.unwrap().as_nanos()).unwrap(), "{name}");
        }
    }
    control.set_auto(true);
    for copy in held {
        block_on(copy).unwrap();
    }
}

#[test]
fn people_get_a_table_for_each_reading() {
    let (engine, _control) = ManualEngine::builder().name("tabled").build();
    let _runtime = Runtime::builder().engine(engine).build().unwrap();
    let text = succeed(&mut top(&format!("--count 2 --interval 10ms {}", process::id())));
    let rows = text.lines().filter(|line| line.trim_start().starts_with("tabled"));
    assert_eq!(rows.count(), 4, "{text}");
    for part in ["since start", "last 0.0 s", "p99.9", "timed out", "running"] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn each_reading_is_a_line_with_rates_from_the_second_on() {
    let (engine, _control) = ManualEngine::builder().name("lines").build();
    let _runtime = Runtime::builder().engine(engine).build().unwrap();
    let line = format!("--count 3 --interval 10ms --json {}", process::id());
    let text = succeed(&mut top(&line));
    let readings: Vec<Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(readings.len(), 3);
    for (number, reading) in readings.iter().enumerate() {
        let runtimes = reading["runtimes"].as_array().unwrap();
        let runtime = runtimes.iter().find(|r| r["totals"]["engines"][0]["name"] == "lines");
        let rates = &runtime.unwrap()["rates"];
        assert_eq!(rates.is_null(), number == 0);
        if number > 0 {
            assert!(rates["seconds"].as_f64().unwrap() >= 0.01);
            assert_eq!(rates["operations_per_second"], 0.0);
        }
    }
}

#[test]
fn it_ends_with_the_process_and_says_so() {
    if env::var_os(CHILD).is_some() {
        return be_observed();
    }
    let mut child = observed_child("it_ends_with_the_process_and_says_so");
    let pid = child.id();
    let mut top = Running::start(&format!("--interval 10ms {pid}"));
    top.wait_for("running");
    drop(child.stdin.take());
    let last = top.wait_for("has ended");
    assert!(
        [format!("the runtime of process {pid} has ended"), format!("the process {pid} has ended")]
            .contains(&last),
        "{last}"
    );
    assert_eq!(top.process.wait().unwrap().code(), Some(0));
    assert!(child.wait().unwrap().success());
    let line = error_line(&self::top(&pid.to_string()).output().unwrap(), 2, "");
    assert!(line.contains(&format!("there is no process {pid}")), "{line}");
}

#[test]
fn it_shows_every_process_and_ends_cleanly_when_interrupted() {
    if env::var_os(CHILD).is_some() {
        return be_observed();
    }
    let mut child = observed_child("it_shows_every_process_and_ends_cleanly_when_interrupted");
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let mut top = Running::start("--interval 3600s");
        top.wait_for(&format!("process {} ", child.id()));
        kill(Pid::from_raw(top.process.id().cast_signed()), signal).unwrap();
        assert_eq!(top.process.wait().unwrap().code(), Some(0), "{signal}");
    }
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_reader_that_has_left_ends_it() {
    let (engine, _control) = ManualEngine::builder().name("unread").build();
    let _runtime = Runtime::builder().engine(engine).build().unwrap();
    let mut top = Running::start(&format!("--interval 10ms {}", process::id()));
    top.wait_for("running");
    drop(top.lines);
    assert_eq!(top.process.wait().unwrap().code(), Some(0));
}

#[test]
fn what_cannot_be_shown_is_refused() {
    let scratch = Scratch::on_disk();
    let mut other = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
    let line = scratch.refuse(&mut top(&other.id().to_string()));
    assert!(line.contains("has no dmaring runtime"), "{line}");
    drop(other.stdin.take());
    other.wait().unwrap();
    for (arguments, part) in [
        ("1073741824", "there is no process 1073741824"),
        ("--interval 1ms", "use a time from 10ms to 3600s"),
        ("--interval soon", "such as 1s, 0.5s or 250ms"),
        ("--count 0", "0"),
        ("somebody", "somebody"),
    ] {
        let line = scratch.refuse(&mut top(arguments));
        assert!(line.contains(part), "{line}");
    }
}

/// `dmaring top` while it runs.
struct Running {
    process: Child,
    lines: io::Lines<BufReader<process::ChildStdout>>,
}

impl Running {
    fn start(line: &str) -> Self {
        let mut process = top(line).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        Self { process, lines }
    }

    /// Reads on to the line that holds this.
    fn wait_for(&mut self, part: &str) -> String {
        let line = self.lines.find(|line| line.as_ref().is_ok_and(|line| line.contains(part)));
        line.unwrap_or_else(|| panic!("it ended without {part:?}")).unwrap()
    }
}

/// This test's process once more, with a runtime until its input is closed.
fn observed_child(test: &str) -> Child {
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["--exact", &format!("top::{test}"), "--nocapture"])
        .env(CHILD, "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.as_mut().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap() == READY), "the child ended early");
    child
}

fn be_observed() {
    let runtime = Runtime::builder().engine(CpuEngine::new()).build().unwrap();
    io::stdout().write_all(format!("\n{READY}\n").as_bytes()).unwrap();
    io::stdin().read_to_end(&mut Vec::new()).unwrap();
    drop(runtime);
}
