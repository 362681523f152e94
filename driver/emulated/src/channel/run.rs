//! Carrying out descriptors, one at a time and in order, so that a fence holds by itself.
//!
//! A descriptor's life: fetched, checked, moved, announced. The first thing that is wrong halts the
//! channel; the descriptor then does not count as completed, though its bytes may have been moved.

use dmaring_ioat_spec::{
    chanerr::ChannelError,
    descriptor::{ControlFlags, DESCRIPTOR_ALIGN, Descriptor, Opcode},
    registers::{ChannelControl, ChannelState, ChannelStatus, DmaCapability, Version, XferCap},
};

use super::{Channel, Env};
use crate::{
    bus::Side,
    fault::{Injection, Schedule},
    knobs::{CompletionState, FaultStyle},
};

/// What the fault plan has in store for later completion words of the channel.
#[derive(Debug, Default)]
pub(super) struct Planned {
    lose: bool,
    repeat: bool,
    late: Option<u64>,
    hold: Option<u32>,
    held: Option<Held>,
}

/// A completion word that is on its way for longer than its epoch lasts: the reset that ends the epoch does
/// not recall it.
#[derive(Clone, Copy, Debug)]
struct Held {
    address: u64,
    word: u64,
    /// How many descriptors are carried out between the reset and the word's arrival.
    left: u32,
    was_reset: bool,
}

impl Planned {
    /// What a reset leaves.
    pub(super) fn after_reset(&self) -> Self {
        let held = self.held.map(|held| Held { was_reset: true, ..held });
        Self { held, ..Self::default() }
    }
}

/// What became of a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ran {
    /// It was carried out, or it failed.
    Ended,
    /// It will never end: the channel stalls.
    Stalled,
    /// The function is gone.
    Gone,
}

impl Channel {
    /// Carries out the next descriptor of a channel that [`can_run`](Channel::can_run).
    pub(crate) fn run(&mut self, env: &mut Env<'_>, schedule: &mut Schedule) -> Ran {
        let late = self.planned.late.take();
        let ran = match self.carry_out(env, schedule) {
            Ok(ran) => ran,
            Err(errors) => {
                self.fail(errors, env);
                Ran::Ended
            }
        };
        if let Some(word) = late {
            // A repeated word that cannot be written any more is nobody's error.
            let _ = env.bus.write_completion(self.completion, word);
        }
        if ran == Ran::Ended
            && let Some(held) = self.planned.held.as_mut().filter(|held| held.was_reset)
        {
            held.left = held.left.saturating_sub(1);
            self.deliver_held(env);
        }
        ran
    }

    /// Whether a completion word is held back and was not written yet.
    pub(crate) fn has_held_word(&self) -> bool {
        self.planned.held.is_some()
    }

    /// Writes a completion word that was held back, if its time has come.
    pub(super) fn deliver_held(&mut self, env: &Env<'_>) {
        if let Some(held) = self.planned.held.take_if(|held| held.was_reset && held.left == 0) {
            let _ = env.bus.write_completion(held.address, held.word);
        }
    }

    /// Whether a completion word waits to be written once more.
    pub(crate) fn has_late_write(&self) -> bool {
        self.planned.late.is_some()
    }

    /// Writes a completion word that was to be repeated, on a channel with nothing else to do.
    pub(crate) fn flush_late_write(&mut self, env: &Env<'_>) {
        if let Some(word) = self.planned.late.take() {
            let _ = env.bus.write_completion(self.completion, word);
        }
    }

    /// Halts the channel with these errors.
    pub(super) fn fail(&mut self, errors: ChannelError, env: &mut Env<'_>) {
        let told = self.control.contains(ChannelControl::ERROR_COMPLETION);
        let reachable = !errors.contains(ChannelError::COMPLETION_ADDRESS);
        self.errors |= errors;
        self.state = ChannelState::Halted;
        self.stalled = false;
        if told && reachable {
            let word = ChannelStatus::new(self.completed, ChannelState::Halted);
            if !self.hold_back(word.bits())
                && env.bus.write_completion(self.completion, word.bits()).is_none()
            {
                self.errors |= ChannelError::COMPLETION_ADDRESS;
            }
        }
        env.config.note_error(self.errors.bits());
        if self.control.contains(ChannelControl::ERROR_INTERRUPT) {
            self.interrupt(env);
        }
    }

    fn carry_out(
        &mut self,
        env: &mut Env<'_>,
        schedule: &mut Schedule,
    ) -> Result<Ran, ChannelError> {
        let descriptor = self.fetch(env)?;
        let injection = schedule.next(env.bus.channel);
        self.planned.lose |= injection.lose_write_back;
        self.planned.repeat |= injection.repeat_write_back;
        self.planned.hold = injection.hold_write_back.or(self.planned.hold);
        if injection.gone {
            return Ok(Ran::Gone);
        }
        if injection.stall {
            self.stalled = true;
            return Ok(Ran::Stalled);
        }
        check(&descriptor, env)?;
        transfer(&descriptor, &injection, env)?;
        self.announce(&descriptor, env)?;
        Ok(Ran::Ended)
    }

    fn fetch(&mut self, env: &Env<'_>) -> Result<Descriptor, ChannelError> {
        self.in_hand = self.next;
        let (misaligned, refused) = if self.fresh {
            (ChannelError::CHAIN_ADDRESS_VALUE, ChannelError::CHAIN_ADDRESS_VALUE)
        } else {
            (ChannelError::NEXT_DESCRIPTOR_ALIGNMENT, ChannelError::NEXT_ADDRESS)
        };
        if !self.next.is_multiple_of(DESCRIPTOR_ALIGN) {
            return Err(misaligned);
        }
        env.bus.read_descriptor(self.next).ok_or(refused)
    }

    /// Counts the descriptor, after the completion word has been written where that was asked for.
    fn announce(&mut self, descriptor: &Descriptor, env: &mut Env<'_>) -> Result<(), ChannelError> {
        let executed = self.executed.wrapping_add(1);
        let last = executed == self.count;
        let flags = descriptor.control().flags();
        if flags.contains(ControlFlags::COMPLETION_WRITE) {
            let idle = last && env.knobs.completion_state == CompletionState::Idle;
            let state = if idle { ChannelState::Idle } else { ChannelState::Active };
            self.write_back(ChannelStatus::new(self.in_hand, state).bits(), env)?;
        }
        (self.executed, self.completed) = (executed, self.in_hand);
        (self.next, self.fresh) = (descriptor.next(), false);
        if last {
            self.state = ChannelState::Idle;
        }
        if flags.contains(ControlFlags::INTERRUPT) {
            self.interrupt(env);
        }
        Ok(())
    }

    fn write_back(&mut self, word: u64, env: &Env<'_>) -> Result<(), ChannelError> {
        if std::mem::take(&mut self.planned.lose) {
            return Ok(());
        }
        if self.hold_back(word) {
            return Ok(());
        }
        let written = env.bus.write_completion(self.completion, word);
        written.ok_or(ChannelError::COMPLETION_ADDRESS)?;
        if std::mem::take(&mut self.planned.repeat) {
            self.planned.late = Some(word);
        }
        Ok(())
    }

    /// Whether the plan holds this word back.
    fn hold_back(&mut self, word: u64) -> bool {
        let Some(left) = self.planned.hold.take() else { return false };
        self.planned.held = Some(Held { address: self.completion, word, left, was_reset: false });
        true
    }

    fn interrupt(&mut self, env: &Env<'_>) {
        if env.interrupt_enable && std::mem::take(&mut self.interrupts.armed) {
            self.interrupts.raised += 1;
            self.interrupts.attention = true;
        }
    }
}

/// Refuses a descriptor that the part cannot carry out.
fn check(descriptor: &Descriptor, env: &Env<'_>) -> Result<(), ChannelError> {
    let control = descriptor.control();
    let null = control.flags().contains(ControlFlags::NULL);
    let longest = XferCap::from_bits(env.part.xfercap_log2).max_bytes().unwrap_or(u64::MAX);
    let empty_null = null && control.opcode() == Opcode::Copy && env.part.version > Version::V3_0;
    let size = u64::from(descriptor.size());
    if size > longest || size == 0 && !empty_null {
        return Err(ChannelError::LENGTH);
    }
    let known = match control.opcode() {
        Opcode::Copy => true,
        Opcode::Fill => env.part.capabilities.contains(DmaCapability::FILL_BLOCK),
        _ => false,
    };
    let page_break = ControlFlags::SOURCE_PAGE_BREAK | ControlFlags::DESTINATION_PAGE_BREAK;
    if !known || control.reserved_bits() != 0 || control.flags().intersects(page_break) {
        return Err(ChannelError::CONTROL);
    }
    Ok(())
}

/// Moves the bytes, or as many of them as the plan allows.
fn transfer(
    descriptor: &Descriptor,
    injection: &Injection,
    env: &Env<'_>,
) -> Result<(), ChannelError> {
    let (source, destination) = (descriptor.source(), descriptor.destination());
    let size = match injection.moved {
        Some(bytes) => descriptor.size().min(bytes),
        None if injection.errors.is_empty() => descriptor.size(),
        None => 0,
    };
    let moved = match descriptor.control().opcode() {
        _ if descriptor.control().flags().contains(ControlFlags::NULL) => Ok(()),
        Opcode::Fill => env.bus.fill(source, destination, u64::from(size)),
        _ => env.bus.copy(source, destination, u64::from(size)),
    };
    moved.map_err(|side| match (env.knobs.fault_style, side) {
        (FaultStyle::Address, Side::Source) => ChannelError::SOURCE_ADDRESS,
        (FaultStyle::Address, Side::Destination) => ChannelError::DESTINATION_ADDRESS,
        (FaultStyle::Data, Side::Source) => ChannelError::READ_DATA,
        (FaultStyle::Data, Side::Destination) => ChannelError::WRITE_DATA,
    })?;
    if injection.errors.is_empty() { Ok(()) } else { Err(injection.errors) }
}
