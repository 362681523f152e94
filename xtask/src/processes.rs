//! What the processes below one do, read from `/proc`: what is known of a program that hangs.

use std::{collections::BTreeMap, fs, path::Path};

/// How often the kernel counts a second of a thread's processor time, on every architecture that this runs on.
const TICKS: u64 = 100;
/// How many lines a report has at most.
const MOST: usize = 200;

/// The process and all that came from it and are not orphans, each before those below it.
pub(crate) fn tree(root: u32) -> Vec<u32> {
    let mut children = BTreeMap::<u32, Vec<u32>>::new();
    for process in numbers(Path::new("/proc")) {
        if let Some(stat) = Stat::read(Path::new(&format!("/proc/{process}/stat"))) {
            children.entry(stat.parent).or_default().push(process);
        }
    }
    let mut found = Vec::new();
    let mut next = vec![root];
    while let Some(process) = next.pop() {
        found.push(process);
        next.extend(children.remove(&process).into_iter().flatten().rev());
    }
    found
}

/// A line for each of these processes and below it one for each of its threads: its name, its state, where in the kernel
/// it waits, and how long it has run. The kernel cuts the name of a thread, which is its test's, to 15 bytes.
pub(crate) fn report(processes: &[u32]) -> Vec<String> {
    let mut lines: Vec<_> = processes.iter().flat_map(|process| describe(*process)).collect();
    let untold = lines.len().saturating_sub(MOST);
    if untold > 0 {
        lines.truncate(MOST);
        lines.push(format!("[{untold} more such lines]"));
    }
    lines
}

fn describe(process: u32) -> Vec<String> {
    let directory = format!("/proc/{process}");
    let Ok(words) = fs::read(format!("{directory}/cmdline")) else { return Vec::new() };
    let words = String::from_utf8_lossy(&words).replace('\0', " ");
    let mut lines = vec![format!("process {process}: {}", words.trim_end())];
    for number in numbers(Path::new(&format!("{directory}/task"))) {
        let thread = format!("{directory}/task/{number}");
        let Some(stat) = Stat::read(Path::new(&format!("{thread}/stat"))) else { continue };
        let place = fs::read_to_string(format!("{thread}/wchan")).unwrap_or_default();
        lines.push(format!("  thread {number} {}", stat.describe(&place)));
    }
    lines
}

/// The entries that are numbers, in order; none if the directory is gone.
fn numbers(directory: &Path) -> Vec<u32> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut numbers: Vec<u32> =
        entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    numbers.sort_unstable();
    numbers
}

/// What a `stat` file says of a process or a thread: proc(5).
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    name: String,
    state: char,
    parent: u32,
    ticks: u64,
}

impl Stat {
    fn read(path: &Path) -> Option<Self> {
        Self::parse(&String::from_utf8_lossy(&fs::read(path).ok()?))
    }

    /// The name may have spaces and parentheses of its own.
    fn parse(text: &str) -> Option<Self> {
        let (before, after) = text.rsplit_once(')')?;
        let (_, name) = before.split_once('(')?;
        let fields: Vec<_> = after.split_whitespace().collect();
        let ticks = |field: usize| fields.get(field)?.parse::<u64>().ok();
        Some(Self {
            name: name.to_owned(),
            state: fields.first()?.chars().next()?,
            parent: fields.get(1)?.parse().ok()?,
            ticks: ticks(11)? + ticks(12)?,
        })
    }

    fn describe(&self, place: &str) -> String {
        let (name, state) = (&self.name, self.state);
        // A thread that does not wait is nowhere, as is every one for a reader without the right to know.
        let place = match place.trim() {
            "" | "0" => String::new(),
            place => format!(" in {place}"),
        };
        let (seconds, hundredths) = (self.ticks / TICKS, self.ticks % TICKS);
        format!("{name}: {state}{place}, ran for {seconds}.{hundredths:02} s")
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        process::{Command, Stdio},
        sync::mpsc,
        thread,
    };

    use super::{MOST, Stat, report, tree};

    #[test]
    fn a_name_may_hold_anything() {
        let text = "12 (a) b (c) S 7 1 1 0 -1 4194560 1 2 3 4 250 55 0 0 20 0 1 0 9 9 9";
        let stat = Stat::parse(text).unwrap();
        assert_eq!(stat, Stat { name: "a) b (c".to_owned(), state: 'S', parent: 7, ticks: 305 });
        assert_eq!(
            stat.describe("futex_wait_queue"),
            "a) b (c: S in futex_wait_queue, ran for 3.05 s"
        );
        assert_eq!(stat.describe("0"), "a) b (c: S, ran for 3.05 s");
        for short in ["", "12", "12 (a", "12 (a) S", "12 (a) S 7 1 1"] {
            assert_eq!(Stat::parse(short), None, "{short}");
        }
    }

    #[test]
    fn a_thread_is_called_by_its_name_and_a_child_by_its_command() {
        let mut child = Command::new("sh")
            .args(["-c", "sh -c 'echo ready; read end; true'; true"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdout.take().unwrap().read_exact(&mut [0; 6]).unwrap();
        let (end, wait) = mpsc::channel::<()>();
        let (started, has_started) = mpsc::channel();
        let waiter = thread::Builder::new().name("a_test_that_hangs".to_owned());
        let waiter = waiter.spawn(move || (started.send(()), wait.recv())).unwrap();
        has_started.recv().unwrap();

        let processes = tree(child.id());
        assert_eq!(processes.len(), 2, "{processes:?}");
        assert_eq!(processes[0], child.id());
        let text = report(&processes).join("\n");
        assert!(text.contains("sh -c echo ready; read end"), "{text}");
        let own = report(&[std::process::id()]).join("\n");
        assert!(own.contains(" a_test_that_han: "), "{own}");

        drop(end);
        let _ = waiter.join();
        child.stdin.take().unwrap().write_all(b"\n").unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn a_report_has_an_end_and_a_process_that_is_gone_has_none() {
        let lines = report(&[std::process::id(); MOST]);
        assert_eq!(lines.len(), MOST + 1);
        assert!(lines[MOST].contains("more such lines"), "{}", lines[MOST]);
        assert!(report(&[u32::MAX]).is_empty());
    }
}
