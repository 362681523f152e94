//! A port: the poller's side of one ring pair.

use std::{mem, sync::Arc};

use dmaring_ring::{
    CompletionCode, CompletionEntry, Key, SubmissionEntry, completion, handshake, submission,
    watch::{self, Monitor},
};

use super::{
    notice::{self, Notice},
    ops::Failure,
    sampler::Sampler,
};
use crate::{
    client::RingPair, memory::RingMemory, op::Early, shared::Shared, staging::StagingPort,
};

/// An operation posts two entries at most: where it failed and that it did, or that it is late and that it ended.
pub(super) const ENTRIES_PER_OPERATION: usize = 2;

/// In how many turns, that of publishing completions included, it is asked whether somebody wants to be notified.
const TURNS_UNASKED: u64 = 5;

#[derive(Debug)]
pub(super) struct Port {
    peer: Peer,
    submissions: submission::Consumer,
    completions: completion::Producer,
    /// Entries that operations taken from this port may still post.
    pub(super) owed: usize,
    /// Operations taken from this port and not yet answered.
    pub(super) active: usize,
    pub(super) sampler: Sampler,
    /// The same for bundles, whose copies would else stand for others, too.
    pub(super) bundles: Sampler,
    notice: Notice,
    /// After how many turns' worth of time it is asked whether somebody wants to be notified of what was published; 0: of nothing.
    unasked: u64,
    /// Bytes that engines moved in this turn.
    bytes: u64,
    /// Whether completions were shown in this turn.
    shown: bool,
}

/// Who is at the other end.
#[derive(Debug)]
enum Peer {
    Application(Arc<Shared>),
    Staging(Arc<StagingPort>),
}

impl Peer {
    fn pair(&self) -> &RingMemory {
        match self {
            Self::Application(shared) => &shared.client.pair,
            Self::Staging(port) => port.pair(),
        }
    }
}

impl Port {
    /// `waits`: those who asked to be notified are given time to reap by themselves.
    pub(super) fn application(shared: Arc<Shared>, waits: bool) -> Self {
        Self::new(Peer::Application(shared), waits)
    }

    pub(super) fn staging(port: Arc<StagingPort>) -> Self {
        Self::new(Peer::Staging(port), false)
    }

    fn new(peer: Peer, waits: bool) -> Self {
        Self {
            peer,
            submissions: submission::Consumer::new(),
            completions: completion::Producer::new(),
            owed: 0,
            active: 0,
            sampler: Sampler::default(),
            bundles: Sampler::default(),
            notice: Notice::new(waits),
            unasked: 0,
            bytes: 0,
            shown: false,
        }
    }

    /// Takes the next entry, if there is room for all that it may post.
    pub(super) fn take(&mut self) -> Option<SubmissionEntry> {
        let pair = self.peer.pair();
        let needed = self.owed + ENTRIES_PER_OPERATION;
        let slots = pair.completion_slots();
        // The consumer's end is another core's line: looked at only where what is known of it is not enough.
        if self.completions.known_room(slots) < needed
            && self.completions.room(pair.header(), slots) < needed
        {
            return None;
        }
        self.submissions.pop(pair.submission_slots())
    }

    /// The entry that `take` gives next, room for it or not, as it is now.
    pub(super) fn peek(&self) -> Option<SubmissionEntry> {
        self.submissions.peek(self.peer.pair().submission_slots())
    }

    /// How many entries were taken so far.
    pub(super) fn taken(&self) -> u64 {
        self.submissions.position()
    }

    /// Whether no entry waits to be taken.
    pub(super) fn is_empty(&self) -> bool {
        self.submissions.is_empty(self.peer.pair().submission_slots())
    }

    /// Waits with a monitor until the next entry is on its way, or as long as the monitor waits.
    pub(super) fn wait(&self, monitor: &mut dyn Monitor) {
        watch::wait(&self.submissions, self.peer.pair().submission_slots(), monitor);
    }

    /// Whether every entry was taken, those included whose producers are still writing them.
    pub(super) fn is_drained(&self) -> bool {
        self.submissions.is_drained(self.peer.pair().header())
    }

    /// Takes back the application's wish to be notified: nothing is in flight. Unless something is on its way.
    pub(super) fn retire_notify(&self) {
        if let Peer::Application(shared) = &self.peer {
            shared.client.retire_notify(&self.submissions);
        }
    }

    /// So many bytes were moved in this turn.
    #[inline]
    pub(super) fn moved(&mut self, bytes: u64) {
        self.bytes = self.bytes.saturating_add(bytes);
    }

    /// Posts an operation's end. Not visible before `publish`.
    pub(super) fn post(&mut self, key: Key, outcome: Result<(), Failure>) {
        match outcome {
            Ok(()) => self.put(CompletionEntry::new(key, CompletionCode::DONE, 0, 0)),
            Err(failure) => {
                if failure.offset != 0 {
                    self.put(CompletionEntry::detail(key, failure.offset));
                }
                self.put(failure.entry(key));
            }
        }
    }

    /// Posts that an operation's future is resolved ahead of its end; `post_release` is to follow.
    pub(super) fn post_early(&mut self, key: Key, why: Early) {
        self.put(CompletionEntry::new(key, CompletionCode::EARLY, why as u8, 0));
    }

    /// Posts the end of an operation whose future was resolved before.
    pub(super) fn post_release(&mut self, key: Key) {
        self.put(CompletionEntry::new(key, CompletionCode::ABORTED, 0, 0));
    }

    fn put(&mut self, entry: CompletionEntry) {
        let pair = self.peer.pair();
        // Room was checked when the operation was taken; a peer that moved the head back since loses its own
        // completions and nobody else's.
        if self.completions.push(pair.completion_slots(), entry).is_err() {
            tracing::error!("a completion ring's head was overwritten: a completion is lost");
        }
    }

    /// Asks whether somebody wants to be notified of what was published before.
    fn ask(&mut self) {
        if !handshake::must_notify(self.peer.pair().header()) {
            return;
        }
        match &self.peer {
            Peer::Application(_) => self.notice.owe(self.completions.published()),
            Peer::Staging(port) => port.wake(),
        }
    }

    /// Makes posted completions visible to those who look; `publish` follows.
    #[inline]
    pub(super) fn show(&mut self) {
        self.shown |= self.completions.publish(self.peer.pair().header());
    }

    /// Makes posted completions visible, and tells the peer if it asked to be told and does not look by itself.
    ///
    /// Whether it asked is looked at a few turns later: the full fence before that look waits until the stores of this turn have reached
    /// the lines that the peer reads, a hundred nanoseconds in which other work can be done, and one look serves all those turns.
    #[inline]
    pub(super) fn publish(&mut self) {
        let bytes = mem::take(&mut self.bytes);
        // What this turn took has passed for those who were owed before it, and for nobody else.
        self.notify(|notice, reaped| notice.is_due(bytes, reaped));
        self.show();
        if mem::take(&mut self.shown) {
            if self.unasked == 0 {
                self.unasked = TURNS_UNASKED;
            }
            if let Peer::Application(shared) = &self.peer {
                shared.ring_event();
            }
        }
        if self.unasked > 0 {
            self.unasked = self.unasked.saturating_sub(notice::turns(bytes));
            if self.unasked == 0 {
                self.ask();
                self.notify(|notice, reaped| notice.is_due_at_once(reaped));
            }
        }
    }

    /// How many of the completions that were shown the application has not taken.
    pub(super) fn unread(&self) -> u64 {
        match &self.peer {
            Peer::Application(shared) => {
                self.completions.published().wrapping_sub(shared.client.reaped())
            }
            Peer::Staging(_) => 0,
        }
    }

    /// Reaps for the application if that is due.
    #[inline]
    fn notify(&mut self, is_due: impl FnOnce(&mut Notice, &dyn Fn() -> u64) -> bool) {
        if let Peer::Application(shared) = &self.peer
            && is_due(&mut self.notice, &|| shared.client.reaped())
        {
            shared.client.reap();
        }
    }

    /// Does what is owed to those who sleep now: the next turns may take long.
    pub(super) fn settle(&mut self) {
        if mem::take(&mut self.unasked) > 0 {
            self.ask();
        }
        self.notify(|notice, _| notice.settle());
    }
}
