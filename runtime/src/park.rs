//! How the poller sleeps: on the futex word of the ring's header.
//!
//! The word is `need_wakeup`. The poller sets it, looks at the ring once more and waits while it is
//! set; who pushes swaps it to zero and wakes. The order of these steps, and why no wake-up is lost, is
//! argued in [`dmaring_ring::handshake`].
//!
//! That argument needs peers that write the word as they should. One that clears it and wakes nobody must not put the poller
//! to sleep for good: a sleep is bounded, and what ends a runtime wakes it whatever the word says.

use std::sync::atomic::{AtomicU32, Ordering};

use rustix::thread::futex::{self, Flags, Timespec};

/// How long a sleep lasts at most: so late is a wake-up that a peer has swallowed.
const LONGEST: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };

/// Sleeps while `word` is 1, and a second at most. May return early: the caller looks again.
pub(crate) fn wait(word: &AtomicU32) {
    // Every outcome (woken, value changed, signal, time) means the same: look again.
    let _ = futex::wait(word, Flags::empty(), 1, Some(&LONGEST));
}

/// Wakes the one thread that may sleep on `word`, whatever a peer has made of the word.
pub(crate) fn summon(word: &AtomicU32) {
    word.swap(0, Ordering::SeqCst);
    wake(word);
}

/// Wakes the one thread that may sleep on `word`.
pub(crate) fn wake(word: &AtomicU32) {
    // An error would mean that nobody can sleep there.
    let _ = futex::wake(word, Flags::empty(), 1);
}
