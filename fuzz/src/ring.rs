//! A peer that overwrites the rings' shared memory at any time, with anything.
//!
//! Every call returns, stays in the rings, and gives out no more than a ring holds. As long as nothing has
//! been overwritten both rings are bounded queues, and that is checked, too.

use std::collections::VecDeque;

use arbitrary::Unstructured;
use dmaring_ring::{
    CompletionCode, CompletionEntry, Full, Key, Layout, Rings, SubmissionEntry, completion,
    handshake, submission,
};

use crate::{
    memory::{PAGE, Pages},
    numbers::{byte, number, word},
};

/// The shared words of the header, in units of 8 bytes; what identifies the rings is before them.
const SHARED: [usize; 5] = [128 / 8, 256 / 8, 384 / 8, 512 / 8, 640 / 8];

/// How many calls an input makes at most: several laps of the largest ring.
const MOST_CALLS: usize = 4096;

/// Does what the bytes say.
pub fn run(input: &[u8]) {
    let mut input = Unstructured::new(input);
    let entries = 1 << (1 + byte(&mut input) % 4);
    let layout = Layout::new(entries).expect("a power of two from 2 to 16");
    let pages = Pages::new(layout.size() / PAGE);
    let rings = pages.create_rings(layout).expect("pages as the layout asks for");
    let mut world = World::new(&pages, &rings);
    for _ in 0..MOST_CALLS {
        if input.is_empty() {
            break;
        }
        world.call(&mut input);
    }
    world.settle();
}

struct World<'a> {
    pages: &'a Pages,
    rings: &'a Rings,
    consumer: submission::Consumer,
    producer: completion::Producer,
    reaper: completion::Consumer,
    next: u32,
    /// What the rings hold, while nobody has overwritten anything.
    model: Option<Model>,
}

/// Entries in the submission ring; completions not published, published, and read but not released.
#[derive(Default)]
struct Model {
    submitted: VecDeque<SubmissionEntry>,
    hidden: VecDeque<CompletionEntry>,
    visible: VecDeque<CompletionEntry>,
    held: usize,
}

impl<'a> World<'a> {
    fn new(pages: &'a Pages, rings: &'a Rings) -> Self {
        Self {
            pages,
            rings,
            consumer: submission::Consumer::new(),
            producer: completion::Producer::new(),
            reaper: completion::Consumer::new(),
            next: 0,
            model: Some(Model::default()),
        }
    }

    fn call(&mut self, input: &mut Unstructured<'_>) {
        match byte(input) % 10 {
            0 => self.overwrite(input),
            1 | 2 => self.push(usize::from(byte(input) % 20)),
            3 => self.pop(usize::from(byte(input) % 40)),
            4 => self.post(usize::from(byte(input) % 40)),
            5 => self.publish(),
            6 => self.reap(usize::from(byte(input) % 40)),
            7 => self.release(),
            8 => self.shake_hands(byte(input)),
            _ => self.attach(usize::from(number::<u16>(input))),
        }
    }

    fn overwrite(&mut self, input: &mut Unstructured<'_>) {
        let choice = byte(input);
        let at = match choice % 3 {
            0 => SHARED[usize::from(choice / 3) % SHARED.len()],
            _ => usize::from(number::<u16>(input)) % self.pages.words(),
        };
        let before = self.pages.load(at);
        self.pages.store(at, word(input, before));
        self.model = None;
    }

    fn push(&mut self, count: usize) {
        let batch: Vec<_> = (0..count).map(|_| self.entry()).collect();
        let slots = self.rings.submission_slots();
        let pushed = submission::push(self.rings.header(), slots, &batch);
        assert!(count <= slots.len() || pushed == Err(Full));
        if let Some(model) = &mut self.model {
            let fits = model.submitted.len() + count <= slots.len();
            assert_eq!(pushed.is_ok(), fits);
            if fits {
                model.submitted.extend(batch);
            }
        }
    }

    fn pop(&mut self, count: usize) {
        let slots = self.rings.submission_slots();
        for _ in 0..count {
            let is_empty = self.consumer.is_empty(slots);
            let ahead = self.consumer.peek(slots);
            let popped = self.consumer.pop(slots);
            assert_eq!(popped.is_none(), is_empty);
            assert_eq!(popped, ahead);
            if let Some(model) = &mut self.model {
                assert_eq!(popped, model.submitted.pop_front());
            }
        }
        if let Some(model) = &self.model {
            assert_eq!(self.consumer.is_drained(self.rings.header()), model.submitted.is_empty());
        }
    }

    fn post(&mut self, count: usize) {
        let slots = self.rings.completion_slots();
        let room = self.producer.room(self.rings.header(), slots);
        assert!(room <= slots.len());
        if let Some(model) = &self.model {
            assert_eq!(room + model.hidden.len() + model.visible.len() + model.held, slots.len());
        }
        for number in 0..count {
            let entry = self.end();
            let pushed = self.producer.push(slots, entry);
            assert_eq!(pushed.is_ok(), number < room, "room for {room}");
            if let Some(model) = &mut self.model
                && number < room
            {
                model.hidden.push_back(entry);
            }
        }
    }

    fn publish(&mut self) {
        let is_new = self.producer.publish(self.rings.header());
        if let Some(Model { hidden, visible, .. }) = &mut self.model {
            assert_eq!(is_new, !hidden.is_empty());
            visible.append(hidden);
        }
    }

    fn reap(&mut self, count: usize) {
        let (header, slots) = (self.rings.header(), self.rings.completion_slots());
        for _ in 0..count {
            let popped = self.reaper.pop(header, slots);
            if let Some(model) = &mut self.model {
                let expected = model.visible.pop_front();
                model.held += usize::from(expected.is_some());
                assert_eq!(popped, expected);
            }
        }
        if let Some(model) = &self.model {
            assert!(!self.reaper.is_corrupt());
            assert_eq!(self.reaper.is_empty(header), model.visible.is_empty());
        }
    }

    fn release(&mut self) {
        let header = self.rings.header();
        self.reaper.release(header);
        if let Some(model) = &mut self.model {
            model.held = 0;
        }
        if self.reaper.is_corrupt() {
            assert!(!handshake::has_completions(header), "a reaper would look for ever");
        }
    }

    fn shake_hands(&mut self, which: u8) {
        let header = self.rings.header();
        match which % 7 {
            0 => handshake::prepare_park(header),
            1 => handshake::cancel_park(header),
            2 => {
                let _ = handshake::must_wake(header);
                assert!(!handshake::must_wake(header), "one waker is elected");
            }
            3 => {
                handshake::request_notify(header);
                assert!(handshake::must_notify(header));
            }
            4 => {
                let _ = handshake::clear_notify(header);
                assert!(!handshake::must_notify(header));
            }
            5 => handshake::rearm(header),
            _ => {
                let retired = handshake::retire_notify(header, &self.consumer);
                assert_eq!(retired, !handshake::must_notify(header));
            }
        }
    }

    /// A second view is refused, or agrees with the memory there is.
    fn attach(&self, length: usize) {
        let Ok(second) = self.pages.attach_rings(length) else {
            return assert!(self.model.is_none() || length < self.rings.layout().size());
        };
        assert!(second.layout().size() <= length);
        let _ = submission::Consumer::new().is_empty(second.submission_slots());
        assert_eq!(second.completion_slots().len(), 2 * second.submission_slots().len());
    }

    /// Whatever happened, each side gives out at most what a ring holds, and then nothing more.
    fn settle(&mut self) {
        let (header, slots) = (self.rings.header(), self.rings.completion_slots());
        let popped = std::iter::from_fn(|| self.reaper.pop(header, slots)).count();
        assert!(popped <= 2 * slots.len(), "{popped} completions at once");
        assert!(self.reaper.is_empty(header));
        self.reaper.release(header);
        assert!(!handshake::has_completions(header), "a reaper would look for ever");
        let slots = self.rings.submission_slots();
        // Slots are freed in turn, each for the next lap: a lap pops each at most once.
        let popped = std::iter::from_fn(|| self.consumer.pop(slots)).take(slots.len() + 1).count();
        assert!(popped <= slots.len(), "{popped} entries at once");
    }

    fn entry(&mut self) -> SubmissionEntry {
        let id = self.number();
        SubmissionEntry {
            key: Key { index: id, generation: !id },
            source: Key { index: id ^ 1, generation: id ^ 2 },
            destination: Key { index: id ^ 3, generation: id ^ 4 },
            source_offset: u64::from(id) << 20,
            destination_offset: !u64::from(id),
            length: u64::from(id) * 3,
            ..SubmissionEntry::default()
        }
    }

    fn end(&mut self) -> CompletionEntry {
        let id = self.number();
        CompletionEntry::new(Key { index: id, generation: !id }, CompletionCode::DEVICE, 7, id ^ 5)
    }

    fn number(&mut self) -> u32 {
        self.next += 1;
        self.next
    }
}
