//! What asks for durability: an option of copies and fills, and an operation of its own.

use std::ops::{Bound, RangeBounds};

use super::future::{Copy, CopyVectored, Fill, Op, Persist};
use crate::{
    error::{Error, ErrorKind},
    op::{Request, Work},
    region::{Cargo, Region},
};

macro_rules! durable {
    ($($name:ident),+) => {$(
        impl $name {
            /// Resolves only when the bytes written outlive a loss of power.
            ///
            /// After the last byte is written the destination's cache lines that may be in a cache are written back and
            /// fenced; of a staged file the data is synchronised (`fdatasync`). Other threads do that, and until then
            /// the operation is in flight: it keeps its regions and its place in the ring, fences wait for it, and a
            /// [time limit](Self::timeout) covers it. Where memory is
            /// [`PowerFailSafe`](crate::Durability::PowerFailSafe) there is nothing to write back.
            ///
            /// Bytes are not durable all at once: after a loss of power before the end any part of them may be there.
            /// On the destination's cache lines, bytes outside the range may become durable too. If it fails, or
            /// resolves to [`TimedOut`](crate::ErrorKind::TimedOut), whether the bytes are durable is unknown.
            ///
            /// Resolves to [`Volatile`](crate::ErrorKind::Volatile), with nothing written, where the destination is
            /// [`Volatile`](crate::Durability::Volatile). No effect on an operation that was submitted already.
            pub fn durable(mut self) -> Self {
                self.0.set(|request| request.durable = true);
                self
            }
        }
    )+};
}

durable!(Copy, CopyVectored, Fill);

impl Region {
    /// Makes what the range holds durable, whoever wrote it, and resolves to the range's number of bytes.
    ///
    /// It covers what was written, and visible to this thread, before the operation was submitted: by
    /// [`write_at`](Region::write_at), by operations that have ended, or by stores through
    /// [`as_mut_ptr`](Region::as_mut_ptr), non-temporal ones if they are fenced. What is in flight or written meanwhile may or
    /// may not be covered: [`fence`](Persist::fence) it. Cache lines are written back whole, each once.
    ///
    /// # Errors
    ///
    /// The future resolves to [`OutOfBounds`](ErrorKind::OutOfBounds) and [`Volatile`](ErrorKind::Volatile) with nothing done, to
    /// [`Io`](ErrorKind::Io) where a file could not be synchronised, and to any other kind as its variants say.
    ///
    /// # Cancellation
    ///
    /// Dropping the future does not stop it.
    ///
    /// ```
    /// # let runtime = dmaring::Runtime::builder().engine(dmaring_cpu::CpuEngine::new()).build()?;
    /// # let region = runtime.allocate(4096)?;
    /// region.assume_durability(dmaring::Durability::NeedsFlush)?;
    /// region.write_at(64, b"written by this thread")?;
    /// futures::executor::block_on(region.persist(64..86))?;
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    pub fn persist(&self, range: impl RangeBounds<u64>) -> Persist {
        let Some((offset, length)) = resolve(&range, self.len()) else {
            let (from, to) = (range.start_bound(), range.end_bound());
            let message =
                format!("the range from {from:?} to {to:?} is none: it ends before it begins");
            return Persist(Op::known(Err(Error::new(ErrorKind::OutOfBounds, message))));
        };
        let cargo = Cargo { source: None, destination: self.clone(), segments: None };
        Persist::new(Request::new(Work::Persist, offset, length), cargo)
    }
}

/// Where a range begins and how long it is, in a region of so many bytes.
fn resolve(range: &impl RangeBounds<u64>, region: u64) -> Option<(u64, u64)> {
    let from = match range.start_bound() {
        Bound::Included(&from) => from,
        Bound::Excluded(&from) => from.checked_add(1)?,
        Bound::Unbounded => 0,
    };
    let to = match range.end_bound() {
        Bound::Included(&to) => to.checked_add(1)?,
        Bound::Excluded(&to) => to,
        Bound::Unbounded => region.max(from),
    };
    Some((from, to.checked_sub(from)?))
}

#[cfg(test)]
mod tests {
    use std::ops::Bound::{Excluded, Unbounded};

    use super::resolve;

    #[test]
    fn every_kind_of_range_is_an_offset_and_a_length() {
        assert_eq!(resolve(&(3..10), 100), Some((3, 7)));
        assert_eq!(resolve(&(3..=10), 100), Some((3, 8)));
        assert_eq!(resolve(&(..), 100), Some((0, 100)));
        assert_eq!(resolve(&(40..), 100), Some((40, 60)));
        assert_eq!(resolve(&(Excluded(40), Unbounded), 100), Some((41, 59)));
        assert_eq!(resolve(&(..200), 100), Some((0, 200)), "beyond the end is another check's");
        assert_eq!(resolve(&(7..7), 100), Some((7, 0)));
        #[allow(clippy::reversed_empty_ranges, reason = "this is what is refused")]
        let reversed = resolve(&(7..6), 100);
        assert_eq!(reversed, None);
        assert_eq!(resolve(&(0..=u64::MAX), 100), None);
    }
}
