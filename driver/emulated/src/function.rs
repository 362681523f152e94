//! One PCI function: what an access to BAR 0 does.
//!
//! An access is cut into pieces, one for each register it touches and one for each byte that is no
//! register's. A piece asks the register's access rule first. Registers that do something belong to a
//! channel; the others, and what no source names, are bytes that are stored and read back.

use dmaring_ioat_spec::registers::{
    Access, BAR_BYTES, ChannelCommand, IntrControl, Place, RegisterSpec, at, table,
};

use crate::{
    bus::Bus,
    channel::{Channel, Env, Ran},
    config_space::{ConfigSpace, Effect},
    fault::Schedule,
    iommu::Iommu,
    knobs::Knobs,
    preset::Part,
    store::Store,
    violation::{Log, Violation, ViolationKind},
};

#[derive(Debug)]
pub(crate) struct FunctionModel {
    index: u8,
    part: Part,
    knobs: Knobs,
    store: Store,
    config: ConfigSpace,
    channels: Vec<Channel>,
    gone: bool,
}

/// Part of an access that lies within one register.
struct Piece {
    register: &'static RegisterSpec,
    channel: Option<usize>,
    /// The first byte within the register, and how many.
    byte: u32,
    bytes: u32,
}

impl Piece {
    /// The register's bits that are accessed.
    fn mask(&self) -> u64 {
        ones(self.bytes) << (8 * self.byte)
    }

    fn is_whole(&self) -> bool {
        self.bytes == self.register.width.bytes()
    }
}

/// What the rest of the device lends for an access.
pub(crate) struct Surroundings<'a> {
    pub(crate) iommu: &'a Iommu,
    pub(crate) log: &'a mut Log,
}

impl FunctionModel {
    pub(crate) fn new(index: u8, part: Part, knobs: Knobs) -> Self {
        let mut config = ConfigSpace::new(&part, knobs);
        config.enable();
        let channels = (0..part.channels).map(|_| Channel::new()).collect();
        Self { index, part, knobs, store: Store::new(&part), config, channels, gone: false }
    }

    pub(crate) fn part(&self) -> &Part {
        &self.part
    }

    pub(crate) fn channels(&self) -> &[Channel] {
        &self.channels
    }

    pub(crate) fn channels_mut(&mut self) -> &mut [Channel] {
        &mut self.channels
    }

    pub(crate) fn is_gone(&self) -> bool {
        self.gone
    }

    pub(crate) fn unplug(&mut self) {
        self.gone = true;
    }

    pub(crate) fn config_mut(&mut self) -> &mut ConfigSpace {
        &mut self.config
    }

    pub(crate) fn read_config(&self, offset: u16) -> Option<u32> {
        if self.gone { Some(u32::MAX) } else { self.config.read(offset) }
    }

    pub(crate) fn write_config(&mut self, offset: u16, value: u32) -> bool {
        if self.gone {
            return true;
        }
        let effect = self.config.write(offset, value);
        if effect == Some(Effect::Reset) {
            self.power_on();
        }
        effect.is_some()
    }

    /// A function-level reset as an operating system does it: configuration saved and restored.
    pub(crate) fn reset(&mut self) {
        let saved = self.config.clone();
        self.power_on();
        self.config.restore(&saved);
    }

    pub(crate) fn read(&mut self, offset: u32, bytes: u32, with: &mut Surroundings<'_>) -> u64 {
        if !self.answers(offset, bytes, with.log) {
            return u64::MAX;
        }
        let (mut value, mut done) = (0, 0);
        while done < bytes {
            let (part, length) = match self.piece(offset + done, bytes - done) {
                Some(piece) => {
                    let whole = self.read_register(&piece, offset + done - piece.byte);
                    (whole >> (8 * piece.byte) & ones(piece.bytes), piece.bytes)
                }
                None => (self.store.load(offset + done, 1), 1),
            };
            value |= part << (8 * done);
            done += length;
        }
        value
    }

    pub(crate) fn write(
        &mut self,
        offset: u32,
        bytes: u32,
        value: u64,
        with: &mut Surroundings<'_>,
    ) {
        if !self.answers(offset, bytes, with.log) {
            return;
        }
        let mut done = 0;
        while done < bytes {
            let part = value >> (8 * done);
            done += match self.piece(offset + done, bytes - done) {
                Some(piece) => {
                    self.write_register(&piece, offset + done, part & ones(piece.bytes), with);
                    piece.bytes
                }
                None => {
                    self.store.save(offset + done, 1, part);
                    1
                }
            };
        }
    }

    /// Carries out the next descriptor of a channel that can run.
    pub(crate) fn run(
        &mut self,
        channel: usize,
        schedule: &mut Schedule,
        with: &mut Surroundings<'_>,
    ) -> Ran {
        let Some((channel, mut env)) = self.env(channel, with) else { return Ran::Stalled };
        let ran = channel.run(&mut env, schedule);
        self.gone |= ran == Ran::Gone;
        ran
    }

    /// Writes what a channel with nothing else to do has left to write.
    pub(crate) fn flush(&mut self, channel: usize, with: &mut Surroundings<'_>) {
        if let Some((channel, env)) = self.env(channel, with) {
            channel.flush_late_write(&env);
        }
    }

    fn env<'a>(
        &'a mut self,
        channel: usize,
        with: &'a mut Surroundings<'_>,
    ) -> Option<(&'a mut Channel, Env<'a>)> {
        let enable = IntrControl::MASTER_ENABLE.bits();
        let interrupt_enable = self.store.load(table::INTRCTRL.offset, 1) & u64::from(enable) != 0;
        let master = self.config.bus_master();
        let number = usize::from(self.index) * self.channels.len() + channel;
        let place = (self.index, u8::try_from(channel).ok()?);
        let env = Env {
            bus: Bus { iommu: with.iommu, channel: number, master },
            part: &self.part,
            knobs: &self.knobs,
            config: &mut self.config,
            log: with.log,
            place,
            interrupt_enable,
        };
        Some((self.channels.get_mut(channel)?, env))
    }

    fn power_on(&mut self) {
        self.config = ConfigSpace::new(&self.part, self.knobs);
        self.store = Store::new(&self.part);
        self.channels.fill_with(Channel::new);
    }

    /// Whether the function answers such an access at all.
    fn answers(&self, offset: u32, bytes: u32, log: &mut Log) -> bool {
        if self.gone || !self.config.memory() {
            return false;
        }
        let end = offset.checked_add(bytes);
        let good = end.is_some_and(|end| end <= BAR_BYTES) && offset.is_multiple_of(bytes);
        if !good {
            let kind = ViolationKind::BadAccess { offset, bytes };
            log.add(Violation { function: self.index, channel: None, kind });
        }
        good
    }

    fn piece(&self, offset: u32, left: u32) -> Option<Piece> {
        let location = at(offset)?;
        let channel = location.channel.map(usize::from);
        if channel.is_some_and(|channel| channel >= self.channels.len()) {
            return None;
        }
        let bytes = (location.register.width.bytes() - location.byte).min(left);
        Some(Piece { register: location.register, channel, byte: location.byte, bytes })
    }

    /// The whole value of a register that begins at `offset`.
    fn read_register(&mut self, piece: &Piece, offset: u32) -> u64 {
        if piece.register.offset == table::ATTNSTATUS.offset && piece.channel.is_none() {
            let wanting = self.channels.iter().enumerate();
            return wanting
                .filter(|(_, channel)| channel.wants_attention())
                .fold(0, |bits, (number, _)| bits | 1 << number);
        }
        if piece.register.place == Place::Channel
            && let Some(channel) = piece.channel.and_then(|channel| self.channels.get_mut(channel))
            && let Some(value) = channel.read(piece.register.offset, piece.mask())
        {
            return value;
        }
        self.store.load(offset, piece.register.width.bytes())
    }

    fn write_register(
        &mut self,
        piece: &Piece,
        offset: u32,
        part: u64,
        with: &mut Surroundings<'_>,
    ) {
        if piece.register.access == Access::ReadOnly {
            if piece.is_whole() {
                let kind = ViolationKind::ReadOnlyWritten { register: piece.register.name };
                let channel = piece.channel.and_then(|channel| u8::try_from(channel).ok());
                with.log.add(Violation { function: self.index, channel, kind });
            }
            return;
        }
        let (place, register) = (piece.register.place, piece.register.offset);
        if place == Place::Channel
            && let Some(number) = piece.channel
        {
            let value = part << (8 * piece.byte);
            if let Some((channel, mut env)) = self.env(number, with)
                && channel.write(register, piece.mask(), value, &mut env)
            {
                let reset = u64::from(ChannelCommand::RESET.bits());
                if register == table::CHANCMD.offset && value & reset != 0 {
                    self.after_channel_reset();
                }
                return;
            }
        }
        self.store.save(offset, piece.bytes, part);
    }

    fn after_channel_reset(&mut self) {
        if self.part.platform().is_some_and(|spec| spec.reset_wipes_msix) {
            self.store.wipe_msix_table();
        }
    }
}

fn ones(bytes: u32) -> u64 {
    u64::MAX >> (64 - 8 * bytes.clamp(1, 8))
}
