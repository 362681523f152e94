//! What the rings alone allow: the same entries and completions between the same two cores, for batches with the words that say
//! where their copies are, and nothing else. No operation is checked or carried out, nothing has a waker, and nobody else submits.
//! Once more with the other locked instructions that a copy
//! takes in the runtime, on a few words that no other core uses; those that a reap takes for all that it finds, and fences, only
//! where one copy is awaited after the other; for batches with those and with copies that are chosen, checked and made, too. And of many
//! regions, with copies that are made and dropped.
//!
//! Whoever answers is tuned to the work as no poller could be: it leaves the ring alone for as long after few entries as is fastest.

use std::{
    array,
    error::Error,
    hint,
    sync::atomic::{AtomicBool, Ordering, fence},
    thread,
};

use dmaring::Copy;
use dmaring_benches::{
    pinning,
    record::{Chunks, Latencies, Measuring, Record, Unit},
    rings::OwnRings,
};
use dmaring_ring::{Key, Opcode, Rings, SubmissionEntry, beside::Beside, completion, submission};

use crate::{
    Outcome, Setup,
    locks::Words,
    memory::{Blocks, Pair},
    server::{BLOCKS, Server},
    short::{BATCH, COPIES, DEPTH, LATENCIES},
    together,
};

const ENTRIES: u32 = 1024;
/// How many bytes a copy has that is carried out.
const COPIED: usize = 64;
/// For how many `pause`s the ring is left alone after fewer: the fastest counts.
const HOLDS: [usize; 4] = [0, 16, 64, 128];

pub(crate) fn measure(setup: &Setup, pair: &mut Pair, blocks: &Blocks) -> Outcome {
    between_cores(setup, |client, _| awaited(client))?;
    between_cores(setup, in_flight)?;
    between_cores(setup, in_batches)?;
    carried_out(setup, pair, blocks)
}

/// In batches, whose copies are made. A block that is never copied is found missing.
fn carried_out(setup: &Setup, pair: &mut Pair, blocks: &Blocks) -> Outcome {
    let (source, destination) = pair.slices()?;
    let carry = |[from, to]: [u64; 2]| {
        let from = source.get(from as usize..).and_then(|from| from.first_chunk::<COPIED>());
        let to = destination.get_mut(to as usize..).and_then(|to| to.first_chunk_mut::<COPIED>());
        if let (Some(from), Some(to)) = (from, to) {
            *to = *from;
        }
    };
    let words = Words::default();
    let put = |number| blocks.copy(number).into();
    let (record, is_in_order) = answered_by(setup, carry, |client, server| {
        let names = ("rings_and_copies", "copy64-32-batch");
        let record = client.fastest::<BATCH>(server, names, |_| of_a_batch(&words), put)?;
        Ok((record, client.in_order))
    })?;
    Ok(record.print(is_in_order && pair.verify(blocks)?)?)
}

/// The rings, and copies that `make` makes, and that are dropped before they are submitted.
pub(crate) fn handles(setup: &Setup, work: &str, make: impl Fn(u64) -> Copy) -> Outcome {
    let made = |number| drop(hint::black_box(make(number)));
    between_cores(setup, |client, server| {
        client.best::<1>(server, ("rings_and_handles", work), made)
    })
}

/// Does `work` while whoever answers is on the poller's core, and reads where copies are.
fn between_cores(setup: &Setup, work: impl FnOnce(&mut Client<'_>, &Server) -> Outcome) -> Outcome {
    answered_by(
        setup,
        |words| {
            let _ = hint::black_box(words);
        },
        work,
    )
}

/// Does `work` while whoever answers is on the poller's core, and carries out where copies are.
fn answered_by<T>(
    setup: &Setup,
    mut carry: impl FnMut([u64; 2]) + Send,
    work: impl FnOnce(&mut Client<'_>, &Server) -> Result<T, Box<dyn Error>>,
) -> Result<T, Box<dyn Error>> {
    together::bring(setup.poller_core)?;
    let memory = OwnRings::new(ENTRIES)?;
    let rings = memory.get();
    let (is_pinned, server) = (AtomicBool::new(false), Server::default());
    thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let pinned = pinning::pin(setup.poller_core);
            is_pinned.store(true, Ordering::Release);
            if pinned.is_ok() {
                server.serve(rings, &mut carry);
            }
            pinned
        });
        while !is_pinned.load(Ordering::Acquire) {
            thread::yield_now();
        }
        let mut client = Client::new(rings);
        let measured = (!thread.is_finished()).then(|| work(&mut client, &server));
        server.end();
        thread.join().map_err(|_| "the thread that answers panicked")??;
        measured.unwrap_or_else(|| Err("the thread that answers has ended".into()))
    })
}

fn awaited(client: &mut Client<'_>) -> Outcome {
    let words = Words::default();
    client.latency("rings", || {}, || {}, || {})?;
    let asked_for_sleepers = || fence(Ordering::SeqCst);
    client.latency("rings_and_locks", || words.begin(), asked_for_sleepers, || words.end())
}

/// All of a copy's.
fn alone(words: &Words) {
    words.of_two_handles();
    words.of_some();
    words.of_an_end();
}

/// All of those that share an entry, and have their batch to themselves.
fn of_a_batch(words: &Words) {
    words.begin();
    words.of_a_hold();
    words.end();
}

fn in_flight(client: &mut Client<'_>, server: &Server) -> Outcome {
    let words = Words::default();
    // What is left if only the handles are counted, and an end cannot come twice.
    let fewest = |_| {
        words.of_two_handles();
        words.of_an_end();
    };
    client.best::<1>(server, ("rings", "copy64-32"), |_| {})?;
    client.best::<1>(server, ("rings_and_three_locks", "copy64-32"), fewest)?;
    client.best::<1>(server, ("rings_and_locks", "copy64-32"), |_| alone(&words))
}

/// One entry for all copies of a batch.
fn in_batches(client: &mut Client<'_>, server: &Server) -> Outcome {
    let words = Words::default();
    client.best::<BATCH>(server, ("rings", "copy64-32-batch"), |_| {})?;
    client.best::<BATCH>(server, ("rings_and_locks", "copy64-32-batch"), |_| of_a_batch(&words))
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

    /// One entry after the other: what is done before each, when it is pushed, and when its answer was taken.
    fn latency(
        &mut self,
        side: &str,
        before: impl Fn(),
        pushed: impl Fn(),
        after: impl Fn(),
    ) -> Outcome {
        let mut latencies = Latencies::new();
        for count in [LATENCIES / 10, LATENCIES] {
            let measuring = Measuring::begin(side, "copy64-1")?;
            latencies.reset();
            for _ in 0..count {
                before();
                self.push();
                pushed();
                self.wait_for(1);
                after();
                latencies.tick();
            }
            if count == LATENCIES {
                measuring.end(Unit::Ns, latencies.samples())?.print(self.in_order)?;
            }
        }
        Ok(())
    }

    /// Many copies in flight, `N` with an entry: the fastest of the ways to answer them. `before` is done for each entry.
    fn best<const N: usize>(
        &mut self,
        server: &Server,
        names: (&str, &str),
        before: impl Fn(u64),
    ) -> Outcome {
        let record = self.fastest::<N>(server, names, before, |number| [number; 2])?;
        Ok(record.print(self.in_order)?)
    }

    /// The same, where `put` gives the words of each copy.
    fn fastest<'n, const N: usize>(
        &mut self,
        server: &Server,
        (side, work): (&'n str, &'n str),
        before: impl Fn(u64),
        put: impl Fn(u64) -> [u64; 2],
    ) -> Result<Record<'n>, Box<dyn Error>> {
        let mut best: Option<Record<'_>> = None;
        for hold in HOLDS {
            server.leave_alone_for(hold);
            self.stream::<N>(server, COPIES / 10, &before, &put);
            let measuring = Measuring::begin(side, work)?;
            let chunks = self.stream::<N>(server, COPIES, &before, &put);
            let record = measuring.end(Unit::PerS, chunks.rates(1))?;
            if best.as_ref().is_none_or(|best| record.median() > best.median()) {
                best = Some(record);
            }
        }
        server.leave_alone_for(0);
        Ok(best.ok_or("nothing was measured")?)
    }

    fn stream<const N: usize>(
        &mut self,
        server: &Server,
        count: u64,
        before: &impl Fn(u64),
        put: &impl Fn(u64) -> [u64; 2],
    ) -> Chunks {
        let (copies, entries) = (N as u64, count / N as u64);
        let (mut chunks, begin) = (Chunks::of(count), self.ended);
        while self.ended < begin + entries {
            if self.pushed - self.ended >= (DEPTH / N) as u64 || self.pushed == begin + entries {
                self.wait_for(1);
                chunks.ended((self.ended - begin) * copies);
            } else {
                before(self.pushed);
                self.push_of::<N>(server, put);
            }
        }
        chunks
    }

    /// Pushes an entry of so many copies.
    fn push_of<const N: usize>(&mut self, server: &Server, put: &impl Fn(u64) -> [u64; 2]) {
        if N == 1 {
            return self.push();
        }
        let (place, first) = (self.pushed as usize % BLOCKS, self.pushed * N as u64);
        let words: [[u64; 2]; N] = array::from_fn(|copy| put(first + copy as u64));
        let beside = Beside::new(server.block(place).0.as_flattened(), words.as_flattened());
        let entry = self.entry(place);
        let (header, slots) = (self.rings.header(), self.rings.submission_slots());
        while submission::push_beside(header, slots, (&entry, beside), None).is_err() {}
        self.pushed += 1;
    }

    /// Pushes an entry that names no block.
    fn push(&mut self) {
        let entry = self.entry(usize::MAX);
        let (header, slots) = (self.rings.header(), self.rings.submission_slots());
        while submission::push(header, slots, &[entry]).is_err() {}
        self.pushed += 1;
    }

    /// The next entry, which names a block, or none.
    fn entry(&self, block: usize) -> SubmissionEntry {
        SubmissionEntry {
            opcode: Opcode::COPY,
            length: 64,
            source_offset: block as u64,
            key: Key { index: (self.pushed % u64::from(ENTRIES)) as u32, generation: 1 },
            ..SubmissionEntry::default()
        }
    }

    /// Takes what has ended until it is so many more, or more than that.
    fn wait_for(&mut self, count: u64) {
        let (header, places) = (self.rings.header(), self.rings.completion_slots());
        let end = (self.ended + count).min(self.pushed);
        while self.ended < end {
            if !completion::peek(header, places, self.ended) {
                continue;
            }
            while let Some(answer) = self.answers.pop(header, places) {
                self.in_order &= u64::from(answer.key.index) == self.ended % u64::from(ENTRIES);
                self.ended += 1;
            }
            self.answers.release(header);
        }
    }
}
