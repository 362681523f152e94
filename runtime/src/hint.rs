//! How this processor passes a moment: `pause`, and where it has them `tpause`, `umonitor` and `umwait`.
//!
//! The three are the instruction set extension WAITPKG: CPUID leaf 7, ECX bit 5. Source of what follows: Intel's
//! Software Developer's Manual, volume 2.
//!
//! - `umonitor` arms the processor's monitor on the line of an address, which is to be ordinary, cached memory. It
//!   is ordered like a load, so no later load comes before it.
//! - `umwait` waits until a store to that line, an interrupt, or a time; not at all if the line has been written
//!   since, or if nothing is armed. `tpause` waits for the time, or an interrupt.
//! - Bit 0 of the operand chooses the state to wait in: 0 is C0.2, which saves more, leaves more of the core to its
//!   other thread, and takes longer to leave; 1 is C0.1. The other bits are 0, or the instruction faults.
//! - EDX:EAX hold the time: what the time-stamp counter is to reach.
//! - The system sets limits in `IA32_UMWAIT_CONTROL`: how long a wait lasts at most, after which the carry flag is set,
//!   and whether there is C0.2; where there is not, C0.1 takes its place. Linux allows C0.2 and 100,000 ticks unless told
//!   otherwise in `/sys/devices/system/cpu/umwait_control`.
//!
//! Time is counted in ticks of the time-stamp counter. It has one to five in a nanosecond on processors with WAITPKG;
//! the bounds below are for all of them, so nothing needs to be calibrated.
//!
//! Who looks a few dozen times at a word that another core is about to write does it with `lfence` between two looks, which waits for
//! the loads before it and lets none after it begin (the same manual; AMD64 Architecture Programmer's Manual, volume 3). It takes some 5 ns on
//! the Zen 5 of `docs/performance.md`, where a `pause`, during which nobody looks, takes 24. With two threads on a
//! core it is untried: a `pause` leaves more to the other one.
//!
//! Under Miri, and on other processors, there is `pause`, or what takes its place, alone.
#![allow(unsafe_code, reason = "island: assembly instructions, of which none writes memory")]

use std::hint;

use dmaring_ring::{sync::AtomicU64, watch::Monitor};

/// How long a wait for a line lasts at most, in ticks: 4 to 20 µs.
const LINE_TICKS: u64 = 20_000;
/// How long a moment is, in ticks: 0.4 to 2 µs.
const MOMENT_TICKS: u64 = 2_000;

/// What this processor passes the time with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Processor {
    wait_package: Option<WaitPackage>,
}

impl Processor {
    /// Finds out what this processor has.
    pub(crate) fn detect() -> Self {
        Self { wait_package: WaitPackage::detect() }
    }
}

/// How a thread passes the time: with the processor's instructions, or as a test wants it.
pub(crate) trait Pass {
    /// So many times `pause`.
    fn pause(&mut self, times: u32);

    /// About a microsecond in a light sleep of the processor's. `false`: it has none.
    fn moment(&mut self) -> bool;

    /// What a line is watched with. `None`: there is nothing.
    fn monitor(&mut self) -> Option<&mut dyn Monitor>;

    /// Lets other threads have the core.
    fn give_way(&mut self);
}

impl Pass for Processor {
    #[inline]
    fn pause(&mut self, times: u32) {
        for _ in 0..times {
            hint::spin_loop();
        }
    }

    fn moment(&mut self) -> bool {
        self.wait_package.is_some_and(|package| {
            package.pause(MOMENT_TICKS);
            true
        })
    }

    fn monitor(&mut self) -> Option<&mut dyn Monitor> {
        self.wait_package.as_mut().map(|package| package as &mut dyn Monitor)
    }

    fn give_way(&mut self) {
        std::thread::yield_now();
    }
}

/// Passes the time between two looks at a word that another core is about to write.
#[inline]
pub(crate) fn look_again() {
    // SAFETY: it is of SSE2, which every processor of this architecture has.
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    unsafe {
        std::arch::x86_64::_mm_lfence();
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    hint::spin_loop();
}

impl Monitor for WaitPackage {
    fn arm(&mut self, word: &AtomicU64) {
        self.watch(word);
    }

    fn wait(&mut self, _word: &AtomicU64) {
        self.wait_for_line(LINE_TICKS);
    }
}

use self::waiting::WaitPackage;

#[cfg(all(target_arch = "x86_64", not(miri)))]
mod waiting {
    use std::{
        arch::{
            asm,
            x86_64::{__cpuid_count, _rdtsc},
        },
        sync::OnceLock,
    };

    use super::AtomicU64;

    /// CPUID leaf 7, register ECX.
    const HAS_WAITPKG: u32 = 1 << 5;
    /// The lighter state.
    const C0_1: u32 = 1;
    /// The deeper state.
    const C0_2: u32 = 0;

    /// The proof that this processor has WAITPKG.
    #[derive(Clone, Copy, Debug)]
    pub(crate) struct WaitPackage(());

    impl WaitPackage {
        /// Asks the processor, once in the life of the process.
        pub(crate) fn detect() -> Option<Self> {
            static HAS: OnceLock<bool> = OnceLock::new();
            let has = HAS.get_or_init(|| {
                __cpuid_count(0, 0).eax >= 7 && __cpuid_count(7, 0).ecx & HAS_WAITPKG != 0
            });
            has.then_some(Self(()))
        }

        /// Arms the monitor on the word's line.
        pub(super) fn watch(self, word: &AtomicU64) {
            // SAFETY: (1) the processor has the instruction: `self` is the proof; (2) it loads from the address at most,
            // which the reference keeps mapped. It is taken to read and write memory, so the compiler moves no
            // access across it.
            unsafe {
                asm!("umonitor {}", in(reg) word.as_ptr(), options(nostack, preserves_flags));
            }
        }

        /// Waits until the line that is armed is written, or for so many ticks.
        pub(super) fn wait_for_line(self, ticks: u64) {
            let (low, high) = deadline(ticks);
            // SAFETY: (1) as above; (2) the operand has bit 0 alone; (3) it writes the flags and nothing else. It is
            // taken to read and write memory, as above.
            unsafe {
                asm!("umwait {:e}", in(reg) C0_2, in("eax") low, in("edx") high, options(nostack))
            };
        }

        /// Waits for so many ticks.
        pub(super) fn pause(self, ticks: u64) {
            let (low, high) = deadline(ticks);
            // SAFETY: (1) as above; (2) the operand has bit 0 alone; (3) it writes the flags and nothing else.
            unsafe {
                asm!("tpause {:e}", in(reg) C0_1, in("eax") low, in("edx") high, options(nostack))
            };
        }
    }

    /// The lower and the upper half of what the time-stamp counter will be in so many ticks.
    #[allow(clippy::cast_possible_truncation, reason = "each half is 32 bits")]
    fn deadline(ticks: u64) -> (u32, u32) {
        // SAFETY: `rdtsc` is part of every x86-64, and has no operands.
        let now = unsafe { _rdtsc() };
        let at = now.wrapping_add(ticks);
        (at as u32, (at >> 32) as u32)
    }
}

#[cfg(not(all(target_arch = "x86_64", not(miri))))]
mod waiting {
    use super::AtomicU64;

    /// Nothing: there is no such processor.
    #[derive(Clone, Copy, Debug)]
    pub(crate) enum WaitPackage {}

    impl WaitPackage {
        pub(crate) fn detect() -> Option<Self> {
            None
        }

        pub(super) fn watch(self, _word: &AtomicU64) {
            match self {}
        }

        pub(super) fn wait_for_line(self, _ticks: u64) {
            match self {}
        }

        pub(super) fn pause(self, _ticks: u64) {
            match self {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(not(miri))]
    fn the_wait_package_is_found_where_the_kernel_lists_it() {
        let list = std::fs::read_to_string("/proc/cpuinfo").unwrap();
        let listed = list
            .lines()
            .filter(|line| line.starts_with("flags"))
            .any(|line| line.split_whitespace().any(|flag| flag == "waitpkg"));
        assert_eq!(Processor::detect().wait_package.is_some(), listed);
    }

    /// Where there are such waits, nothing but their time limits ends these.
    #[test]
    fn every_wait_ends() {
        let mut processor = Processor::detect();
        processor.pause(3);
        let has_moment = processor.moment();
        let word = AtomicU64::new(0);
        let monitor = processor.monitor();
        assert_eq!(monitor.is_some(), has_moment);
        if let Some(monitor) = monitor {
            monitor.arm(&word);
            monitor.wait(&word);
        }
    }
}
