//! A lock that is mostly tried, and given back by a plain store.
//!
//! `std::sync::Mutex` is given back by an exchange, since somebody may sleep for it: a locked instruction more for each copy that is
//! awaited by itself. Nobody sleeps for this one. Who has to have it yields the processor until it is free.
#![allow(unsafe_code, reason = "island: who has taken the lock has the value by itself")]

use crate::sync::{AtomicU32, Ordering, UnsafeCell, yield_now};

const FREE: u32 = 0;
const TAKEN: u32 = 1;

#[derive(Debug)]
pub(crate) struct TryLock<T> {
    state: AtomicU32,
    value: UnsafeCell<T>,
}

// SAFETY: the value is reached by who has taken the lock alone, from one thread after the other: it moves between them as if it were
// sent, hence `T: Send`.
unsafe impl<T: Send> Sync for TryLock<T> {}

/// Gives the lock back, whatever happens meanwhile.
struct Taken<'a>(&'a AtomicU32);

impl Drop for Taken<'_> {
    #[inline]
    fn drop(&mut self) {
        self.0.store(FREE, Ordering::Release);
    }
}

impl<T> TryLock<T> {
    pub(crate) fn new(value: T) -> Self {
        Self { state: AtomicU32::new(FREE), value: UnsafeCell::new(value) }
    }

    /// Works on the value, unless somebody else does. What panics leaves the lock free, and the value as it is then.
    #[inline]
    pub(crate) fn try_with<R>(&self, work: impl FnOnce(&mut T) -> R) -> Option<R> {
        let taken = self.take()?;
        let done = self.value.with_mut(|value| {
            // SAFETY: the exchange found the lock free and took it, with acquire after the release of who had it before: until it
            // is given back, below, nobody else comes here.
            work(unsafe { &mut *value })
        });
        drop(taken);
        Some(done)
    }

    /// Works on the value as soon as nobody else does.
    pub(crate) fn with<R>(&self, work: impl FnOnce(&mut T) -> R) -> R {
        let mut work = Some(work);
        loop {
            let done = self.try_with(|value| work.take().map(|work| work(value)));
            if let Some(Some(done)) = done {
                return done;
            }
            yield_now();
        }
    }

    #[inline]
    fn take(&self) -> Option<Taken<'_>> {
        let taken = self.state.compare_exchange(FREE, TAKEN, Ordering::Acquire, Ordering::Relaxed);
        taken.is_ok().then(|| Taken(&self.state))
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::panic::{self, AssertUnwindSafe};

    use super::*;

    #[test]
    fn it_is_taken_once_and_is_free_afterwards_whatever_happened() {
        let lock = TryLock::new(1);
        let inner = lock.try_with(|value| {
            *value += 1;
            lock.try_with(|_| ())
        });
        assert_eq!(inner, Some(None), "it is taken already");
        assert_eq!(lock.try_with(|value| *value), Some(2));
        let panicked = panic::catch_unwind(AssertUnwindSafe(|| {
            lock.try_with(|value| {
                *value += 1;
                panic!("within");
            })
        }));
        assert!(panicked.is_err());
        assert_eq!(lock.with(|value| *value), 3);
    }

    #[test]
    fn nobody_comes_between() {
        let lock = TryLock::new(0_u64);
        let rounds = if cfg!(miri) { 50 } else { 50_000 };
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| (0..rounds).for_each(|_| lock.with(|value| *value += 1)));
            }
        });
        assert_eq!(lock.with(|value| *value), 3 * rounds);
    }
}
