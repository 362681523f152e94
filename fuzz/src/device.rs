//! A device that answers the I/OAT driver with anything: registers, configuration space, the completion word.
//!
//! Nothing panics or waits for ever. A token is told once, and `Done` only after it was submitted and after
//! the device has named a completed descriptor. The ring's memory is not given back while the device may
//! still use it. At the end the device behaves again: then every token is told, and the channel works. Until
//! then the engine is driven as a poller does it: a recovery follows a failure that was told, and nothing else.

mod domain;
mod hardware;

use std::{collections::BTreeSet, task::Poll, time::Duration};

use arbitrary::Unstructured;
use dmaring_driver::{IoatChannel, ioat::Options};
use dmaring_engine::{Completion, Engine, Iova, Operation, Outcome, Token, Transfer};
use dmaring_ioat_spec::ConfigIo;

use crate::numbers::{byte, number, word};
use hardware::{HALTED, Hardware};

/// How many calls an input makes at most.
const MOST_CALLS: usize = 2048;

/// Polls after which a device that behaves has told everything: a reset, and CHANSTS every few polls.
const PATIENCE: usize = 200;

const NOTHING: Completion = Completion { token: Token::new(u64::MAX), outcome: Outcome::NotRun };

/// Does what the bytes say.
pub fn run(input: &[u8]) {
    let mut input = Unstructured::new(input);
    let how = byte(&mut input);
    let entries = 4 << (how & 3);
    let hardware = Hardware::new(entries);
    if how & 0x80 != 0 {
        // A device that lies from the start.
        hardware.with(|device| device.appear(&mut input));
    }
    start_and_go_on(&hardware, entries, how, &mut input);
    hardware.reclaim();
}

fn start_and_go_on(hardware: &Hardware, entries: u32, how: u8, input: &mut Unstructured<'_>) {
    let config: Option<Box<dyn ConfigIo>> = match how & 0x40 {
        0 => None,
        _ => Some(Box::new(hardware.clone())),
    };
    hardware.with(|device| device.fills = how & 0x20 != 0);
    let options = Options {
        ring_entries: entries,
        status_interval: u32::from(how >> 3 & 3),
        hang_after: (how & 4 != 0).then_some(Duration::from_millis(500)),
        clock: Box::new(hardware.clone()),
        ..Options::default()
    };
    let started = IoatChannel::start(hardware.clone(), config, hardware.domain(), options);
    let channel = match started {
        Ok(channel) => channel,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    let mut bench = Bench {
        hardware,
        channel,
        next: 0,
        enqueued: BTreeSet::new(),
        submitted: BTreeSet::new(),
        stopped: false,
        failed: false,
        unsettled: false,
    };
    for _ in 0..MOST_CALLS {
        if input.is_empty() {
            break;
        }
        bench.call(input);
        assert!(bench.channel.room() <= bench.channel.capabilities().depth);
    }
    bench.settle();
}

struct Bench<'a> {
    hardware: &'a Hardware,
    channel: IoatChannel<Hardware>,
    next: u64,
    enqueued: BTreeSet<u64>,
    submitted: BTreeSet<u64>,
    /// It was halted: what was not told never will be.
    stopped: bool,
    /// A failure was told, and no recovery has succeeded since.
    failed: bool,
    /// A recovery was begun and has not succeeded.
    unsettled: bool,
}

impl Bench<'_> {
    fn call(&mut self, input: &mut Unstructured<'_>) {
        match byte(input) % 20 {
            0..=2 => self.copy(number::<u16>(input)),
            3 => self.fill(number::<u16>(input)),
            4 => {
                let token = self.next;
                let taken = self.channel.enqueue_null(Token::new(token)).is_ok();
                self.taken(taken);
            }
            5 => drop(self.channel.fence()),
            6 | 7 => self.submit(),
            8..=10 => self.poll(usize::from(byte(input) % 9)),
            11 => self.recover(),
            12 | 13 => {
                let behind = byte(input);
                self.hardware.with(|device| device.progress(behind));
            }
            14 => self.say(input),
            15 => {
                let milliseconds = byte(input);
                self.hardware.with(|device| device.wait(u64::from(milliseconds) * 8));
            }
            16 => {
                let count = usize::from(byte(input) % 64);
                let lies: Vec<_> = (0..count).map(|_| byte(input)).collect();
                self.hardware.with(|device| device.script.extend(lies));
            }
            17 => {
                let stuck = byte(input);
                self.hardware.with(|device| device.stuck = stuck);
            }
            18 => self.rarely(byte(input)),
            _ => self.scribble(input),
        }
    }

    fn copy(&mut self, length: u16) {
        let source = Iova::new(0x10_0000);
        self.enqueue(Operation::Copy { source }, length.into());
    }

    fn fill(&mut self, length: u16) {
        self.enqueue(Operation::Fill { pattern: self.next }, length.into());
    }

    fn enqueue(&mut self, operation: Operation, length: u64) {
        let transfer = Transfer { operation, destination: Iova::new(0x20_0000), length };
        let taken = domain::enqueue(&mut self.channel, Token::new(self.next), &transfer).is_ok();
        self.taken(taken);
    }

    fn taken(&mut self, taken: bool) {
        assert!(!taken || !self.stopped, "taken by an engine that was halted");
        if taken {
            self.enqueued.insert(self.next);
            self.next += 1;
        }
    }

    fn submit(&mut self) {
        self.channel.submit();
        self.submitted.append(&mut self.enqueued);
    }

    fn poll(&mut self, places: usize) {
        let mut completions = vec![NOTHING; places];
        let count = self.channel.poll(&mut completions);
        let (told, untouched) = completions.split_at(count);
        assert!(untouched.iter().all(|place| *place == NOTHING));
        for completion in told {
            let token = completion.token.get();
            let submitted = self.submitted.remove(&token);
            let known = submitted || self.enqueued.remove(&token);
            assert!(known, "told twice or from nowhere: {completion:?}");
            assert!(submitted || completion.outcome == Outcome::NotRun, "{completion:?}");
            self.failed |= completion.outcome != Outcome::Done;
            let named = self.hardware.with(|device| device.named);
            assert!(named || completion.outcome != Outcome::Done, "nobody said so: {completion:?}");
        }
    }

    fn recover(&mut self) {
        if self.failed {
            self.unsettled = self.channel.recover() != Poll::Ready(Ok(()));
            self.failed = self.unsettled;
        }
    }

    /// Sets what a register or the completion word says.
    fn say(&mut self, input: &mut Unstructured<'_>) {
        let which = byte(input);
        let honest = self.hardware.with(|device| device.status);
        let value = match which & 8 {
            0 => word(input, honest),
            _ => {
                self.hardware.with(|device| device.base()) + u64::from(number::<u16>(input) % 2304)
            }
        };
        match which % 5 {
            0 | 1 => self.hardware.write_completion(value),
            2 => self.hardware.with(|device| device.status = value),
            3 => self.hardware.with(|device| device.errors = value as u32),
            _ => self.hardware.with(|device| device.command = value as u8),
        }
    }

    fn rarely(&mut self, what: u8) {
        match what {
            0..=15 => {
                let stopped = self.channel.halt(Duration::from_millis(what.into()));
                assert!(
                    stopped.is_err() || self.hardware.with(|device| device.is_stopped()),
                    "it may run"
                );
                self.stopped = true;
            }
            16..=47 => self.hardware.with(|device| device.gone = true),
            48..=79 => self.hardware.with(|device| device.gone = false),
            80..=95 => self.hardware.with(|device| device.refuse_unmap = true),
            96..=127 => self.hardware.with(|device| device.internal = Some(what.into())),
            _ => self.hardware.with(|device| device.internal = None),
        }
    }

    /// The device writes to the memory that it was lent.
    fn scribble(&mut self, input: &mut Unstructured<'_>) {
        let at = number::<u16>(input);
        // The completion word has its own call, which knows what it names.
        if at != 8 {
            self.hardware.write_memory(usize::from(at), word(input, 0));
        }
    }

    /// From here on the device does what a device does.
    fn settle(mut self) {
        if self.stopped {
            return;
        }
        self.hardware.with(|device| device.behave());
        self.submit();
        self.listen();
        if !self.unsettled {
            assert!((0..3).any(|_| self.works()), "it does not come back");
        }
    }

    /// Whether the channel carries out a copy, once it has room for one.
    fn works(&mut self) -> bool {
        for _ in 0..PATIENCE {
            if self.channel.room() > 0 {
                break;
            }
            self.poll(8);
            self.recover();
            self.hardware.with(|device| device.wait(10));
        }
        assert!(self.channel.room() > 0, "no room, and no failure told: {:?}", self.channel);
        self.copy(64);
        self.submit();
        self.hardware.with(|device| device.progress(0));
        let done = self.hardware.with(|device| device.status & 7 != HALTED);
        self.listen();
        done
    }

    /// Polls until everything that was submitted is told.
    fn listen(&mut self) {
        for _ in 0..PATIENCE {
            if self.submitted.is_empty() {
                return;
            }
            self.poll(8);
            self.hardware.with(|device| device.wait(10));
        }
        panic!("never told: {:?}", self.submitted);
    }
}
