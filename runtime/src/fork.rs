//! Whether this process is the one that built the runtime.
//!
//! A child of fork has the parent's handles, but neither its threads nor any business in its rings. Asking
//! the kernel for the process id would cost a system call per operation; instead a handler that runs in
//! every child counts up a word.
#![allow(unsafe_code, reason = "island: registers a handler with pthread_atfork")]

use std::sync::{
    Once,
    atomic::{AtomicU32, Ordering},
};

static FORKS: AtomicU32 = AtomicU32::new(0);

extern "C" fn in_child() {
    FORKS.fetch_add(1, Ordering::Relaxed);
}

/// The process that made it, as far as fork is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Origin(u32);

impl Origin {
    /// Remembers this process.
    pub(crate) fn here() -> Self {
        static HANDLER: Once = Once::new();
        HANDLER.call_once(|| {
            // Where no handler can be registered (out of memory), a child is not told apart: the caller keeps the
            // documented duty not to use the parent's handles there.
            #[cfg(not(miri))]
            // SAFETY: `in_child` is a function that lives for ever, takes no lock and allocates nothing, so it
            // may run between fork and exec.
            let _ = unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
            #[cfg(miri)]
            let _ = in_child;
        });
        Self(FORKS.load(Ordering::Relaxed))
    }

    /// Whether the process forked since, and this is the child.
    #[inline]
    pub(crate) fn is_elsewhere(self) -> bool {
        FORKS.load(Ordering::Relaxed) != self.0
    }
}
