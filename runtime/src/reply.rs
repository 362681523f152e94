//! One answer, told once on a thread of the runtime's own and awaited anywhere.

use std::{
    sync::Arc,
    task::{Context, Poll, Waker},
};

use crate::{
    foreign,
    sync::{Mutex, lock},
};

/// Where the answer is told.
#[derive(Debug)]
pub(crate) struct Teller<T>(Arc<Mutex<Reply<T>>>);

/// Where it is awaited.
#[derive(Debug)]
pub(crate) struct Listener<T>(Arc<Mutex<Reply<T>>>);

#[derive(Debug)]
struct Reply<T> {
    /// Something was told: nothing else will be.
    told: bool,
    answer: Option<T>,
    waker: Option<Waker>,
}

/// The two ends of an answer.
pub(crate) fn pair<T>() -> (Teller<T>, Listener<T>) {
    let reply = Arc::new(Mutex::new(Reply { told: false, answer: None, waker: None }));
    (Teller(reply.clone()), Listener(reply))
}

impl<T> Teller<T> {
    /// Tells what `answer` gives, unless something was told before.
    pub(crate) fn tell(&self, answer: impl FnOnce() -> T) {
        let waker = {
            let mut reply = lock(&self.0);
            if reply.told {
                return;
            }
            reply.told = true;
            reply.answer = Some(answer());
            reply.waker.take()
        };
        if let Some(waker) = waker {
            foreign::call_or_tell(
                || waker.wake(),
                || tracing::error!("a waker panicked; what it waited for was answered"),
            );
        }
    }
}

impl<T> Listener<T> {
    /// The answer, as `read` takes or copies it. It is called under the lock.
    pub(crate) fn poll(
        &self,
        context: &mut Context<'_>,
        read: impl FnOnce(&mut Option<T>) -> Option<T>,
    ) -> Poll<T> {
        // Cloned and dropped outside the lock: a waker is foreign code.
        let waker = context.waker().clone();
        let mut reply = lock(&self.0);
        if let Some(answer) = read(&mut reply.answer) {
            drop(reply);
            return Poll::Ready(answer);
        }
        let before = reply.waker.replace(waker);
        drop(reply);
        drop(before);
        Poll::Pending
    }
}
