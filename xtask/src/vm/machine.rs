//! A running machine: takes commands, and is gone when dropped.
//!
//! Every wait has a limit. A machine that panics reboots, which QEMU is told to take for the end; its ports close, and
//! whoever waits is told with the last lines of the console. One who waits for a command that takes too long has it
//! killed in the machine; where even that has no answer, the machine is taken for lost.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    os::unix::net::UnixStream,
    path::PathBuf,
    sync::mpsc::{Receiver, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use super::{
    model::Model,
    port::{self, Console, Output, Piece},
    process::Process,
};
use crate::failure::{Failure, Outcome};

/// How long a boot may take.
const BOOT: Duration = Duration::from_secs(120);
/// How long the end of a killed command may take.
const GRACE: Duration = Duration::from_secs(20);
/// A longer line could outrun the port, which has no flow control.
const LONGEST_COMMAND: usize = 2000;
/// A day.
const LONGEST_SHELL: Duration = Duration::from_secs(24 * 60 * 60);
/// What a terminal takes for the end of the input.
const END_OF_TRANSMISSION: u8 = 4;
/// QEMU's warning that an access was lost: nothing that the machine did since means anything.
const VOID: &str = "Blocked re-entrant IO";

/// What a machine is put together from.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) qemu: Process,
    pub(super) model: Option<Model>,
    /// Console, output, control.
    pub(super) ports: [UnixStream; 3],
    pub(super) dimms: Vec<File>,
    pub(super) peer: File,
    /// Their names.
    pub(super) paths: Vec<PathBuf>,
    pub(super) directory: TempDir,
    /// Where the console goes.
    pub(super) log: PathBuf,
    pub(super) begin: Instant,
}

/// Why a machine did not come up.
#[derive(Debug)]
pub(super) struct Unbooted {
    pub(super) failure: Failure,
    /// Whether QEMU itself crashed.
    pub(super) crashed: bool,
}

impl From<Failure> for Unbooted {
    fn from(failure: Failure) -> Self {
        Self { failure, crashed: false }
    }
}

/// A running machine.
#[derive(Debug)]
pub(crate) struct Machine {
    // In the order of their end: QEMU before the model that it talks to, the files last.
    qemu: Process,
    model: Option<Model>,
    console: Console,
    output: Receiver<Vec<u8>>,
    parser: Output,
    input: UnixStream,
    control: UnixStream,
    last: u32,
    dimms: Vec<File>,
    peer: File,
    boot: Duration,
    _directory: TempDir,
}

/// What a command came to.
#[derive(Debug, Clone)]
pub(crate) struct Finished {
    pub(crate) code: i32,
    pub(crate) text: String,
}

impl Machine {
    /// A machine of these parts that has just been started; returns when it takes commands.
    pub(super) fn wait_for(parts: Parts) -> Result<Self, Unbooted> {
        let Parts { qemu, model, ports, dimms, peer, paths, directory, log, begin } = parts;
        let [console, output, control] = ports;
        let input = output.try_clone().map_err(Failure::of("cannot share the output port"))?;
        let mut machine = Self {
            qemu,
            model,
            console: Console::read(console, log)?,
            output: port::chunks(output),
            parser: Output::default(),
            input,
            control,
            last: 0,
            dimms,
            peer,
            boot: Duration::ZERO,
            _directory: directory,
        };
        // The init's own marker has number 0.
        match machine.wait(0, Instant::now() + BOOT, &mut |_| ()) {
            Ok(Some(_)) => {
                // Without names they are gone with the machine, even where the task is killed.
                for path in &paths {
                    let removed = fs::remove_file(path);
                    removed.map_err(Failure::of(format!("cannot remove {}", path.display())))?;
                }
                machine.boot = begin.elapsed();
                Ok(machine)
            }
            Ok(None) => {
                let limit = BOOT.as_secs();
                Err(machine.lost(&format!("the machine was not up within {limit} s")).into())
            }
            Err(failure) => Err(Unbooted { failure, crashed: machine.qemu.crashed() }),
        }
    }

    /// Stops the machine dead, in the midst of whatever it does, and returns the files of its NVDIMMs.
    pub(super) fn stop_dead(mut self) -> Vec<File> {
        self.qemu.end();
        std::mem::take(&mut self.dimms)
    }

    /// How long the boot took.
    pub(crate) fn boot_time(&self) -> Duration {
        self.boot
    }

    /// Runs a shell command and returns what it wrote and its exit code, passing on its output as it comes.
    ///
    /// # Errors
    ///
    /// A command that takes longer than `limit` is killed; a machine that ends or has lost accesses is told.
    pub(crate) fn run_showing(
        &mut self,
        command: &str,
        limit: Duration,
        show: &mut dyn FnMut(&[u8]),
    ) -> Outcome<Finished> {
        if command.contains('\n') || command.len() > LONGEST_COMMAND {
            let length = command.len();
            return Err(Failure::new(format!(
                "a command for the machine is one line of at most {LONGEST_COMMAND} bytes, not {length}"
            )));
        }
        self.last += 1;
        let id = self.last;
        let mut text = Vec::new();
        let mut keep = |bytes: &[u8]| {
            show(bytes);
            text.extend_from_slice(bytes);
        };
        self.send(&format!("run {id} {command}"))?;
        let code = self
            .wait(id, Instant::now() + limit, &mut keep)
            .map_err(Failure::of(format!("while running `{command}`")))?;
        let Some(code) = code else {
            let seconds = limit.as_secs();
            self.stop(id)?;
            if self.wait(id, Instant::now() + GRACE, &mut |_| ())?.is_none() {
                return Err(self.lost(&format!(
                    "`{command}` took longer than {seconds} s and could not be stopped"
                )));
            }
            let text = String::from_utf8_lossy(&text);
            return Err(Failure::new(format!("`{command}` was stopped after {seconds} s\n{text}")));
        };
        self.check_accesses()?;
        Ok(Finished { code, text: String::from_utf8_lossy(&text).into_owned() })
    }

    /// Runs an interactive shell whose input comes from `keyboard`, passing on what it prints.
    ///
    /// Ends when the shell does, which need not be when the keyboard does.
    pub(crate) fn shell(
        &mut self,
        mut keyboard: impl Read + Send + 'static,
        show: &mut dyn FnMut(&[u8]),
    ) -> Outcome<i32> {
        self.last += 1;
        let id = self.last;
        self.send(&format!("shell {id}"))?;
        let mut input =
            self.input.try_clone().map_err(Failure::of("cannot share the output port"))?;
        thread::spawn(move || {
            let copied = io::copy(&mut keyboard, &mut input);
            // The end of what is typed is the end of the shell, as on a terminal.
            copied.and_then(|_| input.write_all(&[END_OF_TRANSMISSION]))
        });
        let code = self.wait(id, Instant::now() + LONGEST_SHELL, show)?;
        code.ok_or_else(|| Failure::new("the shell's time is over"))
    }

    /// The model's control.
    pub(crate) fn model(&mut self) -> Outcome<&mut Model> {
        self.model.as_mut().ok_or_else(|| Failure::new("this machine has no functions"))
    }

    /// The file behind an NVDIMM.
    pub(crate) fn dimm(&self, number: usize) -> Outcome<&File> {
        let file = self.dimms.get(number);
        file.ok_or_else(|| {
            Failure::new(format!("no NVDIMM {number}: there are {}", self.dimms.len()))
        })
    }

    /// The file behind the memory of the peer device.
    pub(crate) fn peer(&self) -> &File {
        &self.peer
    }

    fn send(&mut self, line: &str) -> Outcome {
        let sent = self.input.write_all(format!("{line}\n").as_bytes());
        sent.map_err(|error| self.lost(&format!("the machine takes no commands: {error}")))
    }

    fn stop(&mut self, id: u32) -> Outcome {
        let sent = self.control.write_all(format!("{id}\n").as_bytes());
        sent.map_err(|error| self.lost(&format!("the machine takes no commands: {error}")))
    }

    /// Waits for the end of command `id`, or for `deadline`.
    fn wait(
        &mut self,
        id: u32,
        deadline: Instant,
        show: &mut dyn FnMut(&[u8]),
    ) -> Outcome<Option<i32>> {
        loop {
            let chunk =
                self.output.recv_timeout(deadline.saturating_duration_since(Instant::now()));
            let chunk = match chunk {
                Ok(chunk) => chunk,
                Err(RecvTimeoutError::Timeout) => return Ok(None),
                Err(RecvTimeoutError::Disconnected) => {
                    self.qemu.end();
                    return Err(self.lost("the machine has ended"));
                }
            };
            let mut code = None;
            for piece in self.parser.take(&chunk) {
                match piece {
                    Piece::Text(bytes) => show(&bytes),
                    Piece::Exit { id: ended, code: its } if ended == id => code = Some(its),
                    // The late end of a command that was given up.
                    Piece::Exit { .. } => {}
                }
            }
            if code.is_some() {
                return Ok(code);
            }
        }
    }

    fn check_accesses(&self) -> Outcome {
        match self.qemu.log().lines().find(|line| line.contains(VOID)) {
            None => Ok(()),
            Some(line) => {
                Err(Failure::new(format!("QEMU lost an access, the run is void: {line}")))
            }
        }
    }

    fn lost(&mut self, what: &str) -> Failure {
        let console = self.console.last_lines(30);
        let model = self.model.as_mut().map(Model::account).unwrap_or_default();
        let qemu = self.qemu.account();
        Failure::new(format!("{what}\n---- the console's last lines\n{console}\n{qemu}{model}----"))
    }
}
