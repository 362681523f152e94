//! Memory in a channel's address space, and transfers on it.
#![allow(unsafe_code, reason = "maps memory and enqueues transfers as the runtime would")]

use std::{
    env,
    fs::{self, File},
    os::unix::fs::FileExt,
    ptr::NonNull,
    slice,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering::Relaxed},
    },
    task::Poll,
    time::{Duration, Instant},
};

use dmaring_driver::{
    IoatChannel,
    vfio::{Bar, Container},
};
use dmaring_engine::{
    Completion, DmaMap, Engine, Iova, MapError, Operation, Outcome, Rights, Token, Transfer,
};
use memmap2::{MmapMut, MmapOptions, MmapRaw};

/// How long a transfer may take, on a device that is modelled by another process.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) type Channel = IoatChannel<Bar>;

/// The functions that the tests may use.
pub(crate) fn functions() -> Vec<String> {
    let variable = "DMARING_TEST_FUNCTIONS";
    let list = env::var(variable).unwrap_or_else(|_| {
        panic!(
            "{variable} is not set: name functions bound to vfio-pci, as 0000:00:05.0,0000:00:06.0"
        )
    });
    list.split(',').map(str::to_owned).collect()
}

/// The first of them.
pub(crate) fn function() -> String {
    functions().swap_remove(0)
}

/// Two channels of two functions in one container.
pub(crate) fn pair() -> (Container, Channel, Channel) {
    let functions = functions();
    assert!(functions.len() >= 2, "two functions are needed: {functions:?}");
    let container = Container::new().unwrap();
    let open = |address: &String| container.open_ioat(address.as_str()).unwrap();
    let (first, second) = (open(&functions[0]), open(&functions[1]));
    (container, first, second)
}

/// Pages in an address space. Unmapped before they are freed.
pub(crate) struct Pages {
    memory: MmapRaw,
    domain: Arc<dyn DmaMap>,
    /// Where they are mapped, as long as they are.
    mapped: Vec<Iova>,
}

impl Pages {
    /// Anonymous pages, mapped before anything is written to them.
    pub(crate) fn new(domain: Arc<dyn DmaMap>, length: usize, rights: Rights) -> Self {
        let memory = MmapRaw::from(MmapMut::map_anon(length).unwrap());
        Self::of(memory, domain, rights)
    }

    /// The beginning of a devdax device.
    pub(crate) fn of_device(
        path: &str,
        domain: Arc<dyn DmaMap>,
        length: usize,
        rights: Rights,
    ) -> Self {
        let file = File::options().read(true).write(true).open(path).unwrap();
        let memory = MmapOptions::new().len(length).map_raw(&file).unwrap();
        Self::of(memory, domain, rights)
    }

    fn of(memory: MmapRaw, domain: Arc<dyn DmaMap>, rights: Rights) -> Self {
        let mut pages = Self { memory, domain, mapped: Vec::new() };
        pages.map(rights).unwrap();
        pages
    }

    /// Maps them once more.
    pub(crate) fn map(&mut self, rights: Rights) -> Result<u64, MapError> {
        let memory = NonNull::new(self.memory.as_mut_ptr()).unwrap();
        // SAFETY: the pages are freed by `drop` alone, which unmaps them before.
        let iova = unsafe { self.domain.map(memory, self.memory.len(), rights) }?;
        self.mapped.push(iova);
        Ok(iova.get())
    }

    /// Undoes the mapping made last.
    pub(crate) fn unmap(&mut self) {
        self.try_unmap().unwrap();
    }

    /// The same, where it may be refused.
    pub(crate) fn try_unmap(&mut self) -> Result<(), MapError> {
        let iova = *self.mapped.last().expect("nothing is mapped");
        // SAFETY: (1) mapped above, at this address and with this length; (2) the tests wait for each transfer.
        unsafe { self.domain.unmap(iova, self.memory.len()) }?;
        self.mapped.pop();
        Ok(())
    }

    pub(crate) fn iova(&self) -> u64 {
        self.mapped.first().expect("nothing is mapped").get()
    }

    pub(crate) fn address(&self) -> u64 {
        self.memory.as_ptr() as u64
    }

    pub(crate) fn write(&self, seed: u8) {
        for (byte, value) in self.bytes().iter().zip(pattern(seed)) {
            byte.store(value, Relaxed);
        }
    }

    pub(crate) fn read(&self) -> Vec<u8> {
        self.bytes().iter().map(|byte| byte.load(Relaxed)).collect()
    }

    fn bytes(&self) -> &[AtomicU8] {
        // SAFETY: (1) the mapping has this length and lives as long as this value; (2) it is reached by atomics alone.
        unsafe { slice::from_raw_parts(self.memory.as_ptr().cast(), self.memory.len()) }
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        while !self.mapped.is_empty() {
            self.unmap();
        }
    }
}

/// Bytes in which no two neighbouring pages are alike.
pub(crate) fn pattern(seed: u8) -> impl Iterator<Item = u8> {
    (0_u32..).map(move |index| (index.wrapping_mul(0x9e37_79b1) >> 24) as u8 ^ seed)
}

/// Enqueues a copy.
pub(crate) fn enqueue(channel: &mut Channel, token: u64, [from, to, length]: [u64; 3]) {
    let transfer = Transfer {
        operation: Operation::Copy { source: Iova::new(from) },
        destination: Iova::new(to),
        length,
    };
    // SAFETY: the ranges are those of `Pages`, which stay until the transfer was waited for. Where a test gives an
    // address that is not mapped, or not with that right, the IOMMU is what it tests.
    unsafe { channel.enqueue(Token::new(token), &transfer) }.unwrap();
}

/// Waits for the next end.
pub(crate) fn wait(channel: &mut Channel) -> Completion {
    let mut ends = [Completion { token: Token::new(u64::MAX), outcome: Outcome::NotRun }];
    let until = Instant::now() + PATIENCE;
    while channel.poll(&mut ends) == 0 {
        assert!(Instant::now() < until, "no completion within {PATIENCE:?}: {channel:?}");
    }
    ends[0]
}

/// Copies, and waits for the end: from, to, length.
pub(crate) fn copy(channel: &mut Channel, range: [u64; 3]) -> Outcome {
    enqueue(channel, 7, range);
    channel.submit();
    let end = wait(channel);
    assert_eq!(end.token, Token::new(7));
    end.outcome
}

/// Brings a channel back.
pub(crate) fn recover(channel: &mut Channel) {
    let until = Instant::now() + PATIENCE;
    loop {
        match channel.recover() {
            Poll::Ready(result) => return result.unwrap(),
            Poll::Pending => assert!(Instant::now() < until, "not back within {PATIENCE:?}"),
        }
    }
}

/// Copies between pages of its own, and checks each byte.
pub(crate) fn assert_copies(channel: &mut Channel) {
    let source = Pages::new(channel.domain(), 16 << 10, Rights::Read);
    let destination = Pages::new(channel.domain(), 16 << 10, Rights::ReadWrite);
    source.write(0x5a);
    destination.write(0);
    let range = [source.iova(), destination.iova(), 16 << 10];
    assert_eq!(copy(channel, range), Outcome::Done);
    assert!(destination.read() == source.read(), "bytes differ after a copy");
}

/// What is open and mapped of VFIO: descriptors and mappings of this process.
pub(crate) fn held() -> Vec<String> {
    let descriptors = fs::read_dir("/proc/self/fd").unwrap().flatten();
    let descriptors = descriptors.filter_map(|entry| fs::read_link(entry.path()).ok());
    let mut held: Vec<String> =
        descriptors.map(|path| path.to_string_lossy().into_owned()).collect();
    held.extend(fs::read_to_string("/proc/self/maps").unwrap().lines().map(str::to_owned));
    held.retain(|text| text.contains("vfio"));
    held
}

/// The command register of a function, as the kernel reads it from the device.
pub(crate) fn command(function: &str) -> u16 {
    half(&config(function), 0x04)
}

/// The device control register of a function.
pub(crate) fn device_control(function: &str) -> u16 {
    let bytes = config(function);
    half(&bytes, device_control_place(&bytes))
}

/// Writes the device control register, as firmware would.
pub(crate) fn set_device_control(function: &str, value: u16) {
    let place = device_control_place(&config(function)) as u64;
    let file = File::options().write(true).open(config_path(function)).unwrap();
    file.write_all_at(&value.to_le_bytes(), place).unwrap();
}

fn device_control_place(bytes: &[u8]) -> usize {
    let mut capability = usize::from(bytes[0x34]);
    while bytes[capability] != 0x10 {
        capability = usize::from(bytes[capability + 1]);
        assert_ne!(capability, 0, "no PCI Express capability");
    }
    capability + 8
}

fn config_path(function: &str) -> String {
    format!("/sys/bus/pci/devices/{function}/config")
}

fn config(function: &str) -> Vec<u8> {
    fs::read(config_path(function)).unwrap()
}

fn half(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}
