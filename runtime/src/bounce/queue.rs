//! Which buffers are free, and who waits for one.
//!
//! A buffer is in one place at a time: *free*; with a [`Lease`](super::lease::Lease); *granted* to one who waited and has not
//! been polled since; with an *orphan*, a copy whose future was dropped while an engine was at it; or in *limbo*, after a copy
//! whose engine was lost with it and may still be at the buffer. A copy that failed otherwise has no engine at it, and
//! leaves its buffer free. One in limbo is free again once nobody but the pool has a handle of it, which tells nobody: whoever
//! comes to the pool looks, be it for a buffer, with one, or to count them.
//!
//! One lock guards all of this; no waker is called, cloned or dropped and no copy polled under it. A buffer that comes back goes
//! to the longest waiter, if there is one: nobody overtakes, and whoever finds buffers in limbo to be free again hands them out
//! before anything else. So no buffer is free while somebody waits. If none is left that could come back, because all are in limbo,
//! those who wait are told, and so are later ones.

use std::{
    collections::VecDeque,
    mem,
    pin::Pin,
    sync::{Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use slab::Slab;

use super::lease::Orphan;
use crate::{
    error::{Error, ErrorKind},
    foreign,
    region::Region,
};

pub(super) struct Pool {
    buffers: Box<[Region]>,
    /// Of each, in bytes.
    size: usize,
    queue: Mutex<Queue>,
}

#[derive(Default)]
pub(super) struct Queue {
    free: Vec<u32>,
    limbo: Vec<u32>,
    waiters: Slab<Waiter>,
    /// The waiters that have no grant, longest first.
    line: VecDeque<usize>,
    pub(super) orphans: Orphans,
}

/// Copies whose futures were dropped; see [`super::lease`].
#[derive(Default)]
pub(super) struct Orphans {
    pub(super) list: Vec<Orphan>,
    /// Somebody has taken the list and looks at them.
    pub(super) busy: bool,
    /// One of them was woken since.
    pub(super) again: bool,
}

enum Waiter {
    Waiting(Option<Waker>),
    Granted(u32),
    /// No buffer will come.
    Hopeless,
}

impl Pool {
    pub(super) fn new(buffers: Box<[Region]>, size: usize) -> Self {
        let free = (0..).zip(&*buffers).map(|(number, _)| number).collect();
        Self { buffers, size, queue: Mutex::new(Queue { free, ..Queue::default() }) }
    }

    pub(super) fn count(&self) -> usize {
        self.buffers.len()
    }

    pub(super) fn size(&self) -> usize {
        self.size
    }

    pub(super) fn available(&self) -> usize {
        self.served().free.len()
    }

    /// The buffer of this number, which the pool gave out.
    pub(super) fn region(&self, buffer: u32) -> &Region {
        &self.buffers[buffer as usize]
    }

    /// A buffer is given back; `in_use`: a lost engine may still be at it.
    pub(super) fn put(&self, buffer: u32, in_use: bool) {
        let mut queue = self.lock();
        if in_use {
            queue.limbo.push(buffer);
        } else {
            queue.free.push(buffer);
        }
        let wakers = self.serve(&mut queue);
        drop(queue);
        wake(wakers);
    }

    /// The queue once those in line have had their turn: what is free in it is nobody's.
    fn served(&self) -> MutexGuard<'_, Queue> {
        let mut queue = self.lock();
        let wakers = self.serve(&mut queue);
        if wakers.is_empty() {
            return queue;
        }
        drop(queue);
        wake(wakers);
        self.lock()
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at those in limbo, and hands free buffers to those who wait, or tells them that none will come.
    fn serve(&self, queue: &mut Queue) -> Vec<Waker> {
        self.look_at_limbo(queue);
        let hopeless = self.is_hopeless(queue);
        let mut wakers = Vec::new();
        while !queue.line.is_empty() {
            let grant = match queue.free.pop() {
                Some(buffer) => Waiter::Granted(buffer),
                None if hopeless => Waiter::Hopeless,
                None => break,
            };
            let next = queue.line.pop_front();
            let Some(waiter) = next.and_then(|next| queue.waiters.get_mut(next)) else { continue };
            if let Waiter::Waiting(Some(waker)) = mem::replace(waiter, grant) {
                wakers.push(waker);
            }
        }
        wakers
    }

    /// Whether lost engines keep every buffer.
    fn is_hopeless(&self, queue: &Queue) -> bool {
        queue.limbo.len() == self.count()
    }

    /// Frees buffers that engines have let go of since.
    fn look_at_limbo(&self, queue: &mut Queue) {
        let Queue { free, limbo, .. } = queue;
        limbo.retain(|&buffer| {
            let idle = self.is_idle(buffer);
            if idle {
                free.push(buffer);
            }
            !idle
        });
    }

    /// Whether no operation holds the buffer.
    fn is_idle(&self, buffer: u32) -> bool {
        self.region(buffer).0.count() == 1
    }
}

/// Waits for a buffer. Dropped, it leaves the line, or passes on what it was granted.
pub(super) struct Take<'a> {
    pool: &'a Pool,
    place: Option<usize>,
}

impl<'a> Take<'a> {
    pub(super) fn new(pool: &'a Pool) -> Self {
        Self { pool, place: None }
    }
}

impl Future for Take<'_> {
    type Output = Result<u32, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let pool = self.pool;
        let mut queue = pool.served();
        let Some(place) = self.place else {
            if let Some(buffer) = queue.free.pop() {
                return Poll::Ready(Ok(buffer));
            }
            if pool.is_hopeless(&queue) {
                return Poll::Ready(Err(hopeless()));
            }
            let place = queue.waiters.insert(Waiter::Waiting(None));
            queue.line.push_back(place);
            self.place = Some(place);
            drop(queue);
            return self.poll(context);
        };
        match queue.waiters.get_mut(place) {
            Some(Waiter::Waiting(known))
                if known.as_ref().is_some_and(|known| known.will_wake(context.waker())) =>
            {
                Poll::Pending
            }
            Some(Waiter::Waiting(_)) => {
                drop(queue);
                self.leave_waker(place, context.waker().clone())
            }
            _ => self.finish(queue, place),
        }
    }
}

impl Take<'_> {
    fn leave_waker(&mut self, place: usize, waker: Waker) -> Poll<Result<u32, Error>> {
        let mut queue = self.pool.lock();
        let Some(Waiter::Waiting(known)) = queue.waiters.get_mut(place) else {
            let outcome = self.finish(queue, place);
            drop(waker);
            return outcome;
        };
        let before = known.replace(waker);
        drop(queue);
        drop(before);
        Poll::Pending
    }

    fn finish(
        &mut self,
        mut queue: MutexGuard<'_, Queue>,
        place: usize,
    ) -> Poll<Result<u32, Error>> {
        self.place = None;
        match queue.waiters.try_remove(place) {
            Some(Waiter::Granted(buffer)) => Poll::Ready(Ok(buffer)),
            _ => Poll::Ready(Err(hopeless())),
        }
    }
}

impl Drop for Take<'_> {
    fn drop(&mut self) {
        let Some(place) = self.place.take() else { return };
        let mut queue = self.pool.lock();
        queue.line.retain(|&waiting| waiting != place);
        let waiter = queue.waiters.try_remove(place);
        drop(queue);
        if let Some(Waiter::Granted(buffer)) = waiter {
            self.pool.put(buffer, false);
        }
    }
}

fn hopeless() -> Error {
    Error::new(
        ErrorKind::EngineLost,
        "every bounce buffer is held by an engine that was lost and does not let go: bring it back with Runtime::restore_engine, or make another pool",
    )
}

fn wake(wakers: Vec<Waker>) {
    for waker in wakers {
        foreign::call_or_tell(
            || waker.wake(),
            || tracing::error!("a waker panicked; the bounce buffer it waited for is there"),
        );
    }
}
