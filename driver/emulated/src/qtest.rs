//! QEMU's qtest protocol: reads and writes of guest-physical addresses, as lines of text.
//!
//! | line | answer |
//! | --- | --- |
//! | `readl 0xADDRESS`, `readq 0xADDRESS` | `OK 0xVALUE` |
//! | `writel 0xADDRESS 0xVALUE` | `OK` |
//!
//! Lines that begin with `IRQ` come unasked and are skipped. QEMU connects to the socket given with
//! `-qtest unix:PATH`; one request is on its way at a time. Source: QEMU 7.2, `softmmu/qtest.c`.

use std::{
    io::{self, BufRead, BufReader, ErrorKind, Read, Write},
    os::unix::net::UnixStream,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::{
    guest::{Chipset, ChipsetError},
    timed::Timed,
};

/// How long a connection, or an answer and what comes unasked before it, is waited for unless said otherwise.
const PATIENCE: Duration = Duration::from_secs(30);

/// Bytes of the longest line taken.
const LINE: u64 = 256;

/// How many unasked lines are skipped before an answer.
const UNASKED: usize = 1024;

/// The chipset behind a qtest connection, which comes later and may come anew.
#[derive(Debug)]
pub struct Qtest {
    connection: Mutex<Connection>,
    connected: Condvar,
    patience: Duration,
}

#[derive(Debug, Default)]
struct Connection {
    stream: Option<BufReader<Timed<UnixStream>>>,
    /// Nobody is to wait for a connection any more.
    closed: bool,
}

impl Default for Qtest {
    fn default() -> Self {
        Self::with_patience(PATIENCE)
    }
}

impl Qtest {
    /// A chipset with no connection, whose answers are waited for this long at most.
    #[must_use]
    pub fn with_patience(patience: Duration) -> Self {
        Self { connection: Mutex::default(), connected: Condvar::new(), patience }
    }

    /// Takes this connection for all further requests.
    pub fn connect(&self, stream: UnixStream) {
        self.connection().stream = Some(BufReader::new(Timed::new(stream, self.patience)));
        self.connected.notify_all();
    }

    /// Ends every wait for a connection, now and later. Requests on their way end when the socket is shut down.
    pub fn close(&self) {
        self.connection().closed = true;
        self.connected.notify_all();
    }

    fn ask(&self, command: &str) -> Result<String, ChipsetError> {
        let waiting =
            |connection: &mut Connection| connection.stream.is_none() && !connection.closed;
        let (mut connection, _) = self
            .connected
            .wait_timeout_while(self.connection(), self.patience, waiting)
            .unwrap_or_else(PoisonError::into_inner);
        if connection.closed {
            return Err(ChipsetError::Closed);
        }
        let stream = connection.stream.as_mut();
        let stream = stream.ok_or(ChipsetError::NotConnected { within: self.patience })?;
        let answer = self.exchange(stream, command);
        if let Err(ChipsetError::TimedOut { .. } | ChipsetError::Answer { .. }) = answer {
            // What comes now may be the answer to something else.
            connection.stream = None;
        }
        answer
    }

    fn exchange(
        &self,
        stream: &mut BufReader<Timed<UnixStream>>,
        command: &str,
    ) -> Result<String, ChipsetError> {
        let failed = |error: io::Error| match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => {
                ChipsetError::TimedOut { command: command.to_owned(), within: self.patience }
            }
            ErrorKind::BrokenPipe | ErrorKind::ConnectionReset => ChipsetError::Closed,
            _ => ChipsetError::Io(error),
        };
        // One end for the request and its answer.
        stream.get_mut().restart(self.patience);
        stream.get_mut().write_all(format!("{command}\n").as_bytes()).map_err(failed)?;
        for _ in 0..UNASKED {
            let mut line = Vec::new();
            stream.take(LINE).read_until(b'\n', &mut line).map_err(failed)?;
            if line.is_empty() {
                return Err(ChipsetError::Closed);
            }
            let line = String::from_utf8_lossy(&line);
            let line = line.trim_end();
            if line.starts_with("IRQ") {
                continue;
            }
            return line.strip_prefix("OK").map(|rest| rest.trim().to_owned()).ok_or_else(|| {
                let answer = line.chars().take(80).collect();
                ChipsetError::Answer { command: command.to_owned(), answer }
            });
        }
        Err(ChipsetError::Answer { command: command.to_owned(), answer: "IRQ".to_owned() })
    }

    fn read(&self, command: &str) -> Result<u64, ChipsetError> {
        let answer = self.ask(command)?;
        let value = answer.strip_prefix("0x").and_then(|hex| u64::from_str_radix(hex, 16).ok());
        value.ok_or_else(|| {
            let answer = answer.chars().take(80).collect();
            ChipsetError::Answer { command: command.to_owned(), answer }
        })
    }

    fn connection(&self) -> MutexGuard<'_, Connection> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Chipset for Qtest {
    fn read32(&self, address: u64) -> Result<u32, ChipsetError> {
        Ok(self.read(&format!("readl {address:#x}"))? as u32)
    }

    fn read64(&self, address: u64) -> Result<u64, ChipsetError> {
        self.read(&format!("readq {address:#x}"))
    }

    fn write32(&self, address: u64, value: u32) -> Result<(), ChipsetError> {
        self.ask(&format!("writel {address:#x} {value:#x}")).map(drop)
    }
}
