//! The channel: from a transfer to a descriptor, the doorbell, and back from the completion word.
//!
//! A descriptor is written into the ring by `enqueue`, without the flag that asks for a completion word.
//! `submit` sets that flag on the last one only and rings the doorbell, so a batch costs one completion
//! write and one MMIO write. `poll` reads the completion word once. The word is an image of CHANSTS: the
//! address of the last completed descriptor gives the position in the ring, and a channel works in order. A word that could as well be
//! an older one, written again, is not believed without CHANSTS.
//!
//! Ordering: descriptors are relaxed stores, then a release fence, then DMACOUNT; the completion word is
//! a relaxed load, then an acquire fence, then the report.
#![forbid(unsafe_code)]

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{Ordering::Release, fence},
    },
    time::Duration,
};

use dmaring_engine::{Completion, DmaMap, EnqueueError, Operation, Token, Transfer};
use dmaring_ioat_spec::{
    ConfigIo, RegisterIo,
    descriptor::{ControlFlags, Descriptor},
    registers::{ChannelControl, ChannelState, ChannelStatus, DmaCapability, Version},
};

use super::{
    Options, StartError,
    dma_memory::DmaMemory,
    failure::Life,
    hardware::Hardware,
    host::Loan,
    pattern::{self, Patterns},
    registers::Registers,
    reset::{DONE_AT_START, Goal},
    ring::Ring,
};

/// The shortest XFERCAP that is believed, in bytes.
const MIN_TRANSFER_CAP: u64 = 64;

/// How long bringing a channel up may take: more than the steps of a reset together.
const START_TIMEOUT: Duration = Duration::from_secs(1);

/// One channel of an I/OAT function, as an [`Engine`](dmaring_engine::Engine).
///
/// Dropping it stops the channel; where that fails, the ring's memory stays in place for ever. Where the function is on its way back to the
/// kernel, that is waited for.
pub struct IoatChannel<R: RegisterIo> {
    pub(super) hardware: Hardware<R>,
    pub(super) ring: Ring,
    pub(super) life: Life,
    /// The completion word that was looked at last.
    pub(super) seen: u64,
    /// Polls in a row that found nothing, with work outstanding, since CHANSTS was read.
    pub(super) quiet_polls: u32,
    /// Polls with nothing to do, or of a channel that does not run, since the host was asked.
    pub(super) polls: u32,
    pub(super) status_interval: u32,
    pub(super) hang_after: Option<Duration>,
    /// Where the ring stood when a look at CHANSTS found no progress, and since when.
    pub(super) stalled: Option<(u64, Duration)>,
    pub(super) violations: u64,
    /// Size and control of the last descriptor pushed.
    last_head: u64,
    pub(super) max_transfer: u64,
    /// Where the channel cannot fill.
    pub(super) patterns: Option<Patterns>,
    pub(super) name: String,
    pub(super) depth: usize,
    pub(super) numa_node: Option<u32>,
    pub(super) domain: Arc<dyn DmaMap>,
    version: Version,
    dma_capability: DmaCapability,
    channels: u8,
    transfer_cap: u64,
}

impl<R: RegisterIo> IoatChannel<R> {
    /// Claims a channel, resets it, and has it carry out a null descriptor.
    ///
    /// `registers` and `config` are the function's; bus mastering is on already, and interrupts, relaxed
    /// ordering and no-snoop are off. Without `config`, or where CHANERR_INT is out of its reach, a
    /// channel with an internal error cannot be brought back; without it, a device that does not answer counts as one that
    /// may still write, since nothing shows that it is gone. The ring is mapped in `domain`, as the
    /// memory of transfers is. Blocks, for less than a second.
    ///
    /// # Errors
    ///
    /// See [`StartError`]. The channel is given up again then.
    pub fn start(
        registers: R,
        config: Option<Box<dyn ConfigIo>>,
        domain: Arc<dyn DmaMap>,
        options: Options,
    ) -> Result<Self, StartError> {
        options.check()?;
        let registers = Registers::new(registers, options.channel);
        let version = check_version(&registers)?;
        let channels = registers.read_chancnt().channels();
        if options.channel >= channels {
            return Err(StartError::NoSuchChannel { channel: options.channel, channels });
        }
        let transfer_cap =
            registers.read_xfercap().max_bytes().ok_or(StartError::TransferCapZero)?;
        if transfer_cap < MIN_TRANSFER_CAP {
            return Err(StartError::TransferCapTooSmall { bytes: transfer_cap });
        }
        let dma_capability = registers.read_dmacapability();
        let fills = dma_capability.contains(DmaCapability::FILL_BLOCK);

        let entries = options.ring_entries;
        let pattern_bytes = if fills { 0 } else { pattern::POOL_BYTES };
        let memory = DmaMemory::new(Arc::clone(&domain), entries as usize, pattern_bytes)?;
        // The claim is the last thing that can refuse: whatever fails from here on gives it up.
        let control = claim(&registers, options.exclusive);
        if control.contains(ChannelControl::IN_USE) {
            let (channel, control) = (options.channel, control.bits());
            return Err(StartError::InUse { channel, control });
        }
        let mut channel = Self {
            ring: Ring::new(memory.descriptor_address(0), entries),
            life: Life::Running,
            seen: 0,
            quiet_polls: 0,
            polls: 0,
            status_interval: options.status_interval.max(1),
            hang_after: options.hang_after,
            stalled: None,
            violations: 0,
            last_head: 0,
            max_transfer: if fills {
                transfer_cap
            } else {
                pattern::max_transfer(transfer_cap, entries)
            },
            patterns: (!fills).then(|| Patterns::new(memory.pattern_address(), transfer_cap)),
            name: options.name,
            depth: entries as usize - 1,
            numa_node: options.numa_node,
            domain,
            version,
            dma_capability,
            channels,
            transfer_cap,
            hardware: Hardware {
                registers,
                config,
                loan: Loan::new(options.host),
                memory,
                clock: options.clock,
                claimed: true,
                is_muted: false,
            },
        };
        channel.drive(Goal::Run, START_TIMEOUT)?;
        channel.begin();
        tracing::debug!(name = channel.name, %version, transfer_cap, fills, "channel started");
        Ok(channel)
    }

    /// The version of the interface: CBVER.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// What the function says it can do: DMACAPABILITY.
    #[must_use]
    pub fn dma_capability(&self) -> DmaCapability {
        self.dma_capability
    }

    /// How many channels the function has: CHANCNT.
    #[must_use]
    pub fn channel_count(&self) -> u8 {
        self.channels
    }

    /// The longest transfer of one descriptor, in bytes: XFERCAP. Where fills are copies of a pattern and the ring is
    /// small, the engine's `max_transfer` is less.
    #[must_use]
    pub fn transfer_cap(&self) -> u64 {
        self.transfer_cap
    }

    /// How often the device has said something that cannot be: a completion address outside the ring or
    /// of a descriptor that it does not have, or a state that there is not. Such words are ignored.
    #[must_use]
    pub fn violations(&self) -> u64 {
        self.violations
    }

    /// Holds whatever is enqueued next until everything enqueued before is done. Takes effect with the
    /// next [`submit`](dmaring_engine::Engine::submit).
    ///
    /// # Errors
    ///
    /// [`EnqueueError::Full`]: a descriptor was needed and there is no room for one.
    pub fn fence(&mut self) -> Result<(), EnqueueError> {
        let flag = Descriptor::null().with_flags(ControlFlags::FENCE);
        if let Some(index) = self.ring.last_unsubmitted() {
            self.last_head |= u64::from(ControlFlags::FENCE.bits()) << 32;
            self.hardware.memory.write_descriptor_head(index, self.last_head);
            Ok(())
        } else if self.ring.is_busy() {
            self.push(None, &flag)
        } else {
            Ok(())
        }
    }

    /// Enqueues a descriptor that moves nothing: its token is reported once everything enqueued before
    /// has ended.
    ///
    /// # Errors
    ///
    /// [`EnqueueError::Full`]: there is no room.
    pub fn enqueue_null(&mut self, token: Token) -> Result<(), EnqueueError> {
        self.push(Some(token), &Descriptor::null())
    }

    /// Writes the descriptors of a transfer. Its ranges are the caller's to answer for.
    #[inline]
    pub(super) fn take(&mut self, token: Token, transfer: &Transfer) -> Result<(), EnqueueError> {
        // A length of 0 wraps to the longest of all.
        if transfer.length.wrapping_sub(1) >= self.max_transfer {
            return Err(EnqueueError::TooLong { max: self.max_transfer });
        }
        let destination = transfer.destination.get();
        // XFERCAP has at most 31 bits, so the length fits.
        let length = transfer.length as u32;
        match transfer.operation {
            Operation::Copy { source } => {
                self.push(Some(token), &Descriptor::copy(source.get(), destination, length))
            }
            Operation::Fill { pattern } if self.patterns.is_none() => {
                self.push(Some(token), &Descriptor::fill(pattern, destination, length))
            }
            Operation::Fill { pattern } => self.fill_by_copies(token, pattern, transfer),
            _ => Err(EnqueueError::Unsupported),
        }
    }

    #[inline]
    pub(super) fn ring_doorbell(&mut self) {
        let Some(index) = self.ring.last_unsubmitted() else { return };
        if !matches!(self.life, Life::Running) {
            return self.submit_stopped();
        }
        let flag = u64::from(ControlFlags::COMPLETION_WRITE.bits()) << 32;
        self.hardware.memory.write_descriptor_head(index, self.last_head | flag);
        let count = self.ring.submit();
        fence(Release);
        self.hardware.registers.write_dmacount(count);
    }

    #[inline]
    pub(super) fn collect(&mut self, completions: &mut [Completion]) -> usize {
        if !matches!(self.life, Life::Running) {
            return self.collect_stopped(completions);
        }
        let word = self.hardware.memory.read_completion();
        let news = word != self.seen && self.observe(word);
        if news {
            self.quiet_polls = 0;
            self.heed_sometimes();
        } else if self.ring.is_busy() {
            self.quiet_polls += 1;
            if self.quiet_polls >= self.status_interval {
                self.look();
            }
        } else {
            self.heed_sometimes();
        }
        self.ring.reap(completions)
    }

    /// Begins with an empty ring, on a channel that was reset.
    pub(super) fn begin(&mut self) {
        self.ring.rebase(DONE_AT_START);
        if let Some(patterns) = &mut self.patterns {
            patterns.rebase();
        }
        self.seen = self.hardware.memory.read_completion();
        self.quiet_polls = 0;
        self.stalled = None;
        self.life = Life::Running;
    }

    /// Looks at a new completion word, and says whether it completes anything.
    ///
    /// One that completes more than half of the ring at once is not believed: it may be an older one that was written again, over
    /// one that was taken. CHANSTS knows, and half a ring of descriptors pays for the read.
    fn observe(&mut self, word: u64) -> bool {
        self.seen = word;
        let status = ChannelStatus::from_bits(word);
        if self.ring.is_doubtful(status.completed()) {
            let before = self.ring.completed();
            self.look();
            return self.ring.completed() != before;
        }
        let news = self.absorb(status);
        if status.state() == ChannelState::Halted {
            self.look();
        }
        news
    }

    /// Takes the completed address of a word that the device wrote, and says whether it was new.
    pub(super) fn absorb(&mut self, status: ChannelStatus) -> bool {
        let taken = match status.state() {
            ChannelState::Unknown(_) => None,
            _ => self.ring.complete(status.completed()).ok(),
        };
        taken.unwrap_or_else(|| {
            self.violation(status);
            false
        })
    }

    pub(super) fn violation(&mut self, status: ChannelStatus) {
        self.violations += 1;
        tracing::debug!(name = self.name, status = status.bits(), "the device said what cannot be");
    }

    #[inline]
    fn push(&mut self, token: Option<Token>, descriptor: &Descriptor) -> Result<(), EnqueueError> {
        let Some(index) = self.ring.push(token) else { return Err(EnqueueError::Full) };
        self.hardware.memory.write_descriptor(index, descriptor);
        self.last_head = descriptor.to_words()[0];
        Ok(())
    }

    #[cold]
    fn fill_by_copies(
        &mut self,
        token: Token,
        pattern: u64,
        transfer: &Transfer,
    ) -> Result<(), EnqueueError> {
        let Some(patterns) = &mut self.patterns else { return Err(EnqueueError::Unsupported) };
        let pieces = patterns.pieces(transfer.length);
        if pieces > self.ring.room() {
            return Err(EnqueueError::Full);
        }
        let source = patterns.source(pattern, self.ring.completed()).ok_or(EnqueueError::Full)?;
        patterns.used(source.area, self.ring.head() + pieces);
        if let Some((offset, bytes)) = source.to_write {
            self.hardware.memory.write_pattern(offset, bytes, pattern);
        }
        let destination = transfer.destination.get();
        for (offset, bytes) in patterns.split(transfer.length) {
            let last = offset + bytes == transfer.length;
            // Pieces are shorter than XFERCAP, so each length fits.
            let copy =
                Descriptor::copy(source.address, destination.wrapping_add(offset), bytes as u32);
            self.push(last.then_some(token), &copy)?;
        }
        Ok(())
    }
}

impl<R: RegisterIo> fmt::Debug for IoatChannel<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IoatChannel")
            .field("name", &self.name)
            .field("version", &self.version)
            .field("life", &self.life)
            .field("violations", &self.violations)
            .finish_non_exhaustive()
    }
}

/// Reads CHANCTRL, which claims the channel where nobody has. A claim that stands for nobody is released before.
fn claim<R: RegisterIo>(registers: &Registers<R>, exclusive: bool) -> ChannelControl {
    let control = registers.claim();
    if !exclusive || !control.contains(ChannelControl::IN_USE) {
        return control;
    }
    tracing::warn!(
        control = control.bits(),
        "the channel is claimed by nobody: an earlier owner was killed, and its claim is released"
    );
    registers.write_chanctrl(ChannelControl::empty());
    registers.claim()
}

fn check_version<R: RegisterIo>(registers: &Registers<R>) -> Result<Version, StartError> {
    let version = registers.read_cbver();
    if version.bits() == u8::MAX {
        Err(StartError::Absent)
    } else if version.major() != 3 {
        Err(StartError::Version { version })
    } else {
        Ok(version)
    }
}
