//! A bounce buffer in use, and what becomes of its copy when its user goes away.
//!
//! A copy goes on when its future is dropped, so its buffer must not be used before it has ended. A lease that is dropped with
//! a copy under way leaves it to the pool, as an *orphan*: the pool polls it with a waker of its own, which has all orphans
//! looked at again. Whoever looks takes the list, so that no copy is polled under the pool's lock: polling may reap other
//! completions, whose wakers may lead back here. Who comes meanwhile sets a mark and leaves; the first looks again until there is
//! none. So every wake is followed by a look that began after it.

use std::{
    future::poll_fn,
    mem,
    pin::Pin,
    sync::{Arc, Weak},
    task::{Context, Poll, Wake, Waker},
};

use super::queue::Pool;
use crate::{error::Error, op::Copy, region::Region};

/// One buffer, and the copy on it if one is under way.
pub(super) struct Lease {
    pool: Arc<Pool>,
    buffer: u32,
    copy: Option<Copy>,
    in_use: bool,
}

/// A copy whose future was dropped.
pub(super) struct Orphan {
    copy: Copy,
    buffer: u32,
}

impl Lease {
    pub(super) fn new(pool: Arc<Pool>, buffer: u32) -> Self {
        Self { pool, buffer, copy: None, in_use: false }
    }

    /// The buffer: a region of its own.
    pub(super) fn region(&self) -> &Region {
        self.pool.region(self.buffer)
    }

    /// Carries out a copy from or to the buffer.
    pub(super) async fn carry_out(&mut self, copy: Copy) -> Result<u64, Error> {
        self.copy = Some(copy.submit());
        let outcome = poll_fn(|context| match &mut self.copy {
            Some(copy) => Pin::new(copy).poll(context),
            None => Poll::Ready(Err(Error::engine_lost())),
        })
        .await;
        self.copy = None;
        self.in_use = is_in_use(&outcome);
        outcome
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        match self.copy.take() {
            Some(copy) => {
                self.pool.lock().orphans.list.push(Orphan { copy, buffer: self.buffer });
                look_after(&self.pool);
            }
            None => self.pool.put(self.buffer, self.in_use),
        }
    }
}

/// Whether an engine may still be at the buffer of a copy with this outcome.
fn is_in_use(outcome: &Result<u64, Error>) -> bool {
    outcome.as_ref().is_err_and(Error::is_memory_in_use)
}

/// Looks at every orphan, and frees the buffers of those that have ended.
fn look_after(pool: &Arc<Pool>) {
    {
        let orphans = &mut pool.lock().orphans;
        if mem::replace(&mut orphans.busy, true) {
            orphans.again = true;
            return;
        }
    }
    let waker = Waker::from(Arc::new(Guardian(Arc::downgrade(pool))));
    let mut context = Context::from_waker(&waker);
    loop {
        let mut list = {
            let orphans = &mut pool.lock().orphans;
            orphans.again = false;
            mem::take(&mut orphans.list)
        };
        list.retain_mut(|orphan| match Pin::new(&mut orphan.copy).poll(&mut context) {
            Poll::Ready(outcome) => {
                pool.put(orphan.buffer, is_in_use(&outcome));
                false
            }
            Poll::Pending => true,
        });
        let orphans = &mut pool.lock().orphans;
        orphans.list.append(&mut list);
        if !orphans.again {
            orphans.busy = false;
            return;
        }
    }
}

/// The orphans' waker. It does not keep the pool: a pool that is gone lets its orphans go on by themselves.
struct Guardian(Weak<Pool>);

impl Wake for Guardian {
    fn wake(self: Arc<Self>) {
        if let Some(pool) = self.0.upgrade() {
            look_after(&pool);
        }
    }
}
