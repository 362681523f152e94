//! Nothing is allocated after construction.
#![allow(unsafe_code, reason = "counts allocations, and enqueues transfers as the runtime would")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    ptr::NonNull,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

use dmaring_cpu::CpuEngine;
use dmaring_engine::{Completion, Engine, Operation, Outcome, Rights, Token, Transfer};

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

struct Counting;

// SAFETY: everything is passed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Relaxed);
        // SAFETY: the caller's promise, passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise, passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The only test of this process, so that nothing else allocates.
#[test]
fn operation_allocates_nothing() {
    let mut memory = vec![0_u8; 128 * 1024];
    let start = NonNull::from(&mut memory[..]).cast();
    let mut engine = CpuEngine::with_depth(16);
    // SAFETY: the memory outlives the engine's transfers.
    let base = unsafe { engine.domain().map(start, memory.len(), Rights::ReadWrite) }.unwrap();
    let mut ends = [Completion { token: Token::new(0), outcome: Outcome::NotRun }; 16];

    // Miri copies byte by byte.
    let (rounds, step) = if cfg!(miri) { (2, 6) } else { (10, 600) };
    let before = ALLOCATIONS.load(Relaxed);
    for round in 0..rounds {
        for part in 0..16 {
            let operation = match part % 2 {
                0 => Operation::Copy { source: base.checked_add(64 * 1024).unwrap() },
                _ => Operation::Fill { pattern: round },
            };
            let transfer = Transfer { operation, destination: base, length: 1 + part * step };
            // SAFETY: both halves of the memory are mapped and apart.
            unsafe { engine.enqueue(Token::new(part), &transfer) }.unwrap();
        }
        engine.submit();
        while engine.poll(&mut ends) > 0 {}
        assert!(engine.recover().is_ready());
        assert_eq!(engine.room(), 16);
    }
    assert_eq!(ALLOCATIONS.load(Relaxed), before);

    // The control: one allocation is counted.
    drop(std::hint::black_box(Box::new(1)));
    assert_eq!(ALLOCATIONS.load(Relaxed), before + 1);
}
