//! What the I/OAT driver costs the CPU: 4 KiB copies in batches of 32, with registers in plain memory and nothing copied.
//!
//! `cargo xtask instructions` runs it under callgrind, which counts `measured_submission` and `measured_reaping`
//! alone: enqueue and doorbell, then the completion word and the reports. The second argument is how many are in flight.
#![allow(
    unsafe_code,
    reason = "island: enqueues addresses that nobody reads, and writes the completion word"
)]

use std::{
    cell::Cell,
    hint::black_box,
    io::Write,
    ptr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use dmaring_cpu::CpuEngine;
use dmaring_driver::ioat::{IoatChannel, Options};
use dmaring_engine::{Completion, Engine, Iova, Operation, Outcome, Token, Transfer};
use dmaring_ioat_spec::{
    RegisterIo,
    registers::{
        ChannelState, ChannelStatus,
        table::{
            CBVER, CHAINADDR, CHANCMD, CHANCMP, CHANCNT, CHANSTS, DMACAPABILITY, DMACOUNT, XFERCAP,
        },
    },
};

const DEPTH: u64 = 32;
const COPY: u64 = 4096;

/// Registers that keep what is written, and do of a device what a channel needs to come up.
#[derive(Clone)]
struct Plain(Arc<Vec<AtomicU64>>);

// What is asked of the fake while it is measured is a doorbell: one store, and a comparison.
impl Plain {
    fn new() -> Self {
        let plain = Self(Arc::new((0..2048).map(|_| AtomicU64::new(0)).collect()));
        plain.write8(CHANCNT.bar_offset(0), 1);
        plain.write8(XFERCAP.bar_offset(0), 20);
        plain.write8(CBVER.bar_offset(0), 0x33);
        plain.write32(DMACAPABILITY.bar_offset(0), 1 << 6);
        plain.set_state(0, ChannelState::Halted);
        plain
    }

    fn word(&self, offset: u32) -> &AtomicU64 {
        &self.0[offset as usize / 8]
    }

    fn read(&self, offset: u32, bits: u32) -> u64 {
        let value = self.word(offset).load(Ordering::Relaxed) >> (offset % 8 * 8);
        if bits == 64 { value } else { value & ((1 << bits) - 1) }
    }

    fn write(&self, offset: u32, bits: u32, value: u64) {
        let (shift, word) = (offset % 8 * 8, self.word(offset));
        let mask = if bits == 64 { u64::MAX } else { ((1 << bits) - 1) << shift };
        let kept = word.load(Ordering::Relaxed) & !mask;
        word.store(kept | value << shift & mask, Ordering::Relaxed);
    }

    fn set_state(&self, completed: u64, state: ChannelState) {
        self.write(CHANSTS.bar_offset(0), 64, ChannelStatus::new(completed, state).bits());
    }

    /// Says that everything up to the descriptor at `address` is done.
    fn complete(&self, address: u64) {
        let status = ChannelStatus::new(address, ChannelState::Idle).bits();
        self.write(CHANSTS.bar_offset(0), 64, status);
        let word = ptr::with_exposed_provenance_mut(self.read64(CHANCMP.bar_offset(0)) as usize);
        // SAFETY: the driver named this address for its completion word, in the host's own address space, and
        // keeps the memory as long as the channel; both sides access it by atomics.
        let word: &AtomicU64 = unsafe { AtomicU64::from_ptr(word) };
        word.store(status, Ordering::Release);
    }
}

impl RegisterIo for Plain {
    fn read8(&self, offset: u32) -> u8 {
        self.read(offset, 8) as u8
    }
    fn read16(&self, offset: u32) -> u16 {
        self.read(offset, 16) as u16
    }
    fn read32(&self, offset: u32) -> u32 {
        self.read(offset, 32) as u32
    }
    fn read64(&self, offset: u32) -> u64 {
        self.read(offset, 64)
    }
    fn write8(&self, offset: u32, value: u8) {
        let value = if offset == CHANCMD.bar_offset(0) { 0 } else { value };
        self.write(offset, 8, value.into());
    }
    fn write16(&self, offset: u32, value: u16) {
        self.write(offset, 16, value.into());
        if offset == DMACOUNT.bar_offset(0) && value == 1 {
            self.complete(self.read64(CHAINADDR.bar_offset(0)));
        }
    }
    fn write32(&self, offset: u32, value: u32) {
        self.write(offset, 32, value.into());
    }
    fn write64(&self, offset: u32, value: u64) {
        self.write(offset, 64, value);
        if offset == CHAINADDR.bar_offset(0) && value != 0 {
            self.set_state(0, ChannelState::Armed);
        }
    }
}

#[inline(never)]
fn measured_submission(channel: &mut IoatChannel<Plain>, addresses: &Cell<u64>) {
    for number in 0..DEPTH {
        let at = addresses.get();
        addresses.set(at + COPY);
        let transfer = Transfer {
            operation: Operation::Copy { source: Iova::new(at) },
            destination: Iova::new(at ^ 1 << 40),
            length: COPY,
        };
        // SAFETY: no device reads these addresses: nothing is copied.
        let taken = unsafe { channel.enqueue(Token::new(number), &transfer) };
        black_box(taken.is_ok());
    }
    channel.submit();
}

#[inline(never)]
fn measured_reaping(channel: &mut IoatChannel<Plain>, completions: &mut [Completion]) -> usize {
    channel.poll(completions)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let argument = |index, otherwise| {
        std::env::args().nth(index).map_or(Ok(otherwise), |text| text.parse::<u64>())
    };
    let (rounds, in_flight) = (argument(1, 1000)?, argument(2, DEPTH)?);
    if in_flight < DEPTH || !in_flight.is_multiple_of(DEPTH) {
        return Err(format!("{in_flight} in flight is no multiple of {DEPTH}").into());
    }
    let registers = Plain::new();
    let ring_entries = u32::try_from(2 * in_flight)?.next_power_of_two();
    let default = Options::default();
    let ring_entries = ring_entries.max(default.ring_entries);
    let options = Options { hang_after: None, ring_entries, ..default };
    let entries = u64::from(options.ring_entries);
    let domain = CpuEngine::new().domain();
    let mut channel = IoatChannel::start(registers.clone(), None, domain, options)?;
    let ring = registers.read64(CHAINADDR.bar_offset(0));
    let nothing = Completion { token: Token::new(0), outcome: Outcome::NotRun };
    let mut completions = [nothing; DEPTH as usize];
    let (addresses, mut last) = (Cell::new(1 << 20), 0);
    // All batches but one are submitted ahead, and reaped at the end: each is counted once on either way.
    let ahead = in_flight / DEPTH - 1;
    for _ in 0..ahead {
        measured_submission(&mut channel, &addresses);
    }
    for round in 0..rounds + ahead {
        if round < rounds {
            measured_submission(&mut channel, &addresses);
        }
        last += DEPTH;
        registers.complete(ring + last % entries * 64);
        let reaped = measured_reaping(&mut channel, &mut completions);
        if reaped as u64 != DEPTH {
            return Err(format!("{reaped} of {DEPTH} copies were reported").into());
        }
    }
    writeln!(std::io::stdout(), "copies: {}", (rounds + ahead) * DEPTH)?;
    Ok(())
}
