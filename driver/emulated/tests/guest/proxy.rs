//! QEMU's end of the proxy: bytes as QEMU 7.2 sends them, and the answers it wants.

use std::{
    io::{IoSlice, Read, Write},
    mem::MaybeUninit,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::UnixStream,
    },
    thread,
};

use dmaring_emulated::proxy::{self, ProxyError};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

use crate::rig::*;

/// QEMU's end of a connection.
pub(crate) struct Qemu(pub(crate) UnixStream);

impl Qemu {
    /// A header, descriptors riding on it, and a payload: in one call, as QEMU does, so that an end which has
    /// seen enough of the header cannot be gone before the payload is sent.
    pub(crate) fn send(&mut self, command: i32, payload: &[u8], files: &[BorrowedFd<'_>]) {
        let mut header = [0xee; 16];
        header[0..4].copy_from_slice(&command.to_le_bytes());
        header[8..16].copy_from_slice(&(payload.len() as u64).to_le_bytes());
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(16))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !files.is_empty() {
            assert!(control.push(SendAncillaryMessage::ScmRights(files)));
        }
        let bytes = [IoSlice::new(&header), IoSlice::new(payload)];
        assert_eq!(
            sendmsg(&self.0, &bytes, &mut control, SendFlags::NOSIGNAL),
            Ok(16 + payload.len())
        );
    }

    /// The value of a RET, whose every byte is checked.
    pub(crate) fn answer(&mut self) -> u64 {
        let mut bytes = [0; 24];
        self.0.read_exact(&mut bytes).unwrap();
        assert_eq!(bytes[..16], [1, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0]);
        u64::from_le_bytes(bytes[16..].try_into().unwrap())
    }

    pub(crate) fn config_read(&mut self, at: u32, bytes: u32) -> u64 {
        self.send(3, &config(at, 0, bytes), &[]);
        self.answer()
    }

    pub(crate) fn config_write(&mut self, at: u32, value: u32, bytes: u32) {
        self.send(2, &config(at, value, bytes), &[]);
        self.answer();
    }

    pub(crate) fn bar_read(&mut self, address: u64, bytes: u32) -> u64 {
        self.send(5, &bar(address, 0, bytes, 1), &[]);
        self.answer()
    }

    pub(crate) fn bar_write(&mut self, address: u64, value: u64, bytes: u32) {
        self.send(4, &bar(address, value, bytes, 1), &[]);
        self.answer();
    }

    pub(crate) fn sync(&mut self, regions: &[(u64, u64, u64, BorrowedFd<'_>)]) {
        let mut words = [0u64; 24];
        for (row, (address, size, offset, _)) in regions.iter().enumerate() {
            (words[row], words[8 + row], words[16 + row]) = (*address, *size, *offset);
        }
        let payload: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let files: Vec<_> = regions.iter().map(|region| region.3).collect();
        self.send(0, &payload, &files);
    }
}

fn config(at: u32, value: u32, bytes: u32) -> Vec<u8> {
    [at, value, bytes].iter().flat_map(|word| word.to_le_bytes()).collect()
}

fn bar(address: u64, value: u64, bytes: u32, memory: u8) -> Vec<u8> {
    let mut payload = [address.to_le_bytes(), value.to_le_bytes()].concat();
    payload.extend(bytes.to_le_bytes());
    payload.extend([memory, 0xee, 0xee, 0xee]);
    payload
}

/// Lets `talk` be QEMU; how the other end fared.
fn connected<R>(talk: impl FnOnce(&mut Qemu) -> R) -> (R, Result<(), ProxyError>) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let chipset = FakeChipset::new();
    let function =
        dmaring_emulated::guest::GuestFunction::new(builder(), slot("05.0"), false, chipset);
    let function = function.unwrap();
    thread::scope(|scope| {
        let server = scope.spawn(move || proxy::serve(&theirs, &function));
        let result = talk(&mut Qemu(ours));
        (result, server.join().unwrap())
    })
}

#[test]
fn qemu_sizes_the_bars_and_finds_one_of_32_bits() {
    let ((), end) = connected(|qemu| {
        assert_eq!(qemu.config_read(0x00, 4), 0x2021_8086);
        assert_eq!(qemu.config_read(0x0a, 2), 0x0880);
        // Nothing is decoded at first, and nothing mastered.
        assert_eq!(qemu.config_read(0x04, 2), 0);
        for at in (0x10..=0x28).step_by(4) {
            qemu.config_write(at, u32::MAX, 4);
            let size = if at == 0x10 { 0xffff_c000 } else { 0 };
            assert_eq!(qemu.config_read(at, 4), size, "{at:#x}");
        }
        qemu.config_write(0x30, u32::MAX, 4);
        assert_eq!(qemu.config_read(0x30, 4), 0);
    });
    end.unwrap();
}

#[test]
fn configuration_is_read_and_written_in_every_width_at_every_offset() {
    let ((), end) = connected(|qemu| {
        let bytes: Vec<u64> = (0..256).map(|at| qemu.config_read(at, 1)).collect();
        for at in 0..253u32 {
            let low = at as usize;
            assert_eq!(qemu.config_read(at, 2), bytes[low] | bytes[low + 1] << 8);
            let word = (0..4).fold(0, |word, byte| word | bytes[low + byte] << (8 * byte));
            assert_eq!(qemu.config_read(at, 4), word, "{at:#x}");
        }
        assert_eq!(qemu.config_read(0xff, 4), 0xffff_ff00 | bytes[255]);
        assert_eq!(qemu.config_read(0x180, 4), 0xffff_ffff);
        assert_eq!(qemu.config_read(u32::MAX, 4), 0xffff_ffff);
        qemu.config_write(u32::MAX - 1, 0, 4);
        // The base in bytes, a write across two words included.
        qemu.config_write(0x12, 0x0000_febf, 2);
        qemu.config_write(0x11, 0x40, 1);
        assert_eq!(qemu.config_read(0x10, 4), 0xfebf_4000);
        qemu.config_write(0x3b, 0x0b00, 2);
        assert_eq!(qemu.config_read(0x3c, 1), 0x0b);
        assert_eq!(qemu.config_read(0x3d, 1), 1);
    });
    end.unwrap();
}

#[test]
fn bytes_that_are_not_written_are_not_cleared_by_ones() {
    let ((), end) = connected(|qemu| {
        // Parity error, master abort: never set here, so that what is checked is the mask itself.
        qemu.config_write(0x04, 0x0006, 2);
        qemu.config_write(0x05, 0x04, 1);
        assert_eq!(qemu.config_read(0x04, 2), 0x0406);
        qemu.config_write(0x98, 0x0010, 2);
        qemu.config_write(0x99, 0x08, 1);
        assert_eq!(qemu.config_read(0x98, 2), 0x0810);
        // A reset is asked for in the high byte alone.
        qemu.config_write(0x99, 0x80, 1);
        assert_eq!(qemu.config_read(0x04, 2), 0);
    });
    end.unwrap();
}

#[test]
fn registers_are_reached_where_the_bar_was_put_in_every_width() {
    let ((), end) = connected(|qemu| {
        // Not decoded yet.
        qemu.config_write(0x10, 0xfebf_0000, 4);
        assert_eq!(qemu.bar_read(0xfebf_0008, 1), u64::MAX);
        qemu.config_write(0x04, 0x2, 2);
        assert_eq!(qemu.bar_read(0xfebf_0008, 1), 0x33);
        assert_eq!(qemu.bar_read(0xfebf_0000, 2), 0x1401);
        assert_eq!(qemu.bar_read(0xfebf_0000, 4), 0x0000_1401);
        qemu.bar_write(0xfebf_0098, 0x1122_3344_5566_7788, 8);
        assert_eq!(qemu.bar_read(0xfebf_0098, 8), 0x1122_3344_5566_7788);
        assert_eq!(qemu.bar_read(0xfebf_009c, 4), 0x1122_3344);
        // Past it, before it, and as an I/O port.
        for address in [0xfebf_4000, 0xfebe_ffff, 0, u64::MAX] {
            assert_eq!(qemu.bar_read(address, 4), u64::MAX, "{address:#x}");
            qemu.bar_write(address, 0, 4);
        }
        qemu.send(5, &bar(0xfebf_0008, 0, 1, 0), &[]);
        assert_eq!(qemu.answer(), u64::MAX);
        // Moved.
        qemu.config_write(0x10, 0xd000_0000, 4);
        assert_eq!(qemu.bar_read(0xd000_0008, 1), 0x33);
        // A reset of the device takes all of it back.
        qemu.send(7, &[], &[]);
        qemu.answer();
        assert_eq!((qemu.config_read(0x10, 4), qemu.config_read(0x04, 2)), (0, 0));
    });
    end.unwrap();
}

#[test]
fn capabilities_are_what_linux_asks_for() {
    let ((), end) = connected(|qemu| {
        assert_eq!(qemu.config_read(0x06, 1) & 0x10, 0x10);
        let (msix, mut seen) = (qemu.config_read(0x34, 1), Vec::new());
        let mut at = msix;
        while at != 0 {
            seen.push((qemu.config_read(at as u32, 1), at));
            at = qemu.config_read(at as u32 + 1, 1);
        }
        let (msix, express) = (seen[0].1 as u32, seen[1].1 as u32);
        assert_eq!([seen[0].0, seen[1].0], [0x11, 0x10]);
        // One vector; table and pending bits in BAR 0.
        assert_eq!(qemu.config_read(msix + 2, 2), 0);
        assert_eq!(qemu.config_read(msix + 4, 4), 0x2000);
        assert_eq!(qemu.config_read(msix + 8, 4), 0x3000);
        // An integrated endpoint, version 2, that can be reset by itself.
        assert_eq!(qemu.config_read(express + 2, 2), 0x0092);
        assert_eq!(qemu.config_read(express + 4, 4) & 1 << 28, 1 << 28);
    });
    end.unwrap();
}

#[test]
fn memory_comes_by_descriptor_and_is_replaced_as_a_whole() {
    let (first, second) = (Ram::new(4 << 20), Ram::new(4 << 20));
    let (a, b) = (first.file(), second.file());
    first.descriptor(0x1000, [8, 0x08, 0x2000, 0x10_2000, 0]);
    second.set_word(0x2000, 0xabcd);
    first.set_word(0x2000, 0x1234);
    let (ours, theirs) = UnixStream::pair().unwrap();
    let function = dmaring_emulated::guest::GuestFunction::new(
        builder(),
        slot("05.0"),
        false,
        FakeChipset::new(),
    )
    .unwrap();
    thread::scope(|scope| {
        let served = function.clone();
        let server = scope.spawn(move || proxy::serve(&theirs, &served));
        let mut qemu = Qemu(ours);
        qemu.config_write(0x10, BAR as u32, 4);
        qemu.config_write(0x04, 0x6, 2);
        // Two files, the second one's third page at 1 MiB.
        qemu.sync(&[(0, 0x10_0000, 0, a.as_fd()), (0x10_0000, 0x10_0000, 0x2000, b.as_fd())]);
        // Two descriptors for INTx, which are closed.
        qemu.send(6, &[], &[a.as_fd(), b.as_fd()]);
        for (register, value) in [(0x98, 0x3000), (0x90, 0x1000)] {
            qemu.bar_write(BAR + register, value, 8);
        }
        qemu.bar_write(BAR + 0x86, 1, 2);
        assert_eq!(function.step(1).unwrap(), 1);
        assert_eq!(second.word(0x4000), 0x1234);
        assert_eq!(first.word(0x3000), 0x1000 | IDLE);

        // The other file alone.
        qemu.sync(&[(0, 0x10_0000, 0, b.as_fd())]);
        second.descriptor(0x1000, [8, 0x08, 0x2000, 0x5000, 0]);
        qemu.bar_write(BAR + 0x90, 0x1000, 8);
        qemu.bar_write(BAR + 0x86, 1, 2);
        assert_eq!(function.step(1).unwrap(), 1);
        assert_eq!((second.word(0x5000), first.word(0x5000)), (0xabcd, 0));

        // None at all.
        qemu.sync(&[]);
        qemu.bar_write(BAR + 0x90, 0x1000, 8);
        qemu.bar_write(BAR + 0x86, 1, 2);
        function.step(1).unwrap();
        assert_eq!(qemu.bar_read(BAR + 0x88, 8) & 7, HALTED);
        drop(qemu);
        server.join().unwrap().unwrap();
    });
    assert_eq!(function.status().iommu_faults, 1);
}

#[test]
fn what_is_no_message_ends_the_connection_with_its_name() {
    let ended = |message: &str, talk: &dyn Fn(&mut Qemu)| {
        let ((), end) = connected(talk);
        let error = end.unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    };
    let file = Ram::new(4096).file();
    let fd = file.as_fd();
    ended("command 8: 0 to 7 are known", &|qemu| qemu.send(8, &[], &[]));
    ended("command -1", &|qemu| qemu.send(-1, &[], &[]));
    ended("command 1: 0 to 7 are known, and 1 is ours", &|qemu| qemu.send(1, &[0; 8], &[]));
    ended("ConfigRead with 11 bytes of payload: it has 12", &|qemu| qemu.send(3, &[0; 11], &[]));
    ended("Reset with 4096 bytes", &|qemu| qemu.send(7, &[0; 4096], &[]));
    ended("ConfigRead of 3 bytes: 1, 2 and 4", &|qemu| qemu.send(3, &config(0, 0, 3), &[]));
    ended("ConfigWrite of 4294967295 bytes", &|qemu| qemu.send(2, &config(0, 0, u32::MAX), &[]));
    ended("BarRead of 0 bytes", &|qemu| qemu.send(5, &bar(0, 0, 0, 1), &[]));
    ended("BarWrite of 16 bytes", &|qemu| qemu.send(4, &bar(0, 0, 16, 1), &[]));
    ended("ConfigRead with 1 file descriptors: at most 0", &|qemu| {
        qemu.send(3, &config(0, 0, 4), &[fd]);
    });
    ended("SetIrqFd with 3 file descriptors: at most 2", &|qemu| qemu.send(6, &[], &[fd; 3]));
    ended("more file descriptors than 8", &|qemu| qemu.send(0, &[0; 192], &[fd; 9]));
    ended("ended after 7 of 16 bytes", &|qemu| qemu.0.write_all(&[3; 7]).unwrap());
    ended("ended after 5 of 12 bytes", &|qemu| {
        let header = [3, 0, 0, 0, 0, 0, 0, 0, 12, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5];
        qemu.0.write_all(&header).unwrap();
    });
    ended("guest memory refused", &|qemu| qemu.sync(&[(0, 0x2000, 0, fd)]));
}
