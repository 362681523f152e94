//! Which instructions move bytes on this processor.

use std::fmt;

use crate::portable;
#[cfg(not(all(target_arch = "x86_64", not(miri))))]
pub(crate) use crate::portable::copy_bytes as copy_short;
#[cfg(all(target_arch = "x86_64", not(miri)))]
use crate::x86;
#[cfg(all(target_arch = "x86_64", not(miri)))]
pub(crate) use crate::x86::copy_short;

/// Copies to the first pointer from the second; both ranges are that many bytes long.
///
/// # Safety
///
/// The caller swears that the source may be read and the destination written for that many bytes,
/// and that the processor has the instructions of the table the routine is from. Others may access
/// both at the same time. Where the two overlap, what the destination holds afterwards is
/// unspecified, byte by byte, and nothing else is.
pub(crate) type CopyRoutine = unsafe fn(*mut u8, *const u8, usize);

/// Fills that many bytes with the pattern, lowest byte first, from the destination's first byte on.
///
/// # Safety
///
/// As for [`CopyRoutine`], for the destination.
pub(crate) type FillRoutine = unsafe fn(*mut u8, u64, usize);

/// As [`CopyRoutine`], and reads into the caches what is copied next: from the third pointer on up to [`ReadsAhead::bytes`], of as many
/// as the last argument says. 0: nothing is known of it.
///
/// # Safety
///
/// As for [`CopyRoutine`]; what is read ahead may be any address.
pub(crate) type AheadRoutine = unsafe fn(*mut u8, *const u8, usize, *const u8, usize);

/// Streaming copies to which it is of use to know what is copied next.
#[derive(Clone, Copy)]
pub(crate) struct ReadsAhead {
    /// How much of the next one's source is read at most, in bytes.
    pub(crate) bytes: u64,
    pub(crate) copy: AheadRoutine,
}

/// From how many bytes on the next copy is read ahead. What is read ahead of a copy is as far away as the next one is long, so that it
/// would come too late.
pub(crate) const READ_AHEAD_FROM: u64 = 2 << 10;

/// One set of routines. A `&Routines` that [`available`] gave is proof that the processor has the
/// instructions.
pub(crate) struct Routines {
    pub(crate) name: &'static str,
    /// Whether the streaming routines write every whole line of the destination, at a multiple of 64 bytes,
    /// with non-temporal stores, and nothing but what is before the first and after the last through the caches.
    pub(crate) streams: bool,
    /// Up to how many bytes [`copy_short`] may be taken in place of `copy`; 0: never.
    pub(crate) short: u64,
    pub(crate) copy: CopyRoutine,
    pub(crate) copy_streaming: CopyRoutine,
    /// The same where it is known what is copied next; `None`: that is of no use.
    pub(crate) copy_ahead: Option<ReadsAhead>,
    pub(crate) fill: FillRoutine,
    pub(crate) fill_streaming: FillRoutine,
    /// Makes every streamed byte visible before whatever this thread stores next.
    pub(crate) fence: fn(),
}

impl fmt::Debug for Routines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Routines").field(&self.name).finish()
    }
}

/// The best set that this processor has.
pub(crate) fn best() -> &'static Routines {
    available().next().unwrap_or_else(portable::routines)
}

/// Every set that this processor has, the best first.
pub(crate) fn available() -> impl Iterator<Item = &'static Routines> {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    let native = x86::available();
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let native = std::iter::empty();
    native.chain(std::iter::once(portable::routines()))
}

#[cfg(test)]
mod tests;
