//! Which stores a transfer gets, and the fence that non-temporal ones need.
//!
//! Non-temporal stores bypass the caches: the destination's lines need not be read first, but the
//! stores are weakly ordered. A run of transfers therefore ends with [`Mover::fence`], before the
//! first of them is reported.
#![allow(unsafe_code, reason = "makes pointers of addresses and calls the copy routines")]

use std::ptr;

use dmaring_engine::{Ahead, Operation, Transfer};

use crate::{
    device,
    routines::{Routines, copy_short},
};

/// Carries transfers out.
#[derive(Debug)]
pub(crate) struct Mover {
    routines: &'static Routines,
    streaming_threshold: usize,
    /// The longest copy, in bytes, that takes no routine: a few moves.
    short: u64,
    /// Whether non-temporal stores were made since the last fence.
    unfenced: bool,
}

impl Mover {
    pub(crate) fn new(routines: &'static Routines, streaming_threshold: usize) -> Self {
        let longest = streaming_threshold.saturating_sub(1) as u64;
        Self { routines, streaming_threshold, short: routines.short.min(longest), unfenced: false }
    }

    /// The name of the instruction set in use.
    pub(crate) fn instructions(&self) -> &'static str {
        self.routines.name
    }

    /// From how many bytes on whole lines are written past the caches; `None` where they never are.
    pub(crate) fn streams_from(&self) -> Option<u64> {
        let streams = self.routines.streams && self.streaming_threshold < usize::MAX;
        streams.then_some(self.streaming_threshold as u64)
    }

    /// How many bytes of the copy behind are read at most while a streamed one is under way; 0: none.
    pub(crate) fn reads_ahead(&self) -> u64 {
        match (self.routines.copy_ahead, self.streams_from()) {
            (Some(ahead), Some(_)) => ahead.bytes,
            _ => 0,
        }
    }

    /// Carries a short copy out, by a few moves and no routine. `false`: it is none, and nothing was done. It needs no fence.
    ///
    /// # Safety
    ///
    /// As for [`carry_out`](Self::carry_out).
    #[inline]
    pub(crate) unsafe fn carry_out_short(&self, transfer: &Transfer) -> bool {
        let Operation::Copy { source } = transfer.operation else { return false };
        if transfer.length > self.short {
            return false;
        }
        let source = ptr::with_exposed_provenance::<u8>(source.get() as usize);
        let to = ptr::with_exposed_provenance_mut::<u8>(transfer.destination.get() as usize);
        // SAFETY: (1) the ranges are mapped (caller); (2) the length was tested, and `short` is 0 where there are no such moves.
        unsafe { copy_short(to, source, transfer.length as usize) };
        true
    }

    /// Carries one transfer out by a routine. Its bytes are visible to other threads only after [`Mover::fence`]
    /// and whatever publishes the completion. `ahead`: what a copy to come reads.
    ///
    /// # Safety
    ///
    /// The caller swears what [`Engine::enqueue`](dmaring_engine::Engine::enqueue) asks for: ranges
    /// mapped with the rights needed.
    pub(crate) unsafe fn carry_out(&mut self, transfer: &Transfer, ahead: Option<Ahead>) {
        let length = transfer.length as usize;
        let of_device = matches!(
            transfer.operation,
            Operation::DeviceCopy { .. } | Operation::DeviceFill { .. }
        );
        let streaming = length >= self.streaming_threshold && !of_device;
        self.unfenced |= streaming;
        let routines = self.routines;
        let destination =
            ptr::with_exposed_provenance_mut::<u8>(transfer.destination.get() as usize);
        match transfer.operation {
            Operation::Copy { source } => {
                let source = ptr::with_exposed_provenance::<u8>(source.get() as usize);
                let copy_ahead = routines.copy_ahead.filter(|_| streaming).zip(ahead);
                let copy = if streaming { routines.copy_streaming } else { routines.copy };
                match copy_ahead {
                    Some((routine, ahead)) => {
                        let bytes = ahead.length as usize;
                        let ahead = ptr::with_exposed_provenance(ahead.source.get() as usize);
                        // SAFETY: (1) the ranges are mapped (caller), and what is ahead may be anywhere; (2) the
                        // processor has the instructions, or `routines::available` had not given them.
                        unsafe { (routine.copy)(destination, source, length, ahead, bytes) };
                    }
                    // SAFETY: as above.
                    None => unsafe { copy(destination, source, length) },
                }
            }
            Operation::Fill { pattern } => {
                let fill = if streaming { routines.fill_streaming } else { routines.fill };
                // SAFETY: as above.
                unsafe { fill(destination, pattern, length) };
            }
            Operation::DeviceCopy { source } => {
                let source = ptr::with_exposed_provenance::<u8>(source.get() as usize);
                // SAFETY: the ranges are mapped (caller).
                unsafe { device::copy(destination, source, length) };
            }
            Operation::DeviceFill { pattern } => {
                // SAFETY: the range is mapped (caller).
                unsafe { device::fill(destination, pattern, length) };
            }
            // `CpuEngine::enqueue` refuses operations that this crate does not know.
            _ => {}
        }
    }

    /// Makes everything carried out so far visible before what this thread stores next.
    pub(crate) fn fence(&mut self) {
        if self.unfenced {
            (self.routines.fence)();
            self.unfenced = false;
        }
    }
}
