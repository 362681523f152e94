//! Fetching a line before it is needed.
#![cfg_attr(
    all(target_arch = "x86_64", not(miri), not(loom)),
    allow(unsafe_code, reason = "island: one instruction that changes nothing")
)]

/// Fetches the line of `place` for reading, where the processor can. A hint: nothing waits for it.
#[inline(always)]
pub(crate) fn for_reading<T>(place: &T) {
    #[cfg(all(target_arch = "x86_64", not(miri), not(loom)))]
    // SAFETY: (1) every x86-64 processor has the instruction; (2) it reads nothing that a program sees, whatever the address.
    unsafe {
        core::arch::x86_64::_mm_prefetch::<{ core::arch::x86_64::_MM_HINT_T0 }>(
            core::ptr::from_ref(place).cast(),
        );
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri), not(loom))))]
    let _ = place;
}
