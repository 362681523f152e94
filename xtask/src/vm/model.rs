//! The device model as the suite steers it: its process and its control port.

use std::{
    io::{BufRead, BufReader, Write},
    os::{fd::OwnedFd, unix::net::UnixStream},
    path::{Path, PathBuf},
    time::Duration,
};

use super::{functions::Function, process::Process};
use crate::failure::{Failure, Outcome};

/// How long an answer may take, and the model to be ready.
const LIMIT: Duration = Duration::from_secs(20);

/// The running model.
#[derive(Debug)]
pub(crate) struct Model {
    process: Process,
    control: BufReader<UnixStream>,
    qtest: PathBuf,
}

/// What the model says of a function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Status(Vec<(String, String)>);

impl Model {
    /// Starts the model with these functions, its sockets in `directory`, and connects to each of them.
    pub(crate) fn start(
        program: &Path,
        functions: &[Function],
        directory: &Path,
        log: PathBuf,
    ) -> Outcome<(Self, Vec<OwnedFd>)> {
        let sockets: Vec<_> =
            (0..functions.len()).map(|number| directory.join(format!("f{number}"))).collect();
        let (qtest, control) = (directory.join("qtest"), directory.join("control"));
        let mut arguments = Vec::new();
        for (function, socket) in functions.iter().zip(&sockets) {
            arguments.extend(["--function".to_owned(), function.for_model(socket)]);
        }
        arguments.extend(["--qtest".to_owned(), qtest.display().to_string()]);
        arguments.extend(["--control".to_owned(), control.display().to_string()]);
        let process = Process::start_until(program, &arguments, log, "ready", LIMIT)?;
        let connect = |path: &Path| {
            UnixStream::connect(path)
                .map_err(Failure::of(format!("cannot connect to the model's {}", path.display())))
        };
        let control = connect(&control)?;
        control
            .set_read_timeout(Some(LIMIT))
            .map_err(Failure::of("cannot limit the model's answers"))?;
        let connections = sockets.iter().map(|path| connect(path).map(OwnedFd::from));
        let connections = connections.collect::<Outcome<_>>()?;
        Ok((Self { process, control: BufReader::new(control), qtest }, connections))
    }

    /// Where it listens for QEMU's test protocol.
    pub(crate) fn qtest(&self) -> &Path {
        &self.qtest
    }

    /// Sends a command and returns what follows the `ok` of the answer.
    pub(crate) fn ask(&mut self, command: &str) -> Outcome<String> {
        let attempt = format!("the model does not answer `{command}`");
        let mut answer = String::new();
        self.control
            .get_mut()
            .write_all(format!("{command}\n").as_bytes())
            .and_then(|()| self.control.read_line(&mut answer))
            .map_err(Failure::of(&attempt))?;
        match answer.trim_end().strip_prefix("ok") {
            Some(rest) => Ok(rest.trim_start().to_owned()),
            None if answer.is_empty() => {
                Err(Failure::new(format!("{attempt}\n{}", self.process.account())))
            }
            None => {
                Err(Failure::new(format!("the model refuses `{command}`: {}", answer.trim_end())))
            }
        }
    }

    /// How the model's process is and what it wrote.
    pub(crate) fn account(&mut self) -> String {
        self.process.account()
    }

    /// The state of a function.
    pub(crate) fn status(&mut self, slot: &str) -> Outcome<Status> {
        self.ask(&format!("status {slot}")).map(|answer| Status::parse(&answer))
    }
}

impl Status {
    fn parse(answer: &str) -> Self {
        let pairs = answer.split_whitespace().filter_map(|word| word.split_once('='));
        Self(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }

    /// A value as the model wrote it.
    pub(crate) fn text(&self, name: &str) -> Outcome<&str> {
        let found = self.0.iter().find(|(known, _)| known == name);
        found
            .map(|(_, value)| value.as_str())
            .ok_or_else(|| Failure::new(format!("the model's status has no {name}: {:?}", self.0)))
    }

    /// A count.
    pub(crate) fn count(&self, name: &str) -> Outcome<u64> {
        let text = self.text(name)?;
        text.parse().map_err(Failure::of(format!("the model's status says {name}={text}")))
    }
}

#[cfg(test)]
mod tests {
    use super::Status;

    #[test]
    fn a_status_is_read_by_name() {
        let status = Status::parse("executed=12 bus-master=false state=halted future=1");
        assert_eq!(status.count("executed").unwrap(), 12);
        assert_eq!(status.text("bus-master").unwrap(), "false");
        assert!(status.count("state").unwrap_err().to_string().contains("state=halted"));
        assert!(status.text("interrupts").unwrap_err().to_string().contains("interrupts"));
    }
}
