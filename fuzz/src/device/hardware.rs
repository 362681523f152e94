//! Registers that answer as a channel does, or as the input says.
//!
//! Beside what a device knows, this keeps what it has *said*: the driver may believe nothing else. `named`:
//! since the chain was last written, some answer named a descriptor behind the first as completed. `armed`: the
//! driver gave the channel a chain, and has not been told since that a reset stopped it or that it is cut off from memory.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use arbitrary::Unstructured;
use dmaring_driver::ioat::Clock;
use dmaring_ioat_spec::{ConfigIo, RegisterIo};

use crate::numbers::{byte, number};

const CHANCNT: u32 = 0x00;
const XFERCAP: u32 = 0x01;
const CBVER: u32 = 0x08;
const DMACAPABILITY: u32 = 0x10;
const CHANCTRL: u32 = 0x80;
const CHANCMD: u32 = 0x84;
const DMACOUNT: u32 = 0x86;
const CHANSTS: u32 = 0x88;
const CHAINADDR: u32 = 0x90;
const CHANCMP: u32 = 0x98;
const CHANERR: u32 = 0xa8;

pub(super) const IDLE: u64 = 1;
pub(super) const SUSPENDED: u64 = 2;
pub(super) const HALTED: u64 = 3;
pub(super) const ARMED: u64 = 4;

const SUSPEND: u8 = 0x04;
const RESET: u8 = 0x20;
const CHANERR_INT: u16 = 0x180;
const VENDOR_ID: u16 = 0x00;
const COMMAND: u16 = 0x04;
const MASTER: u32 = 1 << 2;

/// The device. Clones are the same one, and its clock.
#[derive(Clone, Debug)]
pub(super) struct Hardware(Arc<Mutex<Device>>);

#[derive(Debug, Default)]
pub(super) struct Device {
    entries: u64,
    version: u8,
    channels: u8,
    transfer_cap: u8,
    pub(super) fills: bool,
    control: u16,
    pub(super) command: u8,
    pub(super) status: u64,
    pub(super) errors: u32,
    chain: u64,
    completion: u64,
    count: u16,
    /// CHANERR_INT; `None` where configuration space does not answer.
    pub(super) internal: Option<u32>,
    /// The command register.
    pci_command: u32,
    /// The driver wrote that bus mastering is off.
    mastering_cleared: bool,
    pub(super) gone: bool,
    /// What becomes of the next accesses, a byte each; those without one are honest.
    pub(super) script: VecDeque<u8>,
    /// Which writes do nothing, a bit each: suspend, reset, CHANERR, CHAINADDR, DMACOUNT, the null word.
    pub(super) stuck: u8,
    pub(super) refuse_unmap: bool,
    pub(super) time: Duration,
    pub(super) mapping: Option<(usize, usize)>,

    pub(super) named: bool,
    armed: bool,
    reset_asked: bool,
    reset_ended: bool,
    status_absent: bool,
}

impl Hardware {
    /// A halted channel of version 3.2 with transfers of up to 4 KiB.
    pub(super) fn new(entries: u32) -> Self {
        Self(Arc::new(Mutex::new(Device {
            entries: entries.into(),
            version: 0x32,
            channels: 1,
            transfer_cap: 12,
            status: HALTED,
            pci_command: 0x0406,
            ..Device::default()
        })))
    }

    pub(super) fn with<T>(&self, work: impl FnOnce(&mut Device) -> T) -> T {
        work(&mut self.lock())
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Device> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, offset: u32, value: u64) {
        let written = self.lock().write(offset, value);
        if let Some((at, word)) = written {
            self.write_at(at, word);
        }
    }

    fn read(&self, offset: u32) -> u64 {
        self.lock().read(offset)
    }
}

impl Device {
    /// Chooses what it says it is, and what it says at first.
    pub(super) fn appear(&mut self, input: &mut Unstructured<'_>) {
        let kind = byte(input);
        self.version = if kind & 1 != 0 { byte(input) } else { 0x30 | kind >> 4 & 7 };
        if kind & 2 != 0 {
            (self.channels, self.transfer_cap) = (byte(input), byte(input));
        }
        if kind & 4 != 0 {
            (self.status, self.errors, self.command) = (number(input), number(input), byte(input));
        }
        self.internal = (kind & 8 != 0).then(|| number(input));
        self.stuck = byte(input) & byte(input);
        let lies = byte(input);
        self.script = (0..lies).map(|_| byte(input)).collect();
    }

    /// Whether the driver was told that the channel has stopped or is gone.
    pub(super) fn is_stopped(&self) -> bool {
        !self.armed
    }

    /// Ends lies and planned failures; the channel has halted with an error.
    pub(super) fn behave(&mut self) {
        self.script.clear();
        (self.version, self.channels, self.transfer_cap) = (0x32, 1, 12);
        (self.stuck, self.gone, self.refuse_unmap) = (0, false, false);
        (self.status, self.errors, self.command) = (HALTED, 0x100, 0);
    }

    /// Time goes on by so many milliseconds.
    pub(super) fn wait(&mut self, milliseconds: u64) {
        self.time += Duration::from_millis(milliseconds);
    }

    /// Where the driver said that its ring is.
    pub(super) fn base(&self) -> u64 {
        self.chain
    }

    /// Carries out what DMACOUNT covers, but for the last `behind`, as CHANSTS shows.
    pub(super) fn progress(&mut self, behind: u8) {
        if self.status & 7 == HALTED || self.count == 0 || self.gone {
            return;
        }
        let done = u64::from(self.count.wrapping_sub(1)).wrapping_sub(behind.into());
        self.status = (self.chain + done % self.entries * 64) | u64::from(behind == 0);
    }

    fn read(&mut self, offset: u32) -> u64 {
        let honest = match offset {
            CHANCNT => self.channels.into(),
            XFERCAP => self.transfer_cap.into(),
            CBVER => self.version.into(),
            DMACAPABILITY => u64::from(self.fills) << 6,
            CHANCTRL => {
                let control = self.control;
                self.control |= 0x100;
                control.into()
            }
            CHANCMD => self.command.into(),
            DMACOUNT => self.count.into(),
            CHANSTS => self.status,
            CHANERR => self.errors.into(),
            _ => 0,
        };
        let said = self.answer(honest);
        self.listen(offset, said);
        said
    }

    fn answer(&mut self, honest: u64) -> u64 {
        if self.gone {
            return u64::MAX;
        }
        let lie = self.script.pop_front().unwrap_or(0);
        let detail = u64::from(lie >> 3);
        match lie & 7 {
            4 => u64::MAX,
            5 => honest & !7 | detail & 7,
            6 => honest ^ (1 << detail),
            7 => (self.chain + 64 * (detail & 7)) | detail >> 3,
            _ => honest,
        }
    }

    /// Notes what the driver has heard.
    fn listen(&mut self, offset: u32, said: u64) {
        match offset {
            CHANSTS => {
                self.name(said);
                self.status_absent = said == u64::MAX;
                let stopped = matches!(said & 7, HALTED | ARMED) && !self.status_absent;
                self.armed &= !(stopped && self.reset_ended);
            }
            CHANCMD => self.reset_ended |= self.reset_asked && said & u64::from(RESET) == 0,
            _ => {}
        }
    }

    /// Notes what the driver has heard of configuration space: nothing answers, or bus mastering is off.
    fn listen_to_config(&mut self, offset: u16, said: u32) {
        let cut_off = match offset {
            VENDOR_ID => said == u32::MAX,
            COMMAND => {
                said | 1 << 20 >= 0xffff_0000 || self.mastering_cleared && said & MASTER == 0
            }
            _ => false,
        };
        self.armed &= !cut_off;
    }

    /// Notes that a word names a completed descriptor.
    pub(super) fn name(&mut self, word: u64) {
        let offset = (word & !63).wrapping_sub(self.chain);
        self.named |= (64..64 * self.entries).contains(&offset);
    }

    /// What a write does; gives a word to be written to memory, if there is one, and where.
    fn write(&mut self, offset: u32, value: u64) -> Option<(u64, u64)> {
        match (offset, value) {
            (CHAINADDR, 1..) => {
                (self.chain, self.named) = (value, false);
                (self.armed, self.reset_asked, self.reset_ended) = (true, false, false);
            }
            (CHANCMD, _) if value as u8 & RESET != 0 => {
                (self.reset_asked, self.reset_ended) = (true, false);
            }
            _ => {}
        }
        let ignored = self.script.pop_front().is_some_and(|lie| lie & 7 == 7);
        if self.gone || ignored {
            return None;
        }
        let stuck = |bit: u8| self.stuck & 1 << bit != 0;
        match offset {
            CHANCTRL => self.control = value as u16,
            CHANCMD if value as u8 & RESET != 0 && !stuck(1) => {
                (self.status, self.command, self.count) = (HALTED, 0, 0);
            }
            CHANCMD if value as u8 & RESET != 0 => self.command = RESET,
            CHANCMD if value as u8 & SUSPEND != 0 && !stuck(0) => {
                self.status = self.status & !7 | SUSPENDED;
            }
            CHANERR if !stuck(2) => self.errors &= !(value as u32),
            CHAINADDR if value != 0 && self.errors == 0 && !stuck(3) => self.status = ARMED,
            CHANCMP => self.completion = value,
            DMACOUNT if !stuck(4) => {
                let first = self.status & 7 == ARMED;
                self.count = value as u16;
                if first {
                    self.status = self.chain | IDLE;
                    return (!stuck(5)).then_some((self.completion, self.status));
                }
            }
            _ => {}
        }
        None
    }
}

impl RegisterIo for Hardware {
    fn read8(&self, offset: u32) -> u8 {
        self.read(offset) as u8
    }

    fn read16(&self, offset: u32) -> u16 {
        self.read(offset) as u16
    }

    fn read32(&self, offset: u32) -> u32 {
        self.read(offset) as u32
    }

    fn read64(&self, offset: u32) -> u64 {
        self.read(offset)
    }

    fn write8(&self, offset: u32, value: u8) {
        self.write(offset, value.into());
    }

    fn write16(&self, offset: u32, value: u16) {
        self.write(offset, value.into());
    }

    fn write32(&self, offset: u32, value: u32) {
        self.write(offset, value.into());
    }

    fn write64(&self, offset: u32, value: u64) {
        self.write(offset, value);
    }
}

impl ConfigIo for Hardware {
    fn read_config32(&self, offset: u16) -> Option<u32> {
        let mut device = self.lock();
        let honest = match offset {
            CHANERR_INT => device.internal?,
            COMMAND => 0x0010_0000 | device.pci_command,
            _ => 0x3430_8086,
        };
        let said = device.answer(honest.into()) as u32;
        device.listen_to_config(offset, said);
        Some(said)
    }

    fn write_config32(&self, offset: u16, value: u32) -> bool {
        let mut device = self.lock();
        if offset == CHANERR_INT {
            device.internal = device.internal.map(|errors| errors & !value);
        }
        if offset == COMMAND {
            device.pci_command = value & 0xffff;
            device.mastering_cleared = value & MASTER == 0;
            return true;
        }
        device.internal.is_some()
    }
}

impl Clock for Hardware {
    fn now(&self) -> Duration {
        self.lock().time
    }

    fn pause(&self) {
        self.lock().wait(1);
    }
}
