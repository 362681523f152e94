//! A BAR of another function, through VFIO.
//!
//! The function joins the container, so that its group is this process's alone, and VFIO keeps it powered and decoding as
//! long as it is open. Nothing is asked of it but memory space: bus mastering stays off.
#![forbid(unsafe_code)]

use std::{convert::Infallible, sync::Arc};

use super::{Container, Error, lease::Lease, preflight};
use crate::pci::{Address, AddressError, PeerBar, PeerError, Sysfs};

impl Container {
    /// Opens BAR `bar` of the function at an address, of whatever kind, such as `0000:00:0b.0`, as memory that engines of
    /// this container reach: peer to peer. The function must be bound to vfio-pci.
    ///
    /// [`PeerBar::open`] does without VFIO. What it maps is reachable too, but nothing keeps the function from others.
    ///
    /// # Errors
    ///
    /// See [`Error`]: [`Peer`](Error::Peer) for what the BAR is, anything else for what the function is.
    pub fn bar<A>(&self, address: A, bar: u8) -> Result<PeerBar, Error>
    where
        A: TryInto<Address, Error: Into<Error>>,
    {
        let address = address.try_into().map_err(Into::into)?;
        if self.inner.origin.is_elsewhere() {
            return Err(Error::OtherProcess { address });
        }
        let sysfs = Sysfs::new();
        let function = sysfs.function(address)?;
        let (resource, bytes) = PeerBar::check_resource(&sysfs, address, bar)?;
        let device = self.inner.admit(&sysfs, address, preflight::check_peer)?;
        // From here on a drop of the lease closes the function.
        let lease = Arc::new(Lease::new(device, Arc::clone(&self.inner)));
        let mapping = lease.bring_up_peer(bar, bytes)?;
        Ok(PeerBar::new(&function, bar, resource, mapping, Some(lease)))
    }
}

impl From<AddressError> for Error {
    fn from(error: AddressError) -> Self {
        Self::Peer(PeerError::Address(error))
    }
}

impl From<Infallible> for Error {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}
