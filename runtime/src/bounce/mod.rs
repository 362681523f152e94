//! Bouncing: small copies between the application's own memory and regions, through buffers that engines know.
//!
//! An engine reaches memory that was mapped for it. [`Runtime::register`] maps a buffer, which takes the kernel a while and
//! pays off for long ones and for those that are used again. For a few bytes it is cheaper to have the CPU copy them to or
//! from a buffer that was mapped once and for all. From which length on mapping is faster depends on the machine and its
//! IOMMU: [`measure`] finds it.

mod lease;
mod measure;
mod queue;

use std::{fmt, sync::Arc};

pub use self::measure::{Crossover, Point, measure};
pub(crate) use self::measure::{LONGEST, Samples, samples};
use self::{
    lease::Lease,
    queue::{Pool, Take},
};
use crate::{
    error::{Error, ErrorKind},
    region::Region,
    runtime::Runtime,
};

/// In bytes.
const WORD: usize = 8;

/// Buffers that every engine knows, for copies of a few bytes between the application's memory and regions.
///
/// A handle: clones share the buffers. When all of them are in use a copy waits, first come, first served. The application's
/// memory is only touched by the CPU, while its future is polled: a copy may be dropped at any time, and its buffer is used
/// again once the engine is done with it. One that is forgotten ([`std::mem::forget`]) keeps its buffer for good.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use dmaring::bounce::BouncePool;
///
/// let runtime = dmaring::Runtime::builder().engine(dmaring_cpu::CpuEngine::new()).build()?;
/// let region = runtime.allocate(1 << 20)?;
/// let pool = BouncePool::new(&runtime, 8, 4096)?;
/// futures::executor::block_on(async {
///     pool.copy_from_slice(b"a few bytes", &region, 100).await?;
///     assert_eq!(pool.copy_to_vec(&region, 102, 3).await?, b"few");
///     Ok::<_, dmaring::Error>(())
/// })?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct BouncePool(Arc<Pool>);

impl BouncePool {
    /// The most buffers that a pool has.
    pub const MOST: usize = 4096;

    /// A pool of so many buffers, of `size` bytes each. Each is a mapping of its own and takes whole pages.
    ///
    /// # Errors
    ///
    /// [`LimitExceeded`](ErrorKind::LimitExceeded) for no buffer or more than [`MOST`](Self::MOST), and as
    /// [`Runtime::allocate`].
    pub fn new(runtime: &Runtime, buffers: usize, size: usize) -> Result<Self, Error> {
        if !(1..=Self::MOST).contains(&buffers) {
            let message =
                format!("{buffers} bounce buffers asked for: from 1 to {} can be had", Self::MOST);
            return Err(Error::new(ErrorKind::LimitExceeded, message));
        }
        let buffers = (0..buffers).map(|_| runtime.allocate(size)).collect::<Result<_, _>>()?;
        Ok(Self(Arc::new(Pool::new(buffers, size))))
    }

    /// How many buffers there are.
    #[must_use]
    pub fn buffers(&self) -> usize {
        self.0.count()
    }

    /// How long each is, in bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        self.0.size()
    }

    /// How many are free.
    #[must_use]
    pub fn available(&self) -> usize {
        self.0.available()
    }

    /// Copies `bytes` to `offset` of `destination`. Resolves to their number.
    ///
    /// More bytes than a buffer has are copied in pieces, one after the other.
    ///
    /// # Errors
    ///
    /// As [`Region::copy_to`]; offsets in its errors are those of a piece. [`EngineLost`](ErrorKind::EngineLost) too where
    /// lost engines keep every buffer.
    ///
    /// # Cancellation
    ///
    /// Pieces that were begun are finished, and no more are begun.
    pub async fn copy_from_slice(
        &self,
        bytes: &[u8],
        destination: &Region,
        offset: u64,
    ) -> Result<u64, Error> {
        destination.check_range("destination", offset, bytes.len() as u64)?;
        destination.check_writable()?;
        let mut at = offset;
        for piece in bytes.chunks(self.piece()) {
            let mut lease = self.lease().await?;
            lease.region().write_at(0, piece)?;
            let copy = lease.region().copy_to(0, destination, at, piece.len() as u64);
            at += lease.carry_out(copy).await?;
        }
        Ok(bytes.len() as u64)
    }

    /// Copies to `bytes` from `offset` of `source`. Resolves to their number. Otherwise as
    /// [`copy_from_slice`](Self::copy_from_slice).
    ///
    /// # Errors
    ///
    /// As [`copy_from_slice`](Self::copy_from_slice); `bytes` then has some pieces, from its first byte on.
    ///
    /// # Cancellation
    ///
    /// `bytes` has some pieces, and none comes later.
    pub async fn copy_to_slice(
        &self,
        source: &Region,
        offset: u64,
        bytes: &mut [u8],
    ) -> Result<u64, Error> {
        let length = bytes.len() as u64;
        source.check_range("source", offset, length)?;
        let mut at = offset;
        for piece in bytes.chunks_mut(self.piece()) {
            let mut lease = self.lease().await?;
            let copy = source.copy_to(at, lease.region(), 0, piece.len() as u64);
            at += lease.carry_out(copy).await?;
            lease.region().read_at(0, piece)?;
        }
        Ok(length)
    }

    /// Copies `length` bytes from `offset` of `source` to a new vector. Otherwise as [`copy_to_slice`](Self::copy_to_slice).
    ///
    /// # Errors
    ///
    /// As [`copy_to_slice`](Self::copy_to_slice).
    pub async fn copy_to_vec(
        &self,
        source: &Region,
        offset: u64,
        length: usize,
    ) -> Result<Vec<u8>, Error> {
        // Before the vector is made: there may not be so much memory.
        source.check_range("source", offset, length as u64)?;
        let mut bytes = vec![0; length];
        self.copy_to_slice(source, offset, &mut bytes).await?;
        Ok(bytes)
    }

    /// The most bytes that are copied at once: whole words where a buffer has some, as memory of a device may ask for.
    fn piece(&self) -> usize {
        let words = self.size() / WORD * WORD;
        if words > 0 { words } else { self.size() }
    }

    /// Waits for a buffer.
    async fn lease(&self) -> Result<Lease, Error> {
        let buffer = Take::new(&self.0).await?;
        Ok(Lease::new(self.0.clone(), buffer))
    }
}

impl fmt::Debug for BouncePool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BouncePool")
            .field("buffers", &self.buffers())
            .field("size", &self.size())
            .field("available", &self.available())
            .finish()
    }
}
