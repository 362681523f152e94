//! What the rings alone allow: the same entries and completions between the same two cores, and nothing else. No operation is
//! checked or carried out, nothing has a handle or a waker, and nobody else submits. With many in flight whoever answers leaves the
//! ring alone for a moment after it has found few entries, as the poller does: single pushes pass faster so.

use std::{
    hint,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use dmaring_benches::{
    pinning,
    record::{Chunks, Latencies, Measuring, Unit},
    rings::OwnRings,
};
use dmaring_ring::{
    CompletionCode, CompletionEntry, Key, Opcode, Rings, SubmissionEntry, completion, submission,
};

use crate::{
    Outcome, Setup,
    short::{BATCH, COPIES, DEPTH, LATENCIES},
};

const ENTRIES: u32 = 1024;
/// After how many entries their completions are published.
const TOGETHER: usize = 16;
/// For how many `pause`s the ring is left alone where entries are let gather.
const HOLD: usize = 64;
const SIDE: &str = "rings";

pub(crate) fn measure(setup: &Setup) -> Outcome {
    let memory = OwnRings::new(ENTRIES)?;
    let rings = memory.get();
    let (is_pinned, is_over) = (AtomicBool::new(false), AtomicBool::new(false));
    let gathers = AtomicBool::new(false);
    thread::scope(|scope| {
        let server = scope.spawn(|| {
            let pinned = pinning::pin(setup.poller_core);
            is_pinned.store(true, Ordering::Release);
            if pinned.is_ok() {
                serve(rings, &gathers, &is_over);
            }
            pinned
        });
        while !is_pinned.load(Ordering::Acquire) {
            thread::yield_now();
        }
        let measured =
            if server.is_finished() { Ok(()) } else { Client::new(rings).measure(&gathers) };
        is_over.store(true, Ordering::Release);
        server.join().map_err(|_| "the thread that answers panicked")??;
        measured
    })
}

/// Answers every entry.
fn serve(rings: &Rings, gathers: &AtomicBool, is_over: &AtomicBool) {
    let (header, slots, places) =
        (rings.header(), rings.submission_slots(), rings.completion_slots());
    let (mut entries, mut answers) = (submission::Consumer::new(), completion::Producer::new());
    while !is_over.load(Ordering::Relaxed) {
        // The other side's end is another core's line: looked at only where what is known of it is not enough.
        if answers.known_room(places) < TOGETHER && answers.room(header, places) < TOGETHER {
            continue;
        }
        let mut answered = 0;
        while answered < TOGETHER
            && let Some(entry) = entries.pop(slots)
        {
            answered += 1;
            let answer = CompletionEntry::new(entry.key, CompletionCode::DONE, 0, 0);
            // There is room.
            let _ = answers.push(places, answer);
        }
        answers.publish(header);
        if (1..TOGETHER).contains(&answered) && gathers.load(Ordering::Relaxed) {
            (0..HOLD).for_each(|_| hint::spin_loop());
        }
    }
}

struct Client<'a> {
    rings: &'a Rings,
    answers: completion::Consumer,
    pushed: u64,
    ended: u64,
    /// Whether each answer was to the entry that was next.
    in_order: bool,
}

impl<'a> Client<'a> {
    fn new(rings: &'a Rings) -> Self {
        let answers = completion::Consumer::new();
        Self { rings, answers, pushed: 0, ended: 0, in_order: true }
    }

    fn measure(&mut self, gathers: &AtomicBool) -> Outcome {
        let mut latencies = Latencies::new();
        for count in [LATENCIES / 10, LATENCIES] {
            let measuring = Measuring::begin(SIDE, "copy64-1")?;
            latencies.reset();
            for _ in 0..count {
                self.push(1);
                self.wait_for(1);
                latencies.tick();
            }
            if count == LATENCIES {
                measuring.end(Unit::Ns, latencies.samples())?.print(self.in_order)?;
            }
        }
        gathers.store(true, Ordering::Relaxed);
        for (work, batch) in [("copy64-32", 1), ("copy64-32-batch", BATCH)] {
            for count in [COPIES / 10, COPIES] {
                let measuring = Measuring::begin(SIDE, work)?;
                let (mut chunks, begin) = (Chunks::of(count), self.ended);
                while self.ended < begin + count {
                    if self.pushed - self.ended > (DEPTH - batch) as u64
                        || self.pushed == begin + count
                    {
                        self.wait_for(batch as u64);
                        chunks.ended(self.ended - begin);
                    } else {
                        self.push(batch);
                    }
                }
                if count == COPIES {
                    measuring.end(Unit::PerS, chunks.rates(1))?.print(self.in_order)?;
                }
            }
        }
        Ok(())
    }

    /// Pushes so many entries, with one claim.
    fn push(&mut self, count: usize) {
        let mut entries = [SubmissionEntry::default(); BATCH];
        for (entry, number) in entries.iter_mut().zip(self.pushed..) {
            let key = Key { index: (number % u64::from(ENTRIES)) as u32, generation: 1 };
            *entry = SubmissionEntry { opcode: Opcode::COPY, length: 64, key, ..*entry };
        }
        let entries = entries.get(..count).unwrap_or_default();
        while submission::push(self.rings.header(), self.rings.submission_slots(), entries).is_err()
        {
        }
        self.pushed += entries.len() as u64;
    }

    /// Takes what has ended until it is so many more, or more than that.
    fn wait_for(&mut self, count: u64) {
        let (header, places) = (self.rings.header(), self.rings.completion_slots());
        let end = (self.ended + count).min(self.pushed);
        while self.ended < end {
            while let Some(answer) = self.answers.pop(header, places) {
                self.in_order &= u64::from(answer.key.index) == self.ended % u64::from(ENTRIES);
                self.ended += 1;
            }
            self.answers.release(header);
        }
    }
}
