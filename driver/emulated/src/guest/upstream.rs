//! The way of one function to the guest's memory and processors.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use super::{
    Chipset, ChipsetError, GuestAccess, GuestFault, GuestFaultReason, Slot,
    fault::FaultLog,
    interrupt,
    memory::Memory,
    vtd::{self, Registers},
};
use crate::{bus::Side, memory::Span, msix::Message, upstream::Upstream};

/// How many messages wait at most. There is one vector, and a message that waits already is not queued
/// again: more than one waits only where the guest rewrites it meanwhile.
const QUEUED: usize = 16;

/// What is upstream of a function in a virtual machine.
///
/// Locks are taken in this order: `asking`, `memory`, `state`. The last two are never held while the
/// chipset is asked, and whoever answers QEMU never takes `asking`: a reset may come while an answer is on
/// its way. Such an answer is the old machine's and is thrown away, as is a message that could not be sent;
/// `resets` tells.
#[derive(Debug)]
pub(super) struct GuestUpstream {
    source: Slot,
    chipset: Arc<dyn Chipset>,
    /// How often a channel became active.
    activations: AtomicU64,
    /// Held by whoever asks the chipset, so that an older answer never replaces a newer one.
    asking: Mutex<()>,
    memory: Mutex<Memory>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    registers: Option<Registers>,
    /// The activations counted before `registers` were asked for.
    known_at: u64,
    messages: VecDeque<Message>,
    /// How many messages there was no room for.
    dropped: u64,
    resets: u64,
    faults: FaultLog,
}

impl State {
    /// Queues a message unless it waits already.
    fn queue(&mut self, message: Message) {
        if self.messages.contains(&message) {
            return;
        }
        if self.messages.len() < QUEUED {
            self.messages.push_back(message);
        } else {
            self.dropped += 1;
        }
    }

    /// Puts one that could not be sent back where it was. There may be one too many then.
    fn put_back(&mut self, message: Message) {
        if !self.messages.contains(&message) {
            self.messages.push_front(message);
        }
    }
}

impl GuestUpstream {
    pub(super) fn new(source: Slot, chipset: Arc<dyn Chipset>) -> Self {
        Self {
            source,
            chipset,
            activations: AtomicU64::new(0),
            asking: Mutex::default(),
            memory: Mutex::default(),
            state: Mutex::default(),
        }
    }

    /// Puts this memory in the place of what was there.
    pub(super) fn set_memory(&self, memory: Memory) {
        let old = std::mem::replace(&mut *lock(&self.memory), memory);
        // Unmapped with the lock given back.
        drop(old);
    }

    /// Forgets what was known of VT-d, and the messages that wait: the function is reset as power does it, with the
    /// device's lock held. What is counted stays.
    pub(super) fn forget(&self) {
        let known_at = self.activations.load(Ordering::Relaxed);
        let mut state = self.state();
        (state.registers, state.known_at) = (None, known_at);
        state.messages.clear();
        state.resets += 1;
    }

    /// How many messages were lost, since too many waited.
    pub(super) fn dropped(&self) -> u64 {
        self.state().dropped
    }

    pub(super) fn faults(&self) -> u64 {
        self.state().faults.count()
    }

    pub(super) fn fault_list(&self) -> Vec<GuestFault> {
        self.state().faults.kept().to_vec()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    fn is_old(&self, state: &State) -> bool {
        state.known_at != self.activations.load(Ordering::Relaxed)
    }

    /// Asks for the registers where what is known of them is old, or nothing is and a message needs them.
    fn refresh(&self) -> Result<(), ChipsetError> {
        // Before the question: an activation that comes later makes the answer old.
        let counted = self.activations.load(Ordering::Relaxed);
        let state = self.state();
        let first = state.registers.is_none() && !state.messages.is_empty();
        let (old, resets) = (state.known_at != counted, state.resets);
        drop(state);
        if old || first {
            let registers = Registers::ask(self.chipset.as_ref())?;
            let mut state = self.state();
            if state.resets == resets {
                (state.registers, state.known_at) = (Some(registers), counted);
            }
        }
        Ok(())
    }

    /// Sends the message that has waited longest; `false` where none can be sent. One that the chipset does not
    /// take goes on waiting.
    fn send_next(&self) -> Result<bool, ChipsetError> {
        let mut state = self.state();
        let (Some(registers), resets) = (state.registers, state.resets) else { return Ok(false) };
        let Some(message) = state.messages.pop_front() else { return Ok(false) };
        drop(state);
        let sent = self.send(message, registers);
        if sent.is_err() {
            let mut state = self.state();
            if state.resets == resets {
                state.put_back(message);
            }
        }
        sent.map(|()| true)
    }

    fn send(&self, message: Message, registers: Registers) -> Result<(), ChipsetError> {
        let routed = interrupt::route(&lock(&self.memory), registers, message);
        match routed {
            Ok(message) => self.chipset.write32(message.address, message.data),
            Err(reason) => {
                self.fault(message.address, GuestAccess::Interrupt, reason);
                Ok(())
            }
        }
    }

    /// The memory behind bytes that cross no page. What is refused is noted.
    fn reach<'a>(
        &self,
        memory: &'a Memory,
        address: u64,
        length: usize,
        access: GuestAccess,
    ) -> Option<(&'a Span, usize)> {
        let registers = self.state().registers;
        let found = registers.ok_or(GuestFaultReason::Unasked).and_then(|registers| {
            let physical = vtd::translate(memory, registers, self.source, address, access)?;
            memory.find(physical, length as u64).ok_or(GuestFaultReason::NotMemory)
        });
        found.map_err(|reason| self.fault(address, access, reason)).ok()
    }

    fn fault(&self, address: u64, access: GuestAccess, reason: GuestFaultReason) {
        let fault = GuestFault { source: self.source, address, access, reason };
        self.state().faults.add(fault);
    }
}

impl Upstream for GuestUpstream {
    fn read_words(&self, _channel: usize, address: u64) -> Option<[u64; 8]> {
        let memory = lock(&self.memory);
        let (span, offset) = self.reach(&memory, address, 64, GuestAccess::Read)?;
        Some(std::array::from_fn(|word| span.read_word(offset + word * 8)))
    }

    fn write_word(&self, _channel: usize, address: u64, word: u64) -> Option<()> {
        let memory = lock(&self.memory);
        let (span, offset) = self.reach(&memory, address, 8, GuestAccess::Write)?;
        span.publish(offset, word);
        Some(())
    }

    fn copy(
        &self,
        _channel: usize,
        [source, destination]: [u64; 2],
        length: usize,
    ) -> Result<(), Side> {
        let memory = lock(&self.memory);
        let from = self.reach(&memory, source, length, GuestAccess::Read).ok_or(Side::Source)?;
        let to = self
            .reach(&memory, destination, length, GuestAccess::Write)
            .ok_or(Side::Destination)?;
        to.0.copy(to.1, from.0, from.1, length);
        Ok(())
    }

    fn fill(
        &self,
        _channel: usize,
        destination: u64,
        length: usize,
        pattern: u64,
    ) -> Result<(), Side> {
        let memory = lock(&self.memory);
        let (span, offset) = self
            .reach(&memory, destination, length, GuestAccess::Write)
            .ok_or(Side::Destination)?;
        span.fill(offset, length, pattern);
        Ok(())
    }

    fn activated(&self) {
        self.activations.fetch_add(1, Ordering::Relaxed);
    }

    fn interrupt(&self, message: Message) {
        self.state().queue(message);
    }

    fn is_ready(&self) -> bool {
        !self.is_old(&self.state())
    }

    fn has_errands(&self) -> bool {
        let state = self.state();
        self.is_old(&state) || !state.messages.is_empty()
    }

    fn attend(&self) -> Result<(), ChipsetError> {
        if !self.has_errands() {
            return Ok(());
        }
        let asking = lock(&self.asking);
        self.refresh()?;
        while self.send_next()? {}
        drop(asking);
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
