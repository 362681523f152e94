//! The two flags by which one side of the rings gets the other's attention.
//!
//! # need_wakeup: producers wake the poller
//!
//! The poller that finds nothing to do wants to sleep; a producer that pushes must wake it, and only
//! then pay for a system call. Each side writes one word and then reads the other's:
//!
//! | poller                                     | producer                            |
//! |--------------------------------------------|-------------------------------------|
//! | 1. [`prepare_park`]: `need_wakeup` = 1     | a. push: store of the sequence      |
//! | 2. full fence                              | b. [`must_wake`]: full fence        |
//! | 3. look at the submission ring             | c. load `need_wakeup`               |
//! | 4. empty: wait while `need_wakeup` is 1    | d. not 0: swap it to 0; was 1: wake |
//!
//! The two fences stand in one total order. If the poller's is first, the producer's load (c) sees the
//! 1 and wakes; if the producer's is first, the poller's look (3) sees the entry and does not sleep.
//! Without a full fence on both sides each could miss the other's store, as every store may linger in
//! a store buffer while the load behind it runs. The waiting itself (4) compares the word with 1 in
//! the kernel, so a swap between 3 and 4 is not missed either.
//!
//! The swap elects one waker among the producers: every write of the flag is a read-modify-write, so
//! each writer knows which value it replaced. A wake may find a poller that has changed its mind
//! ([`cancel_park`]): it is harmless, since whoever is woken looks again.
//!
//! # need_notify: the poller reaps for those who sleep
//!
//! A future about to be left pending asks the poller to reap on its behalf. It is the same argument
//! with the roles exchanged:
//!
//! | reaper                                     | poller                              |
//! |--------------------------------------------|-------------------------------------|
//! | 1. [`request_notify`]: `need_notify` is 1  | a. publish: store of the tail       |
//! | 2. full fence                              | b. [`must_notify`]: full fence      |
//! | 3. look at the completion ring             | c. load `need_notify`               |
//! | 4. empty: leave it to the poller           | d. not 0: reap                      |
//!
//! "Is 1": set unless it is so already, since the line is the poller's otherwise and each write of it would fetch it. The poller
//! may ask (b, c) some time after it has published, and reap (d) some time after it has asked, as long as it does so before it
//! parks: until then a future sleeps a little longer.
//!
//! # Taking need_notify back
//!
//! The flag stays set while anybody may be waiting. The poller takes it back only when every entry it
//! popped has ended and every completion has been reaped, and then looks at the submission ring once
//! more: if a position is claimed that it has not popped, it sets the flag again. [`clear_notify`] and
//! [`rearm`] are the two steps, [`retire_notify`] is both of them with the look between.
//!
//! Nobody's request is lost by this. A client claims its position before it requests. If it sets the flag, that comes after the
//! swap, and stays; or before it, and then the swap, which acquires, makes the claim visible to the look that follows. Every write
//! of this flag, too, is a read-modify-write, so that a request is acquired even if others have written the flag after it. If it
//! found the flag set and left it at that, a full fence stands between its claim and that look at the flag, and one between the
//! poller's swap and its look at the positions: the client sees the swap, or the poller the claim.
//!
//! The look has to be at the *claimed* positions ([`Consumer::is_drained`]), not at the entry that is
//! to be popped next: a client's entry may stand published behind a position that another client has
//! claimed and not yet published, and that one may never request anything.

use crate::{
    completion,
    layout::Header,
    submission::Consumer,
    sync::{Ordering, fence},
};

/// Poller, before it parks: says that it wants to be woken.
///
/// The caller then looks at the submission ring again and, if there is an entry, calls
/// [`cancel_park`]; else it waits while [`Header::need_wakeup_word`] is 1, and calls it afterwards.
pub fn prepare_park(header: &Header) {
    header.need_wakeup_word().swap(1, Ordering::Relaxed);
    fence(Ordering::SeqCst);
}

/// Poller, once it is awake: says that it needs no waking.
pub fn cancel_park(header: &Header) {
    header.need_wakeup_word().swap(0, Ordering::Relaxed);
}

/// Producer, after a push: whether it is the one who has to wake the poller.
#[must_use]
pub fn must_wake(header: &Header) -> bool {
    fence(Ordering::SeqCst);
    let word = header.need_wakeup_word();
    word.load(Ordering::Relaxed) != 0 && word.swap(0, Ordering::Relaxed) != 0
}

/// Reaper, before it leaves something pending: asks the poller to reap after its next batch.
///
/// The caller then looks at the completion ring again, with [`has_completions`], and reaps itself if
/// there is an entry.
pub fn request_notify(header: &Header) {
    fence(Ordering::SeqCst);
    if header.need_notify_word().load(Ordering::Relaxed) == 0 {
        rearm(header);
        fence(Ordering::SeqCst);
    }
}

/// Whether the completion ring holds entries that no reaper has released.
///
/// Whoever gives the reap role back looks here, after a full fence, for what was published while
/// others relied on it.
#[must_use]
pub fn has_completions(header: &Header) -> bool {
    completion::has_beyond(header, header.completion_head())
}

/// Poller, after it has published completions: whether it has to reap them.
#[must_use]
pub fn must_notify(header: &Header) -> bool {
    fence(Ordering::SeqCst);
    header.need_notify_word().load(Ordering::Relaxed) != 0
}

/// Poller, when every entry it popped has ended and been reaped: takes `need_notify` back and returns
/// whether it was set.
///
/// The caller then asks [`Consumer::is_drained`] and, if the ring is not, calls [`rearm`];
/// [`retire_notify`] does both.
pub fn clear_notify(header: &Header) -> bool {
    let was_set = header.need_notify_word().swap(0, Ordering::AcqRel) != 0;
    fence(Ordering::SeqCst);
    was_set
}

/// Sets `need_notify`. The poller calls it when it has taken the flag back too early.
pub fn rearm(header: &Header) {
    header.need_notify_word().swap(1, Ordering::AcqRel);
}

/// Poller, when every entry it popped has ended and been reaped: takes `need_notify` back unless an
/// entry is on its way, and returns whether the flag is down on its account.
pub fn retire_notify(header: &Header, consumer: &Consumer) -> bool {
    clear_notify(header);
    let is_drained = consumer.is_drained(header);
    if !is_drained {
        rearm(header);
    }
    is_drained
}
