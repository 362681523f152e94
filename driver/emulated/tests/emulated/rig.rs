//! A driver by hand: registers and descriptors typed from the facts, with nothing of any driver.
#![allow(unsafe_code, reason = "maps memory of the test's own for the device")]

use std::{
    ptr::NonNull,
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicU64, Ordering},
    },
};

use dmaring_emulated::{Bar, Device, DeviceBuilder, Iommu, Preset};
use dmaring_engine::{DmaMap, Iova, Rights};
use dmaring_ioat_spec::RegisterIo;

pub(crate) const CHANCTRL: u32 = 0x00;
pub(crate) const CHANCMD: u32 = 0x04;
pub(crate) const DMACOUNT: u32 = 0x06;
pub(crate) const CHANSTS: u32 = 0x08;
pub(crate) const CHAINADDR: u32 = 0x10;
pub(crate) const CHANCMP: u32 = 0x18;
pub(crate) const CDAR: u32 = 0x20;
pub(crate) const CHANERR: u32 = 0x28;

pub(crate) const ACTIVE: u64 = 0;
pub(crate) const IDLE: u64 = 1;
pub(crate) const SUSPENDED: u64 = 2;
pub(crate) const HALTED: u64 = 3;
pub(crate) const ARMED: u64 = 4;

pub(crate) const SUSPEND: u8 = 0x04;
pub(crate) const RESUME: u8 = 0x10;
pub(crate) const RESET: u8 = 0x20;

/// Control words: completion write, fence, null, fill.
pub(crate) const WRITE: u32 = 0x08;
pub(crate) const FENCE: u32 = 0x10;
pub(crate) const NULL: u32 = 0x20;
pub(crate) const FILL: u32 = 0x0100_0000;

pub(crate) const PAGE: usize = 4096;
/// Descriptors in the ring of a [`Rig`]: one page of them.
pub(crate) const RING: usize = 64;

/// Data is reached as bytes, completion words and descriptors as words, and no place as both.
#[repr(C, align(4096))]
struct Page([AtomicU8; PAGE]);

/// Whole pages of which the device may reach some.
pub(crate) struct Pages {
    /// A vector, since a box that is moved would make pointers into it stale.
    memory: Vec<Page>,
    mapped: Option<(u64, usize)>,
    domain: Arc<Iommu>,
}

impl Pages {
    pub(crate) fn new(domain: &Arc<Iommu>, pages: usize, rights: Rights) -> Self {
        Self::part(domain, pages, 0, pages, rights)
    }

    /// `count` of `pages` pages are mapped, from `first` on.
    pub(crate) fn part(
        domain: &Arc<Iommu>,
        pages: usize,
        first: usize,
        count: usize,
        rights: Rights,
    ) -> Self {
        let page = || Page([const { AtomicU8::new(0) }; PAGE]);
        let memory: Vec<Page> = (0..pages).map(|_| page()).collect();
        let start = NonNull::from(&memory[first..first + count]).cast();
        // SAFETY: the pages stay on the heap until `drop`, which unmaps them first.
        let iova = unsafe { domain.map(start, count * PAGE, rights) }.unwrap();
        let mapped = Some((iova.get(), count * PAGE));
        Self { memory, mapped, domain: Arc::clone(domain) }
    }

    /// The device address of a byte of the mapped part.
    pub(crate) fn iova(&self, offset: usize) -> u64 {
        self.mapped.unwrap().0 + offset as u64
    }

    pub(crate) fn unmap(&mut self) {
        if let Some((iova, length)) = self.mapped.take() {
            // SAFETY: this was mapped by `part`, and devices check their accesses under a lock.
            unsafe { self.domain.unmap(Iova::new(iova), length) }.unwrap();
        }
    }

    pub(crate) fn word(&self, offset: usize) -> u64 {
        self.place(offset).load(Ordering::Acquire)
    }

    pub(crate) fn set_word(&self, offset: usize, word: u64) {
        self.place(offset).store(word, Ordering::Relaxed);
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let bytes = self.memory.iter().flat_map(|page| &page.0);
        bytes.map(|byte| byte.load(Ordering::Relaxed)).collect()
    }

    pub(crate) fn set_bytes(&self, byte: impl Fn(usize) -> u8) {
        let bytes = self.memory.iter().flat_map(|page| &page.0);
        for (at, place) in bytes.enumerate() {
            place.store(byte(at), Ordering::Relaxed);
        }
    }

    fn place(&self, offset: usize) -> &AtomicU64 {
        let bytes = &self.memory[offset / PAGE].0[offset % PAGE..][..8];
        assert_eq!(offset % 8, 0);
        // SAFETY: eight bytes of a page that is aligned, none of them reached but by atomics.
        unsafe { &*bytes.as_ptr().cast::<AtomicU64>() }
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        self.unmap();
    }
}

/// `unmap` of what may not be mapped.
pub(crate) fn unmap_anything(domain: &Iommu, iova: u64, length: usize) -> bool {
    // SAFETY: the domain refuses what it does not know; callers ask for nothing else.
    unsafe { domain.unmap(Iova::new(iova), length) }.is_ok()
}

/// `map` of an address and a length that are refused before anything is touched.
pub(crate) fn map_anything(domain: &Iommu, address: usize, length: usize) -> bool {
    let start = NonNull::new(std::ptr::without_provenance_mut(address)).unwrap();
    // SAFETY: callers give what the domain refuses.
    unsafe { domain.map(start, length, Rights::Read) }.is_ok()
}

/// A descriptor as eight words.
pub(crate) fn descriptor(
    size: u32,
    control: u32,
    source: u64,
    destination: u64,
    next: u64,
) -> [u64; 8] {
    [u64::from(control) << 32 | u64::from(size), source, destination, next, 0, 0, 0, 0]
}

/// One channel with a ring, a completion word and memory to copy between.
pub(crate) struct Rig {
    pub(crate) ring: Pages,
    pub(crate) status: Pages,
    pub(crate) source: Pages,
    pub(crate) destination: Pages,
    pub(crate) domain: Arc<Iommu>,
    pub(crate) device: Device,
    pub(crate) bar: Bar,
    pub(crate) channel: usize,
    base: u32,
    pushed: usize,
}

pub(crate) fn builder() -> DeviceBuilder {
    Device::builder(Preset::Skx)
}

impl Rig {
    pub(crate) fn new(builder: DeviceBuilder) -> Self {
        Self::on(&builder.build().unwrap(), 0, 0)
    }

    /// A rig that is started.
    pub(crate) fn started(builder: DeviceBuilder) -> Self {
        let mut rig = Self::new(builder);
        rig.start();
        rig
    }

    pub(crate) fn on(device: &Device, function: u8, channel: u8) -> Self {
        let domain = device.domain();
        let bar = device.function(function).unwrap().registers();
        let source = Pages::new(&domain, 4, Rights::Read);
        source.set_bytes(|at| (at * 31 + at / 251) as u8);
        let destination = Pages::new(&domain, 4, Rights::ReadWrite);
        destination.set_bytes(|_| 0xee);
        let per_function = device.channels() / usize::from(device.functions());
        Self {
            ring: Pages::new(&domain, 1, Rights::Read),
            status: Pages::new(&domain, 1, Rights::ReadWrite),
            source,
            destination,
            domain,
            device: device.clone(),
            bar,
            channel: usize::from(function) * per_function + usize::from(channel),
            base: 0x80 * (u32::from(channel) + 1),
            pushed: 0,
        }
    }

    pub(crate) fn at(&self, register: u32) -> u32 {
        self.base + register
    }

    /// Control, completion address and chain, as drivers write them.
    pub(crate) fn start(&mut self) {
        self.bar.write16(self.at(CHANCTRL), 0x0c);
        self.bar.write64(self.at(CHANCMP), self.status.iova(0));
        self.chain();
    }

    pub(crate) fn chain(&mut self) {
        self.pushed = 0;
        self.bar.write64(self.at(CHAINADDR), self.ring.iova(0));
    }

    /// The device address of the descriptor with this number since the chain was written.
    pub(crate) fn address(&self, number: usize) -> u64 {
        self.ring.iova(number % RING * 64)
    }

    /// Writes the next descriptor, linked in a ring, and gives its address.
    pub(crate) fn push(&mut self, size: u32, control: u32, source: u64, destination: u64) -> u64 {
        let next = self.address(self.pushed + 1);
        self.push_words(descriptor(size, control, source, destination, next))
    }

    pub(crate) fn push_words(&mut self, words: [u64; 8]) -> u64 {
        let number = self.pushed;
        for (at, word) in words.into_iter().enumerate() {
            self.ring.set_word(number % RING * 64 + at * 8, word);
        }
        self.pushed += 1;
        self.address(number)
    }

    pub(crate) fn push_null(&mut self) -> u64 {
        self.push(1, NULL | WRITE, 0, 0)
    }

    /// A copy from the start of the source to the start of the destination, with completion write.
    pub(crate) fn push_copy(&mut self, size: u32) -> u64 {
        let (source, destination) = (self.source.iova(0), self.destination.iova(0));
        self.push(size, WRITE, source, destination)
    }

    pub(crate) fn doorbell(&self) {
        self.bar.write16(self.at(DMACOUNT), self.pushed as u16);
    }

    /// Doorbell, and one step for each descriptor that is due.
    pub(crate) fn go(&self, steps: usize) -> usize {
        self.doorbell();
        self.device.step_channel(self.channel, steps)
    }

    pub(crate) fn command(&self, command: u8) {
        self.bar.write8(self.at(CHANCMD), command);
    }

    pub(crate) fn status(&self) -> u64 {
        self.bar.read64(self.at(CHANSTS))
    }

    pub(crate) fn state(&self) -> u64 {
        self.status() & 7
    }

    pub(crate) fn errors(&self) -> u32 {
        self.bar.read32(self.at(CHANERR))
    }

    pub(crate) fn clear_errors(&self) {
        self.bar.write32(self.at(CHANERR), self.errors());
    }

    /// The completion word.
    pub(crate) fn completion(&self) -> u64 {
        self.status.word(0)
    }

    pub(crate) fn await_reset(&self) {
        let mut polls = 0;
        while self.bar.read8(self.at(CHANCMD)) & RESET != 0 {
            polls += 1;
            assert!(polls < 100, "the reset does not end");
        }
    }
}
