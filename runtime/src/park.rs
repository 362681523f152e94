//! How the poller sleeps: on the futex word of the ring's header.
//!
//! The word is `need_wakeup`. The poller sets it, looks at the ring once more and waits while it is
//! set; who pushes swaps it to zero and wakes. The order of these steps, and why no wake-up is lost, is
//! argued in [`dmaring_ring::handshake`].

use std::sync::atomic::AtomicU32;

use rustix::thread::futex::{self, Flags};

/// Sleeps while `word` is 1. May return early: the caller looks again.
pub(crate) fn wait(word: &AtomicU32) {
    // Every outcome (woken, value changed, signal) means the same: look again.
    let _ = futex::wait(word, Flags::empty(), 1, None);
}

/// Wakes the one thread that may sleep on `word`.
pub(crate) fn wake(word: &AtomicU32) {
    // An error would mean that nobody can sleep there.
    let _ = futex::wake(word, Flags::empty(), 1);
}
