//! From the address of a function to a running channel.
//!
//! [`vfio`] knows nothing of channels, and [`IoatChannel::start`] nothing of VFIO: they meet here. When a
//! channel is dropped, it is halted first. Then its fields go: the registers, configuration space and the way back to the kernel, with
//! the last of which bus mastering ends, then the ring, which is unmapped from the container, then the last hold on the container. Where the
//! channel could not be halted, bus mastering is off all the same, and the ring's memory stays.
#![forbid(unsafe_code)]

use std::convert::Infallible;

use super::{Host, IoatChannel, Options, StartError};
use crate::{
    pci::{Address, AddressError, Sysfs},
    vfio::{self, Bar, Container, Opened, Recall},
};

/// Why a channel could not be opened. The function is closed again then, and nothing is mapped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The text is no address.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// VFIO did not give the function.
    #[error(transparent)]
    Vfio(#[from] vfio::Error),
    /// The function was opened, and its channel did not start.
    #[error("starting channel {channel} of {address} failed")]
    Start {
        /// The function.
        address: Address,
        /// The channel's number within the function.
        channel: u8,
        /// Why.
        source: StartError,
    },
}

impl From<Infallible> for OpenError {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

impl TryFrom<&str> for Address {
    type Error = AddressError;

    fn try_from(text: &str) -> Result<Self, AddressError> {
        text.parse()
    }
}

impl IoatChannel<Bar> {
    /// Opens channel 0 of the I/OAT function at an address, such as `0000:00:05.0`, in a container of its own.
    ///
    /// The function must be bound to vfio-pci: `dmaring bind` does that. Blocks, for less than two seconds.
    ///
    /// # Errors
    ///
    /// See [`OpenError`].
    pub fn open<A>(address: A) -> Result<Self, OpenError>
    where
        A: TryInto<Address, Error: Into<OpenError>>,
    {
        Self::open_with(address, Options::default())
    }

    /// The same, with options. A name that is left as it is by default becomes the address.
    ///
    /// # Errors
    ///
    /// See [`OpenError`].
    pub fn open_with<A>(address: A, options: Options) -> Result<Self, OpenError>
    where
        A: TryInto<Address, Error: Into<OpenError>>,
    {
        let address = address.try_into().map_err(Into::into)?;
        // An absent function or driver says more than an absent container.
        vfio::check_system(address)?;
        Container::new()?.open_ioat_with(address, options)
    }
}

impl Container {
    /// Opens channel 0 of the I/OAT function at an address, such as `0000:00:05.0`, in this container.
    ///
    /// # Errors
    ///
    /// See [`OpenError`].
    pub fn open_ioat<A>(&self, address: A) -> Result<IoatChannel<Bar>, OpenError>
    where
        A: TryInto<Address, Error: Into<OpenError>>,
    {
        self.open_ioat_with(address, Options::default())
    }

    /// The same, with options. A name that is left as it is by default becomes the address.
    ///
    /// # Errors
    ///
    /// See [`OpenError`].
    pub fn open_ioat_with<A>(
        &self,
        address: A,
        mut options: Options,
    ) -> Result<IoatChannel<Bar>, OpenError>
    where
        A: TryInto<Address, Error: Into<OpenError>>,
    {
        let address = address.try_into().map_err(Into::into)?;
        if options.name == Options::default().name {
            options.name = address.to_string();
        }
        if options.numa_node.is_none() {
            // A hint: where it cannot be read, the function is as near to one node as to another.
            options.numa_node =
                Sysfs::new().function(address).ok().and_then(|function| function.numa_node);
        }
        let channel = options.channel;
        let Opened { registers, config, domain, recall, was_reset } = self.open(address)?;
        options.host.get_or_insert_with(|| Box::new(Kernel(recall)));
        // VFIO gives a group to one process at a time. A reset has freed the channel, if there was one.
        options.exclusive |= !was_reset;
        IoatChannel::start(registers, Some(Box::new(config)), domain, options)
            .map_err(|source| OpenError::Start { address, channel, source })
    }
}

/// The kernel as the host of a function.
struct Kernel(Recall);

impl Host for Kernel {
    fn wants_it_back(&mut self) -> bool {
        self.0.is_wanted()
    }

    fn take_it(&mut self) {
        self.0.give_back();
    }
}

#[cfg(test)]
mod tests {
    use super::{IoatChannel, OpenError};
    use crate::vfio;

    #[test]
    fn what_is_no_address_or_no_function_is_refused() {
        let error = IoatChannel::open("05.0").unwrap_err();
        assert!(matches!(error, OpenError::Address(_)), "{error}");
        // No bus has this domain.
        let error = IoatChannel::open("7ffffffe:00:05.0").unwrap_err();
        assert!(matches!(error, OpenError::Vfio(vfio::Error::Sysfs(_))), "{error}");
    }
}
