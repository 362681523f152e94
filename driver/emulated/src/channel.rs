//! One channel: its registers and its state.
//!
//! | state | left by | for |
//! | --- | --- | --- |
//! | halted | CHAINADDR, CHANERR and CHANERR_INT clear | armed |
//! | armed | DMACOUNT that covers a descriptor | active |
//! | active | the last descriptor that DMACOUNT covers | idle |
//! | active, idle | suspend | suspended |
//! | suspended | DMACOUNT, resume | active or idle |
//! | idle, suspended | CHAINADDR | armed |
//! | any | an error, reset | halted |
//!
//! A reset acts at once; its bit reads 1 for a few polls more, and nothing runs meanwhile. A channel that is
//! stalled stays active until a reset.
//!
//! Invariant: the state is active exactly if `executed` differs from `count` and the channel is not
//! armed, suspended or halted.

mod run;

pub(crate) use run::Ran;

use dmaring_ioat_spec::{
    chanerr::ChannelError,
    registers::{ChannelCommand, ChannelControl, ChannelState, ChannelStatus, table},
};

use crate::{
    bus::Bus,
    config_space::ConfigSpace,
    knobs::Knobs,
    preset::Part,
    violation::{Log, Violation, ViolationKind},
};

const CHANCTRL: u32 = table::CHANCTRL.offset;
const CHANCMD: u32 = table::CHANCMD.offset;
const DMACOUNT: u32 = table::DMACOUNT.offset;
const CHANSTS: u32 = table::CHANSTS.offset;
const CHAINADDR: u32 = table::CHAINADDR.offset;
const CHANCMP: u32 = table::CHANCMP.offset;
const CDAR: u32 = table::CDAR.offset;
const CHANERR: u32 = table::CHANERR.offset;

#[derive(Debug)]
pub(crate) struct Channel {
    state: ChannelState,
    control: ChannelControl,
    chain: u64,
    completion: u64,
    /// DMACOUNT as written.
    count: u16,
    /// Descriptors done since CHAINADDR was written, modulo 65536.
    executed: u16,
    /// The last completed descriptor's address; 0 for none since CHAINADDR was written.
    completed: u64,
    /// Where the next descriptor is, and whether CHAINADDR said so.
    next: u64,
    fresh: bool,
    /// The descriptor fetched last.
    in_hand: u64,
    errors: ChannelError,
    resetting: u32,
    stalled: bool,
    planned: run::Planned,
    interrupts: Interrupts,
}

/// Interrupts are one-shot: one is raised, then none until CHANCTRL re-arms them.
#[derive(Debug, Default)]
struct Interrupts {
    armed: bool,
    attention: bool,
    raised: u64,
}

/// What a channel works with.
pub(crate) struct Env<'a> {
    pub(crate) bus: Bus<'a>,
    pub(crate) part: &'a Part,
    pub(crate) knobs: &'a Knobs,
    pub(crate) config: &'a mut ConfigSpace,
    pub(crate) log: &'a mut Log,
    /// The function, and the channel within it.
    pub(crate) place: (u8, u8),
    pub(crate) interrupt_enable: bool,
}

impl Env<'_> {
    fn violation(&mut self, kind: ViolationKind) {
        let (function, channel) = self.place;
        self.log.add(Violation { function, channel: Some(channel), kind });
    }
}

impl Channel {
    pub(crate) fn new() -> Self {
        Self {
            state: ChannelState::Halted,
            control: ChannelControl::empty(),
            chain: 0,
            completion: 0,
            count: 0,
            executed: 0,
            completed: 0,
            next: 0,
            fresh: false,
            in_hand: 0,
            errors: ChannelError::empty(),
            resetting: 0,
            stalled: false,
            planned: run::Planned::default(),
            interrupts: Interrupts::default(),
        }
    }

    /// Reads the register at this offset of the channel's block, of which the bits in `mask` are asked for.
    /// `None`: the register only stores.
    pub(crate) fn read(&mut self, offset: u32, mask: u64) -> Option<u64> {
        Some(match offset {
            CHANCTRL => {
                let value = u64::from(self.control.bits());
                if mask & u64::from(ChannelControl::IN_USE.bits()) != 0 {
                    self.control |= ChannelControl::IN_USE;
                }
                value
            }
            CHANCMD => {
                let bits = if self.resetting > 0 { ChannelCommand::RESET.bits() } else { 0 };
                self.tick();
                u64::from(bits)
            }
            DMACOUNT => u64::from(self.count),
            CHANSTS => self.status(),
            CHAINADDR => self.chain,
            CHANCMP => self.completion,
            CDAR => self.in_hand,
            CHANERR => u64::from(self.errors.bits()),
            _ => return None,
        })
    }

    /// Writes the bits in `mask` of the register at this offset. `false`: the register only stores.
    pub(crate) fn write(&mut self, offset: u32, mask: u64, value: u64, env: &mut Env<'_>) -> bool {
        let was_active = self.state == ChannelState::Active;
        let does = self.act_on(offset, mask, value, env);
        if self.state == ChannelState::Active && !was_active {
            env.bus.upstream.activated();
        }
        does
    }

    fn act_on(&mut self, offset: u32, mask: u64, value: u64, env: &mut Env<'_>) -> bool {
        let merged = |old: u64| old & !mask | value & mask;
        match offset {
            CHANCTRL => {
                let control = merged(u64::from(self.control.bits()));
                self.control = ChannelControl::from_bits_retain(control as u16);
                let rearm = ChannelControl::from_bits_retain((value & mask) as u16);
                if rearm.contains(ChannelControl::INTERRUPT_REARM) {
                    self.interrupts.armed = true;
                    self.interrupts.attention = false;
                }
            }
            CHANCMD => self.command((value & mask) as u8, env),
            DMACOUNT => self.ring(merged(u64::from(self.count)) as u16, env),
            CHAINADDR => self.set_chain(merged(self.chain), env),
            CHANCMP if self.state == ChannelState::Active => {
                env.violation(ViolationKind::CompletionAddressWhileActive);
            }
            CHANCMP => self.completion = merged(self.completion),
            CHANERR => {
                self.errors.remove(ChannelError::from_bits_retain((value & mask) as u32));
            }
            _ => return false,
        }
        true
    }

    /// Lets a pending reset come nearer its end.
    pub(crate) fn tick(&mut self) {
        self.resetting = self.resetting.saturating_sub(1);
    }

    pub(crate) fn is_resetting(&self) -> bool {
        self.resetting > 0
    }

    /// Whether a descriptor is there to be carried out.
    pub(crate) fn can_run(&self) -> bool {
        self.state == ChannelState::Active && !self.stalled && self.resetting == 0
    }

    pub(crate) fn state(&self) -> ChannelState {
        self.state
    }

    pub(crate) fn wants_attention(&self) -> bool {
        self.interrupts.attention
    }

    pub(crate) fn interrupts(&self) -> u64 {
        self.interrupts.raised
    }

    fn status(&self) -> u64 {
        let mut bits = ChannelStatus::new(self.completed, self.state).bits();
        if self.errors.contains(ChannelError::UNAFFILIATED) {
            bits |= ChannelStatus::UNAFFILIATED_ERROR;
        }
        if self.errors.contains(ChannelError::SOFT) {
            bits |= ChannelStatus::SOFT_ERROR;
        }
        bits
    }

    fn command(&mut self, bits: u8, env: &mut Env<'_>) {
        let command = ChannelCommand::from_bits_retain(bits);
        if command.is_empty() {
        } else if command.contains(ChannelCommand::RESET) {
            self.reset(env.knobs.reset_polls);
            self.deliver_held(env);
        } else if command == ChannelCommand::SUSPEND {
            let active = self.state == ChannelState::Active && !self.stalled;
            if active || self.state == ChannelState::Idle {
                self.state = ChannelState::Suspended;
            }
        } else if command == ChannelCommand::RESUME {
            if self.state == ChannelState::Suspended {
                self.go_on();
            }
        } else {
            self.fail(ChannelError::CHANCMD, env);
        }
    }

    /// Everything goes but the claim on the channel, its errors, the number of interrupts, and a completion word that is
    /// on its way.
    fn reset(&mut self, polls: u32) {
        let raised = self.interrupts.raised;
        *self = Self {
            control: self.control & ChannelControl::IN_USE,
            errors: self.errors,
            resetting: polls,
            planned: self.planned.after_reset(),
            interrupts: Interrupts { raised, ..Interrupts::default() },
            ..Self::new()
        };
    }

    fn set_chain(&mut self, chain: u64, env: &mut Env<'_>) {
        if self.state == ChannelState::Active {
            env.violation(ViolationKind::ChainAddressWhileActive);
            return;
        }
        self.chain = chain;
        let errors = self.errors.bits() | env.config.internal_errors();
        if self.state == ChannelState::Halted && errors != 0 {
            env.violation(ViolationKind::ChainAddressWithErrors);
            return;
        }
        self.state = ChannelState::Armed;
        (self.count, self.executed, self.completed) = (0, 0, 0);
        (self.next, self.fresh) = (chain, true);
    }

    fn ring(&mut self, count: u16, env: &mut Env<'_>) {
        if self.state == ChannelState::Halted {
            env.violation(ViolationKind::CountWhileHalted);
            return;
        }
        if count.wrapping_sub(self.executed) < self.count.wrapping_sub(self.executed) {
            env.violation(ViolationKind::CountMovedBack);
        }
        self.count = count;
        let nothing = self.count == self.executed && self.state == ChannelState::Armed;
        if !nothing && !self.stalled {
            self.go_on();
        }
    }

    fn go_on(&mut self) {
        let done = self.count == self.executed;
        self.state = if done { ChannelState::Idle } else { ChannelState::Active };
    }
}
