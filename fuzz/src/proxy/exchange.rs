//! A message, or a stream of them, given to the code under test, and what must come of it.

use std::{
    io::{Read, Write},
    net::Shutdown,
    os::unix::net::UnixStream,
};

use arbitrary::Unstructured;
use dmaring_emulated::proxy::{HEADER_BYTES, Header, REPLY_BYTES, dispatch, reply, serve};
use dmaring_ioat_spec::registers::{BAR_BYTES, ChannelState};

use super::{
    Bench,
    memory::{Region, check_closed},
    protocol::{self, BAR_READ, BAR_WRITE, CONFIG_READ, Message, Outcome, RESET, SYNC},
};
use crate::numbers::byte;

impl Bench {
    /// Sends a message with these file descriptors.
    pub(super) fn send(&mut self, message: &Message, regions: &[Region]) {
        let header = Header::decode(&message.header);
        assert_eq!(header.is_ok(), message.has_header(), "{message:?}");
        let Ok(header) = header else { return };
        let (files, kept): (Vec<_>, Vec<_>) =
            regions.iter().map(|region| self.memory.descriptor(region.behind)).unzip();
        let asked: Vec<_> =
            regions.iter().enumerate().map(|(row, at)| at.said(message, row)).collect();
        let outcome = message.outcome(regions.len(), self.memory.accepts(&asked));
        let before = self.function.status();
        let done = dispatch(&self.function, header, &message.payload, files);
        let found = match done {
            Ok(Some(_)) => Outcome::Answer,
            Ok(None) => Outcome::Silence,
            Err(_) => Outcome::Refused,
        };
        assert_eq!(found, outcome, "{message:?} with {asked:?}: {done:?}");
        // A command that a channel does not take halts it, which its completion word may say.
        self.memory.check(message.command() == BAR_WRITE);
        kept.into_iter().flatten().for_each(check_closed);
        match outcome {
            Outcome::Refused => assert_eq!(self.function.status(), before, "{message:?}"),
            Outcome::Silence if message.command() == SYNC => self.memory.lend(asked),
            _ => {}
        }
        if let Ok(Some(value)) = done {
            self.check_answer(message, value);
        }
    }

    fn check_answer(&self, message: &Message, value: u64) {
        match message.command() {
            CONFIG_READ => assert!(value <= message.widest(), "{message:?}: {value:#x}"),
            BAR_READ => {
                assert!(value <= message.widest() || value == u64::MAX, "{message:?}: {value:#x}");
                let base = u64::from(self.function.read_config(0x10, 4) & !0xf);
                let (address, memory) = message.place();
                let inside = (base..base + u64::from(BAR_BYTES)).contains(&address);
                assert!(memory && inside || value == u64::MAX, "{message:?}: {value:#x}");
            }
            _ => assert_eq!(value, 0, "{message:?}"),
        }
        let status = self.function.status();
        // A function that is gone has no states.
        if let (RESET, Some(states)) = (message.command(), status.states) {
            assert!(!status.bus_master && self.function.read_config(4, 2) & 7 == 0);
            assert!(states.iter().all(|state| *state == ChannelState::Halted));
        }
    }

    /// The same through a socket: bytes as they are, then the end.
    pub(super) fn stream(&mut self, input: &mut Unstructured<'_>) {
        let length = usize::from(byte(input)) * 2;
        let bytes = input.bytes(length.min(input.len())).unwrap_or_default();
        let (mut qemu, ours) = UnixStream::pair().expect("a socket is to be had");
        qemu.write_all(bytes).expect("a socket has room for so little");
        qemu.shutdown(Shutdown::Write).expect("an open socket");
        let served = serve(&ours, &self.function);
        drop(ours);
        let expected = protocol::talk(bytes);
        assert_eq!(served.is_ok(), expected.ends_well, "{served:?}");
        self.memory.check(true);
        if expected.takes_memory_away {
            self.memory.lend(Vec::new());
        }
        let mut answers = Vec::new();
        // What was sent and not read makes the kernel say so, after the answers.
        let _ = qemu.read_to_end(&mut answers);
        assert_eq!(answers.len(), expected.answers * REPLY_BYTES);
        for answer in answers.chunks(REPLY_BYTES) {
            let (header, value) = answer.split_at(HEADER_BYTES);
            let value = value.try_into().map(u64::from_le_bytes).expect("a whole answer");
            assert_eq!(answer, reply(value));
            assert!(Header::decode(header.try_into().expect("a header")).is_err(), "RET is ours");
        }
    }
}
