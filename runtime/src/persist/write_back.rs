//! How a cache line is brought to memory: one instruction for each line, one fence for all of them.
//!
//! The instruction is the best that CPUID shows: `clwb`, which may leave the line in the cache (leaf 7, EBX bit 24), else
//! `clflushopt`, which does not (leaf 7, EBX bit 23), else `clflush`, which is also slow since each waits for the one
//! before it (leaf 1, EDX bit 19; every x86-64 has it). All three write a modified line back from whichever cache of
//! the coherence domain has it, so they may run on any core. The first two are ordered by `sfence`: after it, what was
//! written back has been accepted by the memory controller. Source: Intel's Software Developer's Manual, volume 2.
//!
//! Under Miri there are no caches, and nothing is done.
#![allow(unsafe_code, reason = "island: one assembly instruction for each line, and a fence")]

use std::{fmt, marker::PhantomData};

/// Bytes of a cache line.
pub(crate) const LINE: usize = 64;

/// Brings cache lines to where a loss of power does not reach them.
///
/// A runtime has the processor's own instructions. Another is for tests, which record what is written back
/// or leave it out: see [`Builder::write_back`](crate::Builder::write_back).
pub trait WriteBack: Send + Sync + fmt::Debug {
    /// Begins to write back every one of these lines, wherever in the caches they are.
    fn write_back(&self, lines: &CacheLines<'_>);

    /// Waits for what this thread began to write back, and for its non-temporal stores, to be accepted by the memory.
    fn fence(&self);

    /// Whether each [`write_back`](WriteBack::write_back) waits for the one before it, so that smaller portions are
    /// written back in one go.
    fn is_slow(&self) -> bool {
        false
    }
}

/// Whole cache lines of memory that is mapped for as long as this value lives.
///
/// The runtime alone makes it: having one is the proof that its lines may be named in an instruction.
#[derive(Debug)]
pub struct CacheLines<'a> {
    first: usize,
    count: usize,
    _mapped: PhantomData<&'a ()>,
}

impl CacheLines<'_> {
    /// Lines from address `first` on, a multiple of 64.
    ///
    /// # Safety
    ///
    /// The caller swears that the lines are mapped in this process, and stay so while the value lives.
    pub(crate) unsafe fn new(first: usize, count: usize) -> Self {
        Self { first, count, _mapped: PhantomData }
    }

    /// The address of the first line.
    #[must_use]
    pub fn first(&self) -> usize {
        self.first
    }

    /// How many lines there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// The address of each line.
    pub fn addresses(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.count).map(|line| self.first + line * LINE)
    }
}

/// The processor's own instructions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Processor(
    #[cfg_attr(miri, allow(dead_code, reason = "Miri has no caches"))] Instruction,
);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Instruction {
    #[cfg(not(miri))]
    Clwb,
    #[cfg(not(miri))]
    Clflushopt,
    #[cfg(not(miri))]
    Clflush,
    #[cfg(miri)]
    Nothing,
}

#[cfg(not(miri))]
mod native {
    use std::arch::{asm, x86_64::__cpuid_count};

    use super::{CacheLines, Instruction, Processor, WriteBack};

    /// CPUID leaf 7, register EBX.
    const HAS_CLFLUSHOPT: u32 = 1 << 23;
    const HAS_CLWB: u32 = 1 << 24;

    impl Processor {
        /// The best that this processor has.
        pub(crate) fn detect() -> Self {
            let leaves = __cpuid_count(0, 0).eax;
            let features = if leaves >= 7 { __cpuid_count(7, 0).ebx } else { 0 };
            Self(if features & HAS_CLWB != 0 {
                Instruction::Clwb
            } else if features & HAS_CLFLUSHOPT != 0 {
                Instruction::Clflushopt
            } else {
                Instruction::Clflush
            })
        }
    }

    impl WriteBack for Processor {
        fn write_back(&self, lines: &CacheLines<'_>) {
            /// One instruction on one line.
            macro_rules! each {
                ($instruction:literal) => {
                    for address in lines.addresses() {
                        // SAFETY: (1) the line is mapped: `lines` is the proof, given by its maker; (2) the processor
                        // has the instruction: `detect` chose it; (3) it changes no byte, no register and no flag.
                        // It is taken to read and write memory, so the compiler moves no access across it.
                        unsafe {
                            asm!(
                                concat!($instruction, " [{address}]"),
                                address = in(reg) address,
                                options(nostack, preserves_flags)
                            )
                        };
                    }
                };
            }
            match self.0 {
                Instruction::Clwb => each!("clwb"),
                Instruction::Clflushopt => each!("clflushopt"),
                Instruction::Clflush => each!("clflush"),
            }
        }

        fn fence(&self) {
            // SAFETY: (1) `sfence` is part of every x86-64; (2) it has no operands and touches no register.
            unsafe { asm!("sfence", options(nostack, preserves_flags)) };
        }

        fn is_slow(&self) -> bool {
            self.0 == Instruction::Clflush
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn every_instruction_of_this_processor_leaves_the_bytes_as_they_are() {
            let best = Processor::detect();
            let all = [Instruction::Clwb, Instruction::Clflushopt, Instruction::Clflush];
            let from = all.iter().position(|&one| one == best.0).unwrap();
            let memory: Vec<u8> = (0..4096 + 128).map(|n| n as u8).collect();
            let first = memory.as_ptr().addr().next_multiple_of(super::super::LINE);
            // SAFETY: the lines lie within the vector, which outlives them.
            let lines = unsafe { CacheLines::new(first, 64) };
            // A processor that has a better one has those before it.
            for &instruction in &all[from..] {
                let processor = Processor(instruction);
                processor.write_back(&lines);
                processor.fence();
            }
            assert!(memory.iter().enumerate().all(|(n, &byte)| byte == n as u8));
        }
    }
}

#[cfg(miri)]
impl Processor {
    /// Nothing: Miri has no caches.
    pub(crate) fn detect() -> Self {
        Self(Instruction::Nothing)
    }
}

#[cfg(miri)]
impl WriteBack for Processor {
    fn write_back(&self, _lines: &CacheLines<'_>) {}

    fn fence(&self) {}
}
