//! Threads of the server: none ends unseen.
//!
//! A thread that panics would leave its function standing still and QEMU waiting for it. Here it ends the
//! server instead, as a socket that fails does.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::mpsc::Sender,
    thread::{Builder, Scope},
};

use super::events::{Event, send};

/// Starts a thread that does this work; its panic is an event.
///
/// # Errors
///
/// Those of starting a thread.
pub(super) fn spawn<'scope>(
    scope: &'scope Scope<'scope, '_>,
    name: String,
    events: &Sender<Event>,
    work: impl FnOnce(&Sender<Event>) + Send + 'scope,
) -> io::Result<()> {
    let (thread, events) = (name.clone(), events.clone());
    let guarded = move || {
        // What a panic leaves half done is looked at by nobody but those who end.
        if catch_unwind(AssertUnwindSafe(|| work(&events))).is_err() {
            send(&events, Event::Panicked(thread));
        }
    };
    Builder::new().name(name).spawn_scoped(scope, guarded).map(drop)
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, thread};

    use super::{Event, send, spawn};
    use crate::server::{ServerError, events::wait};

    #[test]
    fn a_thread_that_panics_ends_the_server_with_its_name() {
        let (sender, events) = mpsc::channel();
        let end = thread::scope(|scope| {
            spawn(scope, "clock-05.0".to_owned(), &sender, |_| panic!("as planned")).unwrap();
            spawn(scope, "control".to_owned(), &sender, |events| send(events, Event::Connected))
                .unwrap();
            // Were the panic not told, no event would be left once the threads have ended.
            drop(sender);
            wait(&events, || false)
        });
        assert!(
            matches!(&end, Err(ServerError::Panicked { thread }) if thread == "clock-05.0"),
            "{end:?}"
        );
    }
}
