//! The functions of a machine, served on sockets until QEMU has gone.
//!
//! [`Server::bind`] makes every socket, so that whoever waits for it can start QEMU;
//! [`Server::run`] serves. Each function has two threads: one answers QEMU's proxy, the other is the
//! function's clock. One more accepts qtest's connection, and one each client of the control socket.

mod control;
mod events;
mod sockets;
mod spec;
mod worker;

pub use control::CONTROL_HELP;
pub use spec::{FunctionSpec, FunctionSpecError};

use std::{
    cell::RefCell,
    io,
    os::unix::net::UnixStream,
    path::PathBuf,
    sync::{
        Arc,
        mpsc::{self, Receiver, Sender},
    },
    thread::{self, Scope},
};

use crate::{
    BuildError, Qtest,
    guest::{ChipsetError, GuestFunction, Slot},
    proxy::{self, ProxyError},
};
use events::{Event, send, wait};
use sockets::{Listening, Sockets};
use worker::spawn;

/// What to serve, and where.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// The functions, each in a slot of its own.
    pub functions: Vec<FunctionSpec>,
    /// Where to listen for QEMU's qtest connection.
    pub qtest: PathBuf,
    /// Where to listen for clients of the control protocol.
    pub control: PathBuf,
}

/// Functions whose sockets listen. Dropped, it removes them.
#[derive(Debug)]
pub struct Server {
    functions: Vec<(Listening, GuestFunction)>,
    qtest: (Listening, Arc<Qtest>),
    control: Listening,
    sender: Sender<Event>,
    events: Receiver<Event>,
}

/// Ends a server from elsewhere.
#[derive(Clone, Debug)]
pub struct Stopper(Sender<Event>);

/// Why there is no server, or none any more.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// Nothing to serve.
    #[error("no function to serve: give one with --function slot=05.0,socket=PATH")]
    NoFunction,
    /// Two functions in one slot.
    #[error("two functions at {slot}: each needs a slot of its own")]
    SlotTwice {
        /// The slot.
        slot: Slot,
    },
    /// A function that cannot be.
    #[error("no function at {slot}")]
    Build {
        /// Its slot.
        slot: Slot,
        /// Why.
        #[source]
        source: BuildError,
    },
    /// A socket that cannot be made.
    #[error(
        "no socket at {}: its directory must be there and the file must not; rm it if a server left it",
        path.display()
    )]
    Bind {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A connection of QEMU's proxy ended with an error, while others may have gone on.
    #[error("the connection of function {slot} ended with an error")]
    Connection {
        /// The function.
        slot: Slot,
        /// The error, of the first such connection.
        #[source]
        source: ProxyError,
    },
    /// QEMU's qtest did not answer.
    #[error("the chipset cannot be asked")]
    Chipset(#[source] ChipsetError),
    /// A thread of the server panicked.
    #[error(
        "thread `{thread}` of the server panicked: its message is above; start the server anew"
    )]
    Panicked {
        /// The thread.
        thread: String,
    },
    /// A socket failed, or a thread could not be started.
    #[error("the server failed")]
    Io(#[source] io::Error),
}

impl Server {
    /// Makes the functions and their sockets.
    ///
    /// # Errors
    ///
    /// [`ServerError`]; no socket is left behind.
    pub fn bind(options: &ServerOptions) -> Result<Self, ServerError> {
        let specs = &options.functions;
        if specs.is_empty() {
            return Err(ServerError::NoFunction);
        }
        let qtest = Arc::new(Qtest::default());
        let mut functions = Vec::new();
        for (index, spec) in specs.iter().enumerate() {
            let slot = spec.slot;
            if specs.iter().take(index).any(|other| other.slot == slot) {
                return Err(ServerError::SlotTwice { slot });
            }
            let together = specs.iter().filter(|other| other.slot.device() == slot.device());
            let (multi, chipset) = (together.count() > 1, Arc::clone(&qtest));
            let function = GuestFunction::new(spec.builder.clone(), slot, multi, chipset)
                .map_err(|source| ServerError::Build { slot, source })?;
            functions.push((listen(&spec.socket)?, function));
        }
        let (sender, events) = mpsc::channel();
        let (qtest, control) = ((listen(&options.qtest)?, qtest), listen(&options.control)?);
        Ok(Self { functions, qtest, control, sender, events })
    }

    /// What ends the server from another thread.
    #[must_use]
    pub fn stopper(&self) -> Stopper {
        Stopper(self.sender.clone())
    }

    /// Serves until every connection of QEMU's proxy is closed, one having been there and none being about
    /// to be accepted, or until [`Stopper::stop`]; then removes the sockets.
    ///
    /// # Errors
    ///
    /// [`ServerError`], once nothing is served any more.
    pub fn run(self) -> Result<(), ServerError> {
        let sockets = Sockets::default();
        thread::scope(|scope| {
            let outcome = self.start(scope, &sockets).map_err(ServerError::Io);
            let outcome = outcome.and_then(|()| {
                let is_awaited = || self.functions.iter().any(|(found, _)| found.is_awaited());
                wait(&self.events, is_awaited)
            });
            sockets.end();
            self.qtest.1.close();
            for (_, function) in &self.functions {
                function.wake();
            }
            outcome
        })
    }

    fn start<'scope>(
        &'scope self,
        scope: &'scope Scope<'scope, '_>,
        sockets: &'scope Sockets,
    ) -> io::Result<()> {
        for (listening, function) in &self.functions {
            listening.track(sockets)?;
            let name = format!("function-{}", function.slot());
            spawn(scope, name, &self.sender, move |events| {
                serve_function(listening, function, sockets, events);
            })?;
            let name = format!("clock-{}", function.slot());
            spawn(scope, name, &self.sender, move |events| {
                if let Err(error) = function.tick(|| sockets.has_ended()) {
                    send(events, Event::Chipset(error));
                }
            })?;
        }
        let (listening, qtest) = &self.qtest;
        listening.track(sockets)?;
        spawn(scope, "qtest".to_owned(), &self.sender, move |events| {
            let latest = RefCell::new(None);
            let accept = || listening.accept();
            accept_all(accept, sockets, events, |stream| {
                latest.replace(Some(sockets.track(&stream)?));
                qtest.connect(stream);
                Ok(())
            });
        })?;
        let listening = &self.control;
        listening.track(sockets)?;
        let functions: Vec<_> = self.functions.iter().map(|(_, found)| found.clone()).collect();
        spawn(scope, "control".to_owned(), &self.sender, move |events| {
            let accept = || listening.accept();
            accept_all(accept, sockets, events, |stream| {
                let functions = functions.clone();
                spawn(scope, "client".to_owned(), events, move |_| {
                    serve_client(&stream, &functions, sockets);
                })
            });
        })?;
        Ok(())
    }
}

impl Stopper {
    /// Ends the server, if it still runs.
    pub fn stop(&self) {
        send(&self.0, Event::Stop);
    }
}

fn listen(path: &std::path::Path) -> Result<Listening, ServerError> {
    Listening::bind(path).map_err(|source| ServerError::Bind { path: path.to_owned(), source })
}

/// Serves one connection after the other. What one left of memory and registers is gone with it.
fn serve_function(
    listening: &Listening,
    function: &GuestFunction,
    sockets: &Sockets,
    events: &Sender<Event>,
) {
    let accept = || {
        listening.wait()?;
        send(events, Event::Connected);
        listening.accept()
    };
    accept_all(accept, sockets, events, |stream| {
        let _tracked = sockets.track(&stream)?;
        let outcome = proxy::serve(&stream, function);
        function.reset();
        function.clear_memory();
        send(events, Event::Closed(function.slot(), outcome.err()));
        Ok(())
    });
}

fn serve_client(stream: &UnixStream, functions: &[GuestFunction], sockets: &Sockets) {
    if let Ok(_tracked) = sockets.track(stream) {
        // A client whose socket fails has gone.
        let _ = control::serve(stream, functions);
    }
}

/// Hands every connection that `accept` gives to `take`, until the end.
fn accept_all(
    accept: impl Fn() -> io::Result<UnixStream>,
    sockets: &Sockets,
    events: &Sender<Event>,
    take: impl Fn(UnixStream) -> io::Result<()>,
) {
    loop {
        match accept().and_then(&take) {
            Ok(()) => {}
            Err(_) if sockets.has_ended() => return,
            Err(error) => return send(events, Event::Failed(error)),
        }
    }
}
