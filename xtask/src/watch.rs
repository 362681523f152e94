//! A program that is watched: its output comes line by line, and when its time is over it is described and ended.
//!
//! Two threads read the output and wait for the end, and tell one channel of both: the end is known when the program has
//! ended and its output too. A program that it left behind may hold the output open for ever: that is waited for only
//! a while. When the time is over, what the processes below it do is told in lines of the output, then they are asked to
//! end, and after a while they are killed. They are found by their parents and by the process group, which is the
//! program's own: a program below it that has a group of its own is found by its parent.

use std::{
    io::{self, BufRead, BufReader, PipeReader},
    os::unix::process::CommandExt,
    process::{Command, ExitStatus, Stdio},
    sync::mpsc::{self, Receiver, SyncSender},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::{account::STOPPED, processes};

/// How long programs that were asked to end may take, and an output whose program has ended.
const GRACE: Duration = Duration::from_secs(if cfg!(test) { 2 } else { 10 });
/// How many lines a program may be ahead of its watcher.
const BACKLOG: usize = 1000;

/// How a program ended.
#[derive(Debug)]
pub(crate) enum End {
    /// By itself.
    Itself(ExitStatus),
    /// Its time was over.
    Stopped,
}

/// What of a program's output the watcher reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reads {
    /// Both its streams, as one.
    Output,
    /// Nothing: it goes where the watcher's own goes.
    Nothing,
}

/// Runs the program to its end, or for so long; `line` is called for each line of its output and of a report.
pub(crate) fn watch(
    command: Command,
    reads: Reads,
    limit: Option<Duration>,
    line: &mut dyn FnMut(&str),
) -> io::Result<End> {
    let mut watched = Watched::start(command, reads, limit.is_some())?;
    let deadline = limit.map(|limit| Instant::now() + limit);
    if let Some(status) = watched.until(deadline, line)? {
        watched.drain(line)?;
        return Ok(End::Itself(status));
    }
    let seconds = limit.unwrap_or_default().as_secs();
    line(&format!("{STOPPED}the time of {seconds} s is over; what runs:"));
    watched.stop(line)?;
    Ok(End::Stopped)
}

#[derive(Debug)]
enum Event {
    Line(String),
    Closed,
    Ended(io::Result<ExitStatus>),
}

struct Watched {
    process: u32,
    events: Receiver<Event>,
    status: Option<ExitStatus>,
    open: bool,
}

impl Watched {
    /// Starts the program; in a group of its own if it may be stopped.
    fn start(mut command: Command, reads: Reads, group: bool) -> io::Result<Self> {
        let (sender, events) = mpsc::sync_channel(BACKLOG);
        if group {
            command.process_group(0).stdin(Stdio::null());
        }
        let output = match reads {
            Reads::Nothing => None,
            Reads::Output => {
                let (reader, writer) = io::pipe()?;
                command.stdout(writer.try_clone()?).stderr(writer);
                Some(reader)
            }
        };
        let mut child = command.spawn()?;
        // With it go our copies of the pipe's writing end.
        drop(command);
        let (process, open) = (child.id(), output.is_some());
        if let Some(output) = output {
            let sender = sender.clone();
            thread::spawn(move || read(output, &sender));
        }
        thread::spawn(move || sender.send(Event::Ended(child.wait())));
        Ok(Self { process, events, status: None, open })
    }

    /// Hands on lines until the program has ended, or until then.
    fn until(
        &mut self,
        deadline: Option<Instant>,
        line: &mut dyn FnMut(&str),
    ) -> io::Result<Option<ExitStatus>> {
        while self.status.is_none() && self.next(deadline, line)? {}
        Ok(self.status)
    }

    /// Tells what the processes do and ends them.
    fn stop(&mut self, line: &mut dyn FnMut(&str)) -> io::Result<()> {
        let below = processes::tree(self.process);
        processes::report(&below).iter().for_each(|text| line(&format!("{STOPPED}{text}")));
        signal(self.process, &below, Signal::TERM);
        self.until(Some(Instant::now() + GRACE), line)?;
        // One that did not end may have been left by its parent meanwhile.
        signal(self.process, &processes::tree(self.process), Signal::KILL);
        signal(self.process, &below, Signal::KILL);
        self.until(Some(Instant::now() + GRACE), line)?;
        self.drain(line)
    }

    /// Hands on what is left of the output.
    fn drain(&mut self, line: &mut dyn FnMut(&str)) -> io::Result<()> {
        let deadline = Some(Instant::now() + GRACE);
        while self.open && self.next(deadline, line)? {}
        Ok(())
    }

    /// Takes one event; false if there is none until the deadline, which a flood of lines does not put off.
    fn next(&mut self, deadline: Option<Instant>, line: &mut dyn FnMut(&str)) -> io::Result<bool> {
        let event = match deadline {
            None => self.events.recv().ok(),
            Some(deadline) => {
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() { None } else { self.events.recv_timeout(left).ok() }
            }
        };
        match event {
            None => return Ok(false),
            Some(Event::Line(text)) => line(&text),
            Some(Event::Closed) => self.open = false,
            Some(Event::Ended(status)) => self.status = Some(status?),
        }
        Ok(true)
    }
}

fn read(output: PipeReader, sender: &SyncSender<Event>) {
    for line in BufReader::new(output).split(b'\n') {
        let Ok(line) = line else { break };
        if sender.send(Event::Line(String::from_utf8_lossy(&line).into_owned())).is_err() {
            return;
        }
    }
    // Nobody waits for it any more if this fails.
    let _ = sender.send(Event::Closed);
}

/// Sends a signal to the process's group and to each of these; one that is gone does not need it.
fn signal(process: u32, below: &[u32], signal: Signal) {
    let pid = |process: u32| i32::try_from(process).ok().and_then(Pid::from_raw);
    if let Some(group) = pid(process) {
        let _ = kill_process_group(group, signal);
    }
    for pid in below.iter().filter_map(|process| pid(*process)) {
        let _ = kill_process(pid, signal);
    }
}

#[cfg(test)]
mod tests {
    use std::{process::Command, time::Duration};

    use super::{End, Reads, Watched, watch};

    fn run(script: &str, limit: Option<Duration>) -> (End, Vec<String>) {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        let mut lines = Vec::new();
        let mut line = |line: &str| lines.push(line.to_owned());
        let end = watch(command, Reads::Output, limit, &mut line).unwrap();
        (end, lines)
    }

    #[test]
    fn both_streams_are_read_in_their_order_and_the_status_is_the_programs() {
        let (end, lines) = run("echo one; echo two >&2; printf three; exit 7", None);
        assert!(matches!(end, End::Itself(status) if status.code() == Some(7)), "{end:?}");
        assert_eq!(lines, ["one", "two", "three"]);
    }

    #[test]
    fn what_hangs_is_described_and_ended_with_all_below_it() {
        // The inner one has a group of its own, and does not end when it is asked to.
        let script = "setsid sh -c 'trap \"\" TERM; echo ready; exec tail -f /dev/null'; true";
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        let mut watched = Watched::start(command, Reads::Output, true).unwrap();
        let mut lines = Vec::new();
        while lines.is_empty() {
            assert!(watched.next(None, &mut |line| lines.push(line.to_owned())).unwrap());
        }
        assert_eq!(lines, ["ready"]);

        watched.stop(&mut |line| lines.push(line.to_owned())).unwrap();
        let processes = lines.iter().filter(|line| line.starts_with("stopped: process "));
        assert_eq!(processes.count(), 2, "{lines:?}");
        assert!(lines.iter().any(|line| line.contains("tail -f /dev/null")), "{lines:?}");
        assert!(watched.status.is_some_and(|status| !status.success()));
        // Each of them held the output open.
        assert!(!watched.open);
    }

    #[test]
    fn a_flood_of_lines_does_not_put_off_the_end() {
        let (end, lines) = run("exec yes", Some(Duration::from_millis(200)));
        assert!(matches!(end, End::Stopped), "{end:?}");
        assert!(lines.iter().any(|line| line.starts_with("stopped: process ")));
    }

    #[test]
    fn a_program_that_cannot_start_is_an_error() {
        let command = Command::new("no-such-program");
        assert!(watch(command, Reads::Nothing, None, &mut |_| ()).is_err());
    }
}
