//! Registers in plain memory that note each write, and a channel on them.
//!
//! This is no model of the device. After a write the registers hold what was written, except for the few
//! answers without which no channel comes up (`State::write`); each can be switched off. What
//! happens to transfers is up to the test, which writes CHANSTS and the completion word.
#![allow(unsafe_code, reason = "enqueues transfers as the runtime would")]

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use dmaring_driver::ioat::{Clock, IoatChannel, Options, StartError};
use dmaring_engine::{Completion, Engine, EnqueueError, Iova, Operation, Outcome, Token, Transfer};
use dmaring_ioat_spec::{ConfigIo, RegisterIo};

use crate::{
    host::Landlord,
    memory::{IOVA, Memory},
};

pub(crate) const CBVER: u32 = 0x08;
pub(crate) const CHANCNT: u32 = 0x00;
pub(crate) const XFERCAP: u32 = 0x01;
pub(crate) const DMACAPABILITY: u32 = 0x10;
pub(crate) const CHANCTRL: u32 = 0x80;
pub(crate) const CHANCMD: u32 = 0x84;
pub(crate) const DMACOUNT: u32 = 0x86;
pub(crate) const CHANSTS: u32 = 0x88;
pub(crate) const CHAINADDR: u32 = 0x90;
pub(crate) const CHANCMP: u32 = 0x98;
pub(crate) const CHANERR: u32 = 0xa8;

pub(crate) const ACTIVE: u64 = 0;
pub(crate) const IDLE: u64 = 1;
pub(crate) const SUSPENDED: u64 = 2;
pub(crate) const HALTED: u64 = 3;
pub(crate) const ARMED: u64 = 4;

/// Where the first completion word and the descriptors are.
pub(crate) const WORD: u64 = IOVA + 64;
pub(crate) const RING: u64 = IOVA + 4096;

pub(crate) const NOTHING: Completion =
    Completion { token: Token::new(u64::MAX), outcome: Outcome::NotRun };

/// What the registers do not do after a write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Refusals {
    pub(crate) suspend: bool,
    pub(crate) reset: bool,
    /// The reset ends and the state stays.
    pub(crate) halt: bool,
    pub(crate) clear: bool,
    pub(crate) arm: bool,
    pub(crate) null: bool,
    pub(crate) word: bool,
    /// The claim stays.
    pub(crate) release: bool,
}

/// One write: offset and value; in configuration space, offset | CONFIG.
pub(crate) type Write = (u32, u64);
pub(crate) const CONFIG: u32 = 1 << 31;
/// The command register.
pub(crate) const COMMAND: u16 = 0x04;

#[derive(Clone, Debug)]
pub(crate) struct Registers(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    bytes: Vec<u8>,
    writes: Vec<Write>,
    status_reads: usize,
    /// What the device writes just before CHANSTS is read next: the completion word, and CHANSTS.
    race: Option<(u64, u64)>,
    refusals: Refusals,
    memory: Memory,
    /// Every read is all ones.
    gone: bool,
    config: Vec<(u16, u32)>,
    /// They answer again once the command register is written.
    back_soon: bool,
    /// Configuration space reads all ones.
    config_gone: bool,
    /// Configuration space does not keep what is written to it.
    config_fixed: bool,
}

impl State {
    fn read(&self, offset: u32, width: usize) -> u64 {
        if self.gone {
            return u64::MAX;
        }
        let offset = offset as usize;
        let mut word = [0; 8];
        word[..width].copy_from_slice(&self.bytes[offset..offset + width]);
        u64::from_le_bytes(word)
    }

    fn set(&mut self, offset: u32, width: usize, value: u64) {
        let offset = offset as usize;
        self.bytes[offset..offset + width].copy_from_slice(&value.to_le_bytes()[..width]);
    }

    fn write(&mut self, offset: u32, width: usize, value: u64) {
        self.writes.push((offset, value));
        let before = self.read(offset, width);
        self.set(offset, width, value);
        let status = self.read(CHANSTS, 8);
        let refusals = self.refusals;
        let mut state = |state: u64| self.set(CHANSTS, 8, status & !7 | state);
        match (offset, value) {
            (CHANCTRL, 0) if refusals.release => self.set(CHANCTRL, 2, before),
            (CHANERR, _) => {
                self.set(CHANERR, 4, if refusals.clear { before } else { before & !value });
            }
            (CHANCMD, 0x04) => {
                if !refusals.suspend {
                    state(SUSPENDED);
                }
                self.set(CHANCMD, 1, 0);
            }
            (CHANCMD, 0x20) if !refusals.reset => {
                if !refusals.halt {
                    self.set(CHANSTS, 8, HALTED);
                }
                self.set(CHANCMD, 1, 0);
            }
            (CHAINADDR, 1..) if !refusals.arm => state(ARMED),
            (DMACOUNT, 1) if status & 7 == ARMED && !refusals.null => {
                self.set(CHANSTS, 8, RING | IDLE);
                if !refusals.word {
                    self.memory.write(self.read(CHANCMP, 8), RING | IDLE);
                }
            }
            _ => {}
        }
    }
}

impl Registers {
    pub(crate) fn set(&self, offset: u32, width: usize, value: u64) {
        self.0.lock().unwrap().set(offset, width, value);
    }

    pub(crate) fn refuse(&self, refusals: Refusals) {
        self.0.lock().unwrap().refusals = refusals;
    }

    /// Nothing answers any more, in configuration space either.
    pub(crate) fn unplug(&self) {
        let mut state = self.0.lock().unwrap();
        (state.gone, state.config_gone) = (true, true);
    }

    /// The registers do not answer, or do again; configuration space does.
    pub(crate) fn silence(&self, silent: bool) {
        self.0.lock().unwrap().gone = silent;
    }

    /// The registers do not answer until the command register is written.
    pub(crate) fn silence_for_a_moment(&self) {
        let mut state = self.0.lock().unwrap();
        (state.gone, state.back_soon) = (true, true);
    }

    /// Writes to configuration space do nothing from now on, or do something again.
    pub(crate) fn fix_config(&self, fixed: bool) {
        self.0.lock().unwrap().config_fixed = fixed;
    }

    /// The writes since the last call.
    pub(crate) fn writes(&self) -> Vec<Write> {
        std::mem::take(&mut self.0.lock().unwrap().writes)
    }

    /// How often CHANSTS was read since the last call.
    pub(crate) fn status_reads(&self) -> usize {
        std::mem::take(&mut self.0.lock().unwrap().status_reads)
    }

    pub(crate) fn set_config(&self, offset: u16, value: u32) {
        self.0.lock().unwrap().config.push((offset, value));
    }

    /// The device completes descriptors just before CHANSTS is read next: the completion word says the first, CHANSTS the
    /// second.
    pub(crate) fn race(&self, word: u64, status: u64) {
        let active = |index| (RING + 64 * index) | ACTIVE;
        self.0.lock().unwrap().race = Some((active(word), active(status)));
    }

    fn read(&self, offset: u32, width: usize) -> u64 {
        let mut state = self.0.lock().unwrap();
        state.status_reads += usize::from(offset == CHANSTS);
        if let Some((word, status)) = state.race.take_if(|_| offset == CHANSTS) {
            let at = state.read(CHANCMP, 8);
            state.memory.write(at, word);
            state.set(CHANSTS, 8, status);
        }
        state.read(offset, width)
    }

    fn write(&self, offset: u32, width: usize, value: u64) {
        self.0.lock().unwrap().write(offset, width, value);
    }
}

impl RegisterIo for Registers {
    fn read8(&self, offset: u32) -> u8 {
        self.read(offset, 1) as u8
    }

    fn read16(&self, offset: u32) -> u16 {
        let value = self.read(offset, 2);
        if offset == CHANCTRL {
            // The read that finds the claim free takes it.
            self.set(CHANCTRL, 2, value | 0x100);
        }
        value as u16
    }

    fn read32(&self, offset: u32) -> u32 {
        self.read(offset, 4) as u32
    }

    fn read64(&self, offset: u32) -> u64 {
        self.read(offset, 8)
    }

    fn write8(&self, offset: u32, value: u8) {
        self.write(offset, 1, value.into());
    }

    fn write16(&self, offset: u32, value: u16) {
        self.write(offset, 2, value.into());
    }

    fn write32(&self, offset: u32, value: u32) {
        self.write(offset, 4, value.into());
    }

    fn write64(&self, offset: u32, value: u64) {
        self.write(offset, 8, value);
    }
}

impl ConfigIo for Registers {
    fn read_config32(&self, offset: u16) -> Option<u32> {
        let state = self.0.lock().unwrap();
        if state.config_gone {
            return Some(u32::MAX);
        }
        state.config.iter().rev().find(|(at, _)| *at == offset).map(|(_, value)| *value)
    }

    fn write_config32(&self, offset: u16, value: u32) -> bool {
        let mut state = self.0.lock().unwrap();
        state.writes.push((u32::from(offset) | CONFIG, value.into()));
        if offset == COMMAND && !state.config_fixed {
            state.config.push((offset, value));
        }
        if std::mem::take(&mut state.back_soon) {
            state.gone = false;
        }
        true
    }
}

/// A clock that the test moves; waiting takes a millisecond.
#[derive(Clone, Debug, Default)]
pub(crate) struct Time(Arc<Mutex<Duration>>);

impl Time {
    pub(crate) fn advance(&self, by: Duration) {
        *self.0.lock().unwrap() += by;
    }
}

impl Clock for Time {
    fn now(&self) -> Duration {
        *self.0.lock().unwrap()
    }

    fn pause(&self) {
        self.advance(Duration::from_millis(1));
    }
}

/// What a channel stands on, to be changed before it starts.
#[derive(Debug)]
pub(crate) struct Bench {
    pub(crate) registers: Registers,
    pub(crate) memory: Memory,
    pub(crate) time: Time,
    pub(crate) entries: u32,
    pub(crate) with_config: bool,
    pub(crate) exclusive: bool,
    pub(crate) host: Option<Landlord>,
}

impl Bench {
    /// A halted channel of 1 MiB transfers that fills, version 3.2, and a ring of 8.
    pub(crate) fn new() -> Self {
        let memory = Memory::default();
        let registers = Registers(Arc::new(Mutex::new(State {
            bytes: vec![0; 0x4000],
            writes: Vec::new(),
            status_reads: 0,
            race: None,
            refusals: Refusals::default(),
            memory: memory.clone(),
            gone: false,
            config: Vec::new(),
            back_soon: false,
            config_gone: false,
            config_fixed: false,
        })));
        registers.set(CHANCNT, 1, 1);
        registers.set(XFERCAP, 1, 20);
        registers.set(CBVER, 1, 0x32);
        registers.set(DMACAPABILITY, 4, 1 << 6);
        registers.set(CHANSTS, 8, HALTED);
        Self {
            registers,
            memory,
            time: Time::default(),
            entries: 8,
            with_config: false,
            exclusive: false,
            host: None,
        }
    }

    pub(crate) fn start(&self) -> Result<IoatChannel<Registers>, StartError> {
        let config: Option<Box<dyn ConfigIo>> =
            if self.with_config { Some(Box::new(self.registers.clone())) } else { None };
        let options = Options {
            name: "test".to_owned(),
            exclusive: self.exclusive,
            ring_entries: self.entries,
            status_interval: 4,
            hang_after: Some(Duration::from_secs(1)),
            host: self.host.clone().map(|host| Box::new(host) as _),
            clock: Box::new(self.time.clone()),
            ..Options::default()
        };
        IoatChannel::start(self.registers.clone(), config, self.memory.domain(), options)
    }

    /// A channel that came up, with nothing noted yet.
    pub(crate) fn running(&self) -> IoatChannel<Registers> {
        let channel = self.start().unwrap();
        self.registers.writes();
        self.registers.status_reads();
        channel
    }

    /// Where the completion word is now: CHANCMP.
    pub(crate) fn word(&self) -> u64 {
        self.registers.read(CHANCMP, 8)
    }

    /// Writes the completion word: the descriptor at this index, and a state.
    pub(crate) fn complete(&self, index: u64, state: u64) {
        self.memory.write(self.word(), (RING + 64 * index) | state);
    }

    /// Sets CHANSTS likewise.
    pub(crate) fn status(&self, index: u64, state: u64) {
        self.registers.set(CHANSTS, 8, (RING + 64 * index) | state);
    }
}

pub(crate) fn copy(source: u64, destination: u64, length: u64) -> Transfer {
    let operation = Operation::Copy { source: Iova::new(source) };
    Transfer { operation, destination: Iova::new(destination), length }
}

pub(crate) fn fill(pattern: u64, destination: u64, length: u64) -> Transfer {
    let operation = Operation::Fill { pattern };
    Transfer { operation, destination: Iova::new(destination), length }
}

pub(crate) fn enqueue(
    channel: &mut IoatChannel<Registers>,
    token: u64,
    transfer: &Transfer,
) -> Result<(), EnqueueError> {
    // SAFETY: no device reads the descriptors, so no memory is touched for them.
    unsafe { channel.enqueue(Token::new(token), transfer) }
}

/// Enqueues copies with these tokens and submits them.
pub(crate) fn submit(channel: &mut IoatChannel<Registers>, tokens: std::ops::Range<u64>) {
    for token in tokens {
        enqueue(channel, token, &copy(0x1000, 0x2000, 4096)).unwrap();
    }
    channel.submit();
}

/// Polls once.
pub(crate) fn poll(channel: &mut IoatChannel<Registers>) -> Vec<(u64, Outcome)> {
    let mut completions = [NOTHING; 16];
    let count = channel.poll(&mut completions);
    completions[..count].iter().map(|end| (end.token.get(), end.outcome)).collect()
}

/// Polls so often that CHANSTS is looked at.
pub(crate) fn poll_long(channel: &mut IoatChannel<Registers>) -> Vec<(u64, Outcome)> {
    (0..5).flat_map(|_| poll(channel)).collect()
}
