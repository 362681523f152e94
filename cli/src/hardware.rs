//! I/OAT functions as engines, opened through VFIO.

use std::{error::Error, fmt, path::Path};

use dmaring::Builder;
use dmaring_driver::{
    IoatChannel,
    pci::{Address, Sysfs},
    vfio::{self, Bar, Container},
};

use crate::size;

/// Functions that were opened in one container: what is mapped for one is reachable for all.
#[derive(Default)]
pub(crate) struct Hardware {
    container: Option<Container>,
    channels: Vec<(Address, IoatChannel<Bar>)>,
}

impl Hardware {
    /// Opens another function. One that fails leaves the others as they are.
    ///
    /// # Errors
    ///
    /// One line with the reason, and with what mends it.
    pub(crate) fn open(&mut self, address: Address) -> Result<(), String> {
        // What is wrong with the function says more than an absent container.
        vfio::check(&Sysfs::new(), Path::new("/dev/vfio"), address)
            .map_err(|error| chain(&error))?;
        let container = match &self.container {
            Some(container) => container,
            None => self.container.insert(Container::new().map_err(|error| chain(&error))?),
        };
        let channel = container.open_ioat(address).map_err(|error| chain(&error))?;
        self.channels.push((address, channel));
        Ok(())
    }

    /// The container, where there is one.
    pub(crate) fn container(&self) -> Option<Container> {
        self.container.clone()
    }

    pub(crate) fn addresses(&self) -> Vec<Address> {
        self.channels.iter().map(|(address, _)| *address).collect()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.channels.is_empty()
    }

    /// The addresses of the functions.
    pub(crate) fn names(&self) -> String {
        let names: Vec<_> = self.channels.iter().map(|(address, _)| address.to_string()).collect();
        names.join(", ")
    }

    /// The functions in words.
    pub(crate) fn describe(&self) -> String {
        let channels: Vec<_> = self
            .channels
            .iter()
            .map(|(address, channel)| format!("{address} ({})", describe_channel(channel)))
            .collect();
        format!("I/OAT function {}", channels.join(", "))
    }

    /// Gives every channel to a runtime.
    pub(crate) fn add_to(self, mut builder: Builder) -> Builder {
        for (_, channel) in self.channels {
            builder = builder.engine(channel);
        }
        builder
    }
}

impl fmt::Debug for Hardware {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let addresses = self.channels.iter().map(|(address, _)| address);
        f.debug_list().entries(addresses).finish()
    }
}

/// Opens a function by itself, and says what its channel says of itself.
pub(crate) fn describe(address: Address) -> Result<String, String> {
    let channel = IoatChannel::open(address).map_err(|error| chain(&error))?;
    Ok(describe_channel(&channel))
}

fn describe_channel(channel: &IoatChannel<Bar>) -> String {
    let longest = size::format(channel.transfer_cap());
    let names: Vec<_> =
        channel.dma_capability().iter_names().map(|(name, _)| name.to_owned()).collect();
    let names = if names.is_empty() { String::from("none") } else { names.join(" ") };
    format!(
        "version {}, {longest} a transfer (XFERCAP), channels {} (CHANCNT), capabilities: {names}",
        channel.version(),
        channel.channel_count()
    )
}

/// An error with its causes, on one line.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        // Some messages have that of their cause in them.
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::io;

    use dmaring_driver::ioat::StartError;

    use super::{Hardware, chain, describe};

    #[test]
    fn causes_are_told_once() {
        let error = StartError::Memory { bytes: 5, source: io::Error::other("odd") };
        assert!(chain(&error).ends_with("failed: odd"), "{}", chain(&error));
        assert_eq!(chain(&io::Error::other("odd")), "odd");
    }

    #[test]
    fn a_function_that_is_not_there_is_refused_with_how_to_list_them() {
        // No bus has this domain.
        let address = "7ffffffe:00:05.0".parse().unwrap();
        let mut hardware = Hardware::default();
        for message in [hardware.open(address).unwrap_err(), describe(address).unwrap_err()] {
            assert!(message.contains("7ffffffe:00:05.0") && message.contains("dmaring list"));
        }
        assert!(hardware.is_empty());
    }
}
