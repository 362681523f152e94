//! Messages as QEMU makes them, and what each is to be answered with.
//!
//! Written from the protocol's tables and not from the code under test.

pub(super) const SYNC: i32 = 0;
pub(super) const CONFIG_WRITE: i32 = 2;
pub(super) const CONFIG_READ: i32 = 3;
pub(super) const BAR_WRITE: i32 = 4;
pub(super) const BAR_READ: i32 = 5;
pub(super) const SET_IRQ: i32 = 6;
pub(super) const RESET: i32 = 7;

/// A message, or what is meant to look like one.
#[derive(Clone, Debug)]
pub(super) struct Message {
    pub(super) header: [u8; 16],
    pub(super) payload: Vec<u8>,
}

/// What comes of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Refused,
    Silence,
    Answer,
}

impl Message {
    /// One whose header says the truth.
    pub(super) fn new(command: i32, payload: Vec<u8>) -> Self {
        Self { header: header(command, payload.len() as u64), payload }
    }

    pub(super) fn config(command: i32, offset: u32, bytes: u32, value: u32) -> Self {
        Self::new(command, [offset, value, bytes].map(u32::to_le_bytes).concat())
    }

    pub(super) fn bar(command: i32, address: u64, bytes: u32, value: u64, memory: bool) -> Self {
        let last = u64::from(bytes) | u64::from(memory) << 32;
        Self::new(command, [address, value, last].map(u64::to_le_bytes).concat())
    }

    pub(super) fn command(&self) -> i32 {
        self.header.first_chunk().map_or(0, |bytes| i32::from_le_bytes(*bytes))
    }

    /// Whether the header is one.
    pub(super) fn has_header(&self) -> bool {
        let size = self.header.last_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        payload_bytes(self.command()) == Some(size as usize) && size < 1 << 32
    }

    /// What comes of it with this many file descriptors; of memory, if it can be a guest's.
    pub(super) fn outcome(&self, files: usize, memory: bool) -> Outcome {
        let command = self.command();
        let is_message = self.has_header()
            && payload_bytes(command) == Some(self.payload.len())
            && files <= most_files(command);
        let widths: &[u8] = match command {
            CONFIG_WRITE | CONFIG_READ => &[1, 2, 4],
            BAR_WRITE | BAR_READ => &[1, 2, 4, 8],
            _ => &[],
        };
        let width = if payload_bytes(command) == Some(12) { 8 } else { 16 };
        match command {
            _ if !is_message => Outcome::Refused,
            SYNC if memory => Outcome::Silence,
            SYNC => Outcome::Refused,
            SET_IRQ => Outcome::Silence,
            RESET => Outcome::Answer,
            _ => {
                let known = widths.contains(&self.payload[width]);
                let rest = self.payload[width + 1..width + 4].iter().all(|byte| *byte == 0);
                if known && rest { Outcome::Answer } else { Outcome::Refused }
            }
        }
    }

    /// The address of an access to a BAR, and whether it is one of memory.
    pub(super) fn place(&self) -> (u64, bool) {
        (self.word(0), self.payload.get(20).is_some_and(|flag| *flag != 0))
    }

    /// The word at a byte of the payload; 0 past its end.
    pub(super) fn word(&self, at: usize) -> u64 {
        let bytes = self.payload.get(at..).and_then(|rest| rest.first_chunk());
        bytes.map_or(0, |bytes| u64::from_le_bytes(*bytes))
    }

    /// The highest number that fits the width asked for.
    pub(super) fn widest(&self) -> u64 {
        let bytes = if self.payload.len() == 12 { self.payload[8] } else { self.payload[16] };
        u64::MAX >> (64 - 8 * u32::from(bytes))
    }
}

/// What comes of bytes that are sent one after the other, without file descriptors.
#[derive(Clone, Copy, Debug)]
pub(super) struct Talk {
    pub(super) answers: usize,
    /// Whether every message was one.
    pub(super) ends_well: bool,
    /// Whether one said that there is no memory.
    pub(super) takes_memory_away: bool,
}

pub(super) fn talk(mut bytes: &[u8]) -> Talk {
    let mut talk = Talk { answers: 0, ends_well: false, takes_memory_away: false };
    while let Some((header, rest)) = bytes.split_first_chunk() {
        let mut message = Message { header: *header, payload: Vec::new() };
        let length = payload_bytes(message.command()).unwrap_or(0);
        let Some((payload, rest)) = rest.split_at_checked(length) else { return talk };
        message.payload = payload.to_vec();
        match message.outcome(0, true) {
            Outcome::Refused => return talk,
            Outcome::Silence => talk.takes_memory_away |= message.command() == SYNC,
            Outcome::Answer => talk.answers += 1,
        }
        bytes = rest;
    }
    talk.ends_well = bytes.is_empty();
    talk
}

pub(super) fn header(command: i32, size: u64) -> [u8; 16] {
    let mut header = [0; 16];
    header[0..4].copy_from_slice(&command.to_le_bytes());
    header[8..16].copy_from_slice(&size.to_le_bytes());
    header
}

/// Bytes of payload of a command, if it is one that QEMU sends.
pub(super) fn payload_bytes(command: i32) -> Option<usize> {
    match command {
        SYNC => Some(192),
        CONFIG_WRITE | CONFIG_READ => Some(12),
        BAR_WRITE | BAR_READ => Some(24),
        SET_IRQ | RESET => Some(0),
        _ => None,
    }
}

fn most_files(command: i32) -> usize {
    match command {
        SYNC => 8,
        SET_IRQ => 2,
        _ => 0,
    }
}
