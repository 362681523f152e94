//! Closing a region: its memory is given back while handles of it are still there.

use super::{Backing, PinnedBuffer, Region, life::End};
use crate::error::{Error, ErrorKind};

impl Region {
    /// Ends the region: refuses new operations, waits for those in flight, unmaps its memory for the engines, then gives it
    /// back.
    ///
    /// It resolves when all of that is done. What was submitted before is carried out, also where it waits for a
    /// place in the ring, for staging buffers, or to be made durable; what comes later, through this handle or any
    /// clone, and [`read_at`](Region::read_at) and [`write_at`](Region::write_at) alike, fails with
    /// [`Closed`](ErrorKind::Closed). A registered buffer is dropped; [`close_into`](Region::close_into) gives it back.
    /// What [`as_mut_ptr`](Region::as_mut_ptr) gave dangles from then on: where such pointers may still be about, use
    /// [`replace_with_zeroes`](Region::replace_with_zeroes).
    ///
    /// Dropping the last handle does the same in the background, and cannot tell how it went.
    ///
    /// # Errors
    ///
    /// [`Closed`](ErrorKind::Closed) if it was closed or replaced before, or in a child after fork;
    /// [`EngineLost`](ErrorKind::EngineLost) where an engine was lost with an operation on the region, or did not stop at
    /// the runtime's end, and [`Unmapped`](ErrorKind::Unmapped) where an engine's mapping could not be undone: in
    /// these two cases the memory stays mapped until the process ends, and the region is closed all the same.
    ///
    /// # Cancellation
    ///
    /// Nothing happens before the first poll. After it the region ends, whatever becomes of the future.
    pub async fn close(&self) -> Result<(), Error> {
        self.begin_end(End::Close, false)?.await.map(drop)
    }

    /// As [`close`](Region::close), and gives back the buffer that was [registered](crate::Runtime::register).
    ///
    /// # Errors
    ///
    /// As [`close`](Region::close); [`Unsupported`](ErrorKind::Unsupported), and the region is as it was, if no
    /// buffer of type `B` was registered. Where the memory has to stay mapped the buffer is leaked.
    ///
    /// # Cancellation
    ///
    /// As with [`close`](Region::close). The buffer is dropped if nobody takes it.
    pub async fn close_into<B: PinnedBuffer>(&self) -> Result<B, Error> {
        if !self.0.life.is_ending() && !self.is_of::<B>() {
            return Err(not_a::<B>());
        }
        let buffer = self.begin_end(End::Close, true)?.await?;
        let buffer = buffer.and_then(|buffer| {
            let buffer: Box<dyn std::any::Any> = buffer;
            buffer.downcast::<B>().ok()
        });
        buffer.map(|buffer| *buffer).ok_or_else(not_a::<B>)
    }

    /// Whether the region is a registered buffer of this type.
    fn is_of<B: PinnedBuffer>(&self) -> bool {
        self.0.with_backing(|backing| match backing {
            Backing::Owned { buffer, .. } => {
                let buffer: &dyn std::any::Any = &**buffer;
                buffer.is::<B>()
            }
            _ => false,
        })
    }
}

fn not_a<B>() -> Error {
    let message = format!(
        "the region is no registered buffer of type {}: close it without asking for one",
        std::any::type_name::<B>()
    );
    Error::new(ErrorKind::Unsupported, message)
}
