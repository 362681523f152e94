//! What happens while a server runs, and when that is its end.

use std::{
    io,
    sync::mpsc::{Receiver, RecvTimeoutError, Sender},
    time::{Duration, Instant},
};

use super::ServerError;
use crate::{
    guest::{ChipsetError, Slot},
    proxy::ProxyError,
};

/// How long functions may stay connected when qtest is gone: QEMU closes one socket before another.
const PARTING: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(super) enum Event {
    /// QEMU's proxy connected to a function, and is accepted next; or the function's socket was shut down.
    Connected,
    /// That connection ended, well or badly.
    Closed(Slot, Option<ProxyError>),
    /// A clock stands still, since the chipset does not answer.
    Chipset(ChipsetError),
    /// A socket failed, or a thread could not be started.
    Failed(io::Error),
    /// This thread panicked.
    Panicked(String),
    /// Somebody wants it to end.
    Stop,
}

/// Waits for the end, and says how it was. Who has connected and waits for a thread to accept it `is_awaiting` us.
pub(super) fn wait(
    events: &Receiver<Event>,
    is_awaiting: impl Fn() -> bool,
) -> Result<(), ServerError> {
    let (mut open, mut served, mut first, mut chipset) = (0usize, false, None, None);
    loop {
        // In this order: what is accepted is told before.
        let over = served && open == 0 && !is_awaiting();
        let event = match &chipset {
            _ if over => match events.try_recv() {
                Ok(event) => Ok(event),
                Err(_) => break,
            },
            None => events.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some((_, until)) => {
                events.recv_timeout(Instant::saturating_duration_since(until, Instant::now()))
            }
        };
        match event {
            Ok(Event::Connected) => {
                open += 1;
                served = true;
            }
            Ok(Event::Closed(slot, error)) => {
                open -= 1;
                let error = error.map(|source| ServerError::Connection { slot, source });
                first = first.or(error);
            }
            Ok(Event::Chipset(error)) if chipset.is_none() => {
                chipset = Some((error, Instant::now() + PARTING));
            }
            Ok(Event::Chipset(_)) => {}
            Ok(Event::Failed(error)) => return Err(ServerError::Io(error)),
            Ok(Event::Panicked(thread)) => return Err(ServerError::Panicked { thread }),
            Ok(Event::Stop) => break,
            Err(_) => {
                let error = chipset.map_or(ChipsetError::Closed, |(error, _)| error);
                return Err(ServerError::Chipset(error));
            }
        }
    }
    first.map_or(Ok(()), Err)
}

pub(super) fn send(events: &Sender<Event>, event: Event) {
    // Nobody listens any more once the server has ended.
    let _ = events.send(event);
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, thread};

    use super::*;

    /// What one leaves that has come and gone.
    fn one_that_has_gone() -> (Sender<Event>, Receiver<Event>) {
        let (sender, events) = mpsc::channel();
        send(&sender, Event::Connected);
        send(&sender, Event::Closed("05.0".parse().unwrap(), None));
        (sender, events)
    }

    #[test]
    fn it_is_the_end_when_all_have_gone_and_none_is_awaiting() {
        let (_sender, events) = one_that_has_gone();
        assert!(wait(&events, || false).is_ok());
    }

    #[test]
    fn who_is_accepted_while_it_is_looked_who_awaits_is_found() {
        let (sender, events) = one_that_has_gone();
        let end = wait(&events, || {
            // Accepted, so nobody awaits any more; what comes then shows that it went on.
            send(&sender, Event::Connected);
            send(&sender, Event::Panicked("control".to_owned()));
            false
        });
        assert!(matches!(&end, Err(ServerError::Panicked { .. })), "{end:?}");
    }

    #[test]
    fn who_awaits_is_waited_for() {
        let (sender, events) = one_that_has_gone();
        let (looked, look) = mpsc::channel();
        let end = thread::scope(|scope| {
            scope.spawn(move || {
                // Accepted after that look.
                look.recv().unwrap();
                send(&sender, Event::Connected);
                send(&sender, Event::Panicked("control".to_owned()));
            });
            wait(&events, move || looked.send(()).is_ok())
        });
        assert!(matches!(&end, Err(ServerError::Panicked { .. })), "{end:?}");
    }
}
