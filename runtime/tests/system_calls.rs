//! An operation in steady state makes no system call, on any thread.
//!
//! The test runs itself again as a child process and traces all its threads. The child marks the beginning
//! and the end of what counts by a system call of its own that nothing else makes: `getpgid` of a process that
//! cannot exist.
#![cfg(all(not(loom), not(miri)))]

mod common;
mod steady;

use std::{
    collections::BTreeMap,
    env, fs,
    io::{self, BufRead, BufReader, Read, Write},
    process::{Child, Command, Stdio},
};

use dmaring::{Idle, Runtime};
use dmaring_cpu::CpuEngine;
use nix::{
    errno::Errno,
    libc::{SYS_getpgid, SYS_getppid, SYS_sched_yield},
    sys::{
        ptrace,
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::{Pid, getpgid, getppid},
};
use steady::{Steady, is_alone};

const NAME: &str = "operations_make_no_system_call";
const CHILD: &str = "DMARING_TRACED";
const READY: &str = "ready to be traced";
const OPERATIONS: u64 = 20_000;
/// What `getpgid` is asked for: beyond any process id.
const BEGIN: i32 = 0x7d6d_0001;
const END: i32 = 0x7d6d_0002;

/// System calls by number, and how often each was made.
type Calls = BTreeMap<i64, u64>;

#[test]
fn operations_make_no_system_call() {
    if env::var_os(CHILD).is_some() {
        return be_traced();
    }
    let mut child = start();
    let windows = match trace(&mut child) {
        Ok(windows) => windows,
        Err(errno) => {
            child.kill().unwrap();
            child.wait().unwrap();
            assert_ne!(env::var("CI").as_deref(), Ok("true"), "cannot trace: {errno}");
            let _ = writeln!(
                io::stderr(),
                "{NAME}: skipped, a process may not be traced here: {errno}"
            );
            return;
        }
    };
    let [steady, control]: [Calls; 2] = windows.try_into().expect("two windows");
    assert_eq!(steady, Calls::new(), "in {OPERATIONS} copies, in batches, and in others");
    // The control: one call per operation is found, and nothing else.
    assert_eq!(control, Calls::from([(SYS_getppid, 1000)]));
}

/// The child's part.
fn be_traced() {
    // A place for each at any time: the queue for places has a lock, for which one side may have to wait.
    let builder = Runtime::builder().engine(CpuEngine::new()).ring_entries(256);
    io::stdout().write_all(format!("\n{READY}\n").as_bytes()).unwrap();
    io::stdin().read_exact(&mut [0]).unwrap();

    let runtime = builder.idle(Idle::Spin).build().unwrap();
    let (src, dst) = (runtime.allocate(1 << 16).unwrap(), runtime.allocate(1 << 16).unwrap());
    let mut steady = Steady::new(src, dst);
    steady.run(1000, || ());
    steady.batches(&runtime, 32, || ());
    steady.others(&runtime, || ());
    steady.chains(1000);
    common::eventually("the housekeeper's sleep", || common::housekeepers() == ['S']);
    mark(BEGIN);
    steady.run(OPERATIONS, || ());
    for size in [16, 32] {
        steady.batches(&runtime, size, || ());
    }
    steady.others(&runtime, || ());
    steady.chains(1000);
    mark(END);

    let mut left = 1000;
    mark(BEGIN);
    steady.run(1000, || {
        if left > 0 {
            left -= 1;
            getppid();
        }
    });
    mark(END);
}

fn mark(what: i32) {
    assert_eq!(getpgid(Some(Pid::from_raw(what))), Err(Errno::ESRCH));
}

fn start() -> Child {
    Command::new(env::current_exe().unwrap())
        .args(["--exact", NAME, "--nocapture"])
        .env(CHILD, "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Traces the child to its end and gives the calls of each window.
fn trace(child: &mut Child) -> Result<Vec<Calls>, Errno> {
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap() == READY), "the child ended early");
    let process = Pid::from_raw(child.id() as i32);
    for task in fs::read_dir(format!("/proc/{process}/task")).unwrap() {
        let name = task.unwrap().file_name();
        let task = Pid::from_raw(name.to_str().unwrap().parse().unwrap());
        seize(task)?;
    }
    child.stdin.take().unwrap().write_all(&[1]).unwrap();
    let mut windows = Vec::new();
    let mut open = None;
    loop {
        let (task, signal) = match waitpid(None, Some(WaitPidFlag::__WALL)).unwrap() {
            WaitStatus::PtraceSyscall(task) => {
                if let Some((number, argument)) = entered(task) {
                    book((number, argument), &mut open, &mut windows);
                }
                (task, None)
            }
            WaitStatus::PtraceEvent(task, ..) => (task, None),
            WaitStatus::Stopped(task, signal) => (task, Some(signal)),
            WaitStatus::Exited(task, code) if task == process => {
                assert_eq!(code, 0, "the child failed");
                return Ok(windows);
            }
            WaitStatus::Signaled(task, signal, _) if task == process => {
                panic!("the child died of {signal}")
            }
            _ => continue,
        };
        match ptrace::syscall(task, signal) {
            // The thread was killed meanwhile, by the end of the process.
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(errno) => panic!("cannot continue {task}: {errno}"),
        }
    }
}

/// Traces a thread, and those that it will start, from call to call.
fn seize(task: Pid) -> Result<(), Errno> {
    let options = ptrace::Options::PTRACE_O_TRACECLONE
        | ptrace::Options::PTRACE_O_TRACESYSGOOD
        | ptrace::Options::PTRACE_O_EXITKILL;
    ptrace::seize(task, options)?;
    ptrace::interrupt(task)?;
    waitpid(task, Some(WaitPidFlag::__WALL))?;
    ptrace::syscall(task, None)
}

/// The number and first argument of the call that a stopped thread enters; `None` where it leaves one.
fn entered(task: Pid) -> Option<(i64, u64)> {
    let registers = ptrace::getregs(task).ok()?;
    // What the kernel leaves in the result's register until the call has one.
    let entering = registers.rax.cast_signed() == -(Errno::ENOSYS as i64);
    entering.then(|| (registers.orig_rax.cast_signed(), registers.rdi))
}

fn book((number, argument): (i64, u64), open: &mut Option<Calls>, windows: &mut Vec<Calls>) {
    if number == SYS_getpgid && argument == BEGIN as u64 {
        *open = Some(Calls::new());
    } else if number == SYS_getpgid && argument == END as u64 {
        windows.extend(open.take());
    } else if let Some(calls) = open
        && !(number == SYS_sched_yield && is_alone())
    {
        *calls.entry(number).or_default() += 1;
    }
}
