//! What an access to BAR 0 does.
//!
//! An access is cut into pieces, one for each register it touches and one for each byte that is no
//! register's. A piece asks the register's access rule first. Registers that do something belong to a
//! channel; the others, and what no source names, are bytes that are stored and read back.

use dmaring_ioat_spec::registers::{
    Access, BAR_BYTES, ChannelCommand, Place, RegisterSpec, at, table,
};

use super::{FunctionModel, Surroundings};
use crate::{
    msix::{self, Area},
    violation::{Log, Violation, ViolationKind},
};

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

impl FunctionModel {
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
                    if msix::area(offset + done) != Some(Area::Pending) {
                        self.store.save(offset + done, 1, part);
                    }
                    1
                }
            };
        }
        if msix::area(offset) == Some(Area::Table) {
            msix::release(&mut self.store, &self.config, with.upstream);
        }
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
            let raised = self.interrupts();
            if let Some((channel, mut env)) = self.env(number, with)
                && channel.write(register, piece.mask(), value, &mut env)
            {
                self.signal(raised, with);
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
