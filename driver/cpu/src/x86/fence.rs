//! The fence after non-temporal stores.
#![allow(unsafe_code, reason = "one assembly instruction")]

use std::arch::asm;

/// Orders every store before it, non-temporal ones included, before every store after it.
///
/// Non-temporal stores are weakly ordered: without this a completion could be seen before the bytes
/// it speaks of. The block is taken to touch memory, so the compiler moves no access across it
/// either.
pub(crate) fn store_fence() {
    // SAFETY: (1) `sfence` is part of every x86-64; (2) it touches no register and no memory.
    unsafe { asm!("sfence", options(nostack, preserves_flags)) };
}
