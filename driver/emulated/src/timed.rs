//! A socket on which a wait has one end, however many reads and writes it takes.
//!
//! A time limit of the socket counts anew at every call, and a peer that sends a byte now and then would never
//! meet it. Here what is left until the deadline is the limit of the next call.

use std::{
    borrow::Borrow,
    io::{self, ErrorKind, Read, Write},
    os::unix::net::UnixStream,
    time::{Duration, Instant},
};

/// A stream and the deadline of its reads and writes.
#[derive(Debug)]
pub(crate) struct Timed<S> {
    stream: S,
    deadline: Instant,
}

impl<S: Borrow<UnixStream>> Timed<S> {
    /// A stream whose waits end after `patience`, counted from now.
    pub(crate) fn new(stream: S, patience: Duration) -> Self {
        Self { stream, deadline: Instant::now() + patience }
    }

    /// Counts `patience` from now.
    pub(crate) fn restart(&mut self, patience: Duration) {
        self.deadline = Instant::now() + patience;
    }

    /// The stream, whose next read ends by the deadline.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::TimedOut`] once the deadline is past.
    pub(crate) fn to_read(&self) -> io::Result<&UnixStream> {
        let stream = self.stream.borrow();
        stream.set_read_timeout(Some(self.left()?))?;
        Ok(stream)
    }

    fn left(&self) -> io::Result<Duration> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        // A limit of zero would be none.
        if left.is_zero() { Err(ErrorKind::TimedOut.into()) } else { Ok(left) }
    }
}

impl<S: Borrow<UnixStream>> Read for Timed<S> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.to_read()?.read(bytes)
    }
}

impl<S: Borrow<UnixStream>> Write for Timed<S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut stream = self.stream.borrow();
        stream.set_write_timeout(Some(self.left()?))?;
        stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
