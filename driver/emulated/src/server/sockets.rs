//! Sockets of the server: made, removed, and shut down when it ends.
//!
//! A thread that waits on a socket ends when that is shut down, listening ones included. Whoever will
//! wait on one has it tracked first; a socket that is tracked after the end is shut down at once.

use std::{
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    net::{Shutdown, shutdown},
};

/// A listening socket, whose file is removed with it.
#[derive(Debug)]
pub(super) struct Listening {
    listener: UnixListener,
    path: PathBuf,
}

impl Listening {
    pub(super) fn bind(path: &Path) -> io::Result<Self> {
        Ok(Self { listener: UnixListener::bind(path)?, path: path.to_owned() })
    }

    /// The next connection. An error is the end of all of them.
    pub(super) fn accept(&self) -> io::Result<UnixStream> {
        loop {
            match self.listener.accept() {
                Ok((stream, _)) => return Ok(stream),
                // Who wanted to connect has gone again.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Waits until [`accept`](Self::accept) has something to say.
    pub(super) fn wait(&self) -> io::Result<()> {
        loop {
            match poll(&mut [PollFd::new(&self.listener, PollFlags::IN)], None) {
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Whether somebody has connected who was not accepted yet.
    pub(super) fn is_awaited(&self) -> bool {
        let mut listener = [PollFd::new(&self.listener, PollFlags::IN)];
        poll(&mut listener, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
    }

    pub(super) fn track(&self, sockets: &Sockets) -> io::Result<()> {
        sockets.add(&self.listener).map(drop)
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        // It is gone already, or somebody else's business.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// The sockets that threads wait on.
#[derive(Debug, Default)]
pub(super) struct Sockets {
    book: Mutex<Book>,
}

#[derive(Debug, Default)]
struct Book {
    ended: bool,
    next: u64,
    open: Vec<(u64, OwnedFd)>,
}

impl Sockets {
    /// Tracks a connection until the guard is dropped.
    pub(super) fn track(&self, stream: &UnixStream) -> io::Result<Tracked<'_>> {
        Ok(Tracked { sockets: self, number: self.add(stream)? })
    }

    /// Shuts down what is tracked, and whatever will be.
    pub(super) fn end(&self) {
        let mut book = self.book();
        book.ended = true;
        for (_, socket) in book.open.drain(..) {
            // One that is not connected any more has nobody waiting.
            let _ = shutdown(&socket, Shutdown::Both);
        }
    }

    pub(super) fn has_ended(&self) -> bool {
        self.book().ended
    }

    fn add(&self, socket: &impl AsFd) -> io::Result<u64> {
        let socket = socket.as_fd().try_clone_to_owned()?;
        let mut book = self.book();
        if book.ended {
            let _ = shutdown(&socket, Shutdown::Both);
        }
        book.next += 1;
        let number = book.next;
        book.open.push((number, socket));
        Ok(number)
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps a connection tracked.
#[derive(Debug)]
pub(super) struct Tracked<'a> {
    sockets: &'a Sockets,
    number: u64,
}

impl Drop for Tracked<'_> {
    fn drop(&mut self) {
        self.sockets.book().open.retain(|(number, _)| *number != self.number);
    }
}
