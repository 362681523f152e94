//! Who waits for whom: the chipset is asked by the clock alone, with nothing held, and what is old is not used.

use std::{
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicBool, AtomicU32, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use dmaring_emulated::guest::{Chipset, ChipsetError, GuestFaultReason as Reason, GuestFunction};

use crate::{rig::*, tables::*};

const RING: u64 = 0x20_0000;

type Before = fn(&FakeChipset, &GuestFunction);

/// A chipset served by a main loop that first wants an answer of the function itself, and meanwhile changes VT-d.
#[derive(Debug)]
struct MainLoop {
    chipset: Arc<FakeChipset>,
    function: OnceLock<GuestFunction>,
    /// What else happens before the first answer.
    before: Mutex<Option<Before>>,
}

impl MainLoop {
    fn answer_first(&self) {
        let function = self.function.get().unwrap();
        assert_eq!(function.read_config(0, 2), 0x8086);
        assert_eq!(function.read_bar(BAR + 0x08, 1), 0x33);
        if let Some(before) = self.before.lock().unwrap().take() {
            before(&self.chipset, function);
        }
    }
}

impl Chipset for MainLoop {
    fn read32(&self, address: u64) -> Result<u32, ChipsetError> {
        let answer = self.chipset.read32(address);
        self.answer_first();
        answer
    }

    fn read64(&self, address: u64) -> Result<u64, ChipsetError> {
        self.answer_first();
        self.chipset.read64(address)
    }

    fn write32(&self, address: u64, value: u32) -> Result<(), ChipsetError> {
        self.answer_first();
        self.chipset.write32(address, value)
    }
}

fn main_loop(ram: &Ram, before: Option<Before>) -> (GuestFunction, Arc<FakeChipset>) {
    let chipset = FakeChipset::new();
    let main_loop = Arc::new(MainLoop {
        chipset: Arc::clone(&chipset),
        function: OnceLock::new(),
        before: Mutex::new(before),
    });
    let served = Arc::clone(&main_loop);
    let function = GuestFunction::new(builder(), slot("05.0"), false, served).unwrap();
    main_loop.function.set(function.clone()).unwrap();
    function.set_memory(vec![ram.region()]).unwrap();
    enable(&function);
    (function, chipset)
}

/// Fails instead of hanging.
fn in_time<R: Send + 'static>(work: impl FnOnce() -> R + Send + 'static) -> R {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || sender.send(work()));
    receiver.recv_timeout(Duration::from_secs(30)).expect("a wait that never ends")
}

#[test]
fn whoever_answers_qemu_is_never_kept_by_a_question_to_qemu() {
    let ram = Ram::new(16 << 20);
    let (function, chipset) = main_loop(&ram, None);
    function.write_bar(BAR + 0x2000, 8, 0xfee0_1000);
    function.write_bar(BAR + 0x200c, 4, 0);
    function.write_config(0x82, 2, 0x8000);
    function.write_bar(BAR + 0x03, 1, 1);
    ram.descriptor(RING, [8, 0x09, 0, 0x40_0000, 0]);
    start(&function, RING, RING + 0x1000, 0);
    function.write_bar(BAR + 0x80, 2, 0x0d);

    let stop = Arc::new(AtomicBool::new(false));
    let (ticking, stopped) = (function.clone(), Arc::clone(&stop));
    let clock = thread::spawn(move || ticking.tick(|| stopped.load(Ordering::Relaxed)));
    function.write_bar(BAR + 0x86, 2, 1);
    let (polled, sent) = (function.clone(), Arc::clone(&chipset));
    in_time(move || {
        while state(&polled) != IDLE || sent.written().is_empty() {
            thread::yield_now();
        }
    });
    stop.store(true, Ordering::Relaxed);
    function.wake();
    in_time(move || clock.join().unwrap()).unwrap();
    assert_eq!(chipset.written(), [(0xfee0_1000, 0)]);
}

#[test]
fn the_registers_are_asked_for_at_each_start_and_not_before() {
    let ram = Ram::new(16 << 20);
    let chipset = FakeChipset::new();
    let function = function(&ram, &chipset);
    for at in 0..8 {
        ram.descriptor(RING + 64 * at, [8, 0x08, 0, 0x40_0000, RING + 64 * (at + 1)]);
    }
    function.step(1).unwrap();
    assert_eq!(chipset.asked(), 0);
    start(&function, RING, RING + 0x1000, 4);
    function.step(2).unwrap();
    // A doorbell of a channel that is active starts nothing.
    function.write_bar(BAR + 0x86, 2, 6);
    function.step(10).unwrap();
    assert_eq!((chipset.asked(), state(&function)), (1, IDLE));

    // Translation goes on between two starts, and nothing is mapped.
    chipset.translate(ROOT);
    function.write_bar(BAR + 0x86, 2, 7);
    function.step(1).unwrap();
    assert_eq!((chipset.asked(), state(&function)), (2, HALTED));
}

#[test]
fn an_answer_that_a_start_overtook_is_asked_for_again() {
    let ram = Ram::new(16 << 20);
    // While the first answer is on its way the channel is started anew, with translation on.
    let (function, chipset) = main_loop(
        &ram,
        Some(|chipset, function| {
            recover(function);
            chipset.translate(ROOT);
            start(function, RING, RING + 0x1000, 1);
        }),
    );
    ram.descriptor(RING, [8, 0x08, 0, 0x40_0000, 0]);
    start(&function, RING, RING + 0x1000, 1);
    // A few turns of the clock, the first of which finds the answer old.
    let (ticking, turns) = (function.clone(), AtomicU32::new(0));
    in_time(move || ticking.tick(|| turns.fetch_add(1, Ordering::Relaxed) == 8)).unwrap();
    assert_eq!((state(&function), function.status().iommu_faults), (HALTED, 2));
    assert_eq!((chipset.asked(), ram.word(RING + 0x1000)), (2, 0));
}

#[test]
fn an_answer_that_a_reset_overtook_is_not_used() {
    let ram = Ram::new(16 << 20);
    // While the answer is on its way the machine is reset.
    let (function, chipset) = main_loop(
        &ram,
        Some(|_, function| {
            function.reset();
            enable(function);
        }),
    );
    start(&function, RING, RING + 0x1000, 1);
    let (ticking, turns) = (function.clone(), AtomicU32::new(0));
    in_time(move || ticking.tick(|| turns.fetch_add(1, Ordering::Relaxed) == 8)).unwrap();
    assert_eq!(chipset.asked(), 1);
    // The completion word of an error, before any start: nothing is known of translation.
    function.write_bar(BAR + 0x98, 8, RING + 0x1000);
    function.write_bar(BAR + 0x80, 2, 0x04);
    function.write_bar(BAR + 0x84, 1, 0x06);
    let faults = function.iommu_faults();
    assert_eq!((faults.len(), faults.last().unwrap().reason), (1, Reason::Unasked));
}

#[test]
fn a_reset_and_a_connection_leave_what_the_test_said() {
    let ram = Ram::new(16 << 20);
    let function = function(&ram, &FakeChipset::new());
    function.set_fault_plan(&"nth=2:chanerr=8".parse().unwrap());
    for at in 0..3 {
        ram.descriptor(RING + 64 * at, [8, 0x08, 0, 0x40_0000, RING + 64 * (at + 1)]);
    }
    start(&function, RING, RING + 0x1000, 1);
    assert_eq!(function.step(1).unwrap(), 1);
    function.set_paused(true);
    function.reset();
    function.clear_memory();
    function.set_memory(vec![ram.region()]).unwrap();
    enable(&function);
    let status = function.status();
    assert_eq!((status.paused, status.executed, status.faults_fired), (true, 1, 0));
    // The second descriptor since the plan was set.
    start(&function, RING, RING + 0x1000, 1);
    assert_eq!(function.step(1).unwrap(), 1);
    assert_eq!((chanerr(&function), function.status().faults_fired), (1 << 8, 1));
}

#[test]
fn a_chipset_that_is_gone_ends_the_clock() {
    let ram = Ram::new(16 << 20);
    let chipset = FakeChipset::new();
    let function = function(&ram, &chipset);
    chipset.0.lock().unwrap().gone = true;
    ram.descriptor(RING, [8, 0x08, 0, 0x40_0000, 0]);
    start(&function, RING, RING + 0x1000, 1);
    let ticking = function.clone();
    let end = in_time(move || ticking.tick(|| false));
    assert!(matches!(end, Err(ChipsetError::Closed)));
    assert_eq!(ram.word(RING + 0x1000), 0);
    // Registers still answer.
    assert_eq!(function.read_bar(BAR + 0x08, 1), 0x33);
}
