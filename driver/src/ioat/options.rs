//! What can be chosen about a channel.

use std::time::Duration;

use super::{Clock, Host, MonotonicClock, StartError};

/// The fewest descriptors of a ring.
const MIN_ENTRIES: u32 = 4;
/// The most: DMACOUNT tells 65,536 positions apart, and half of them are never ahead of the other half.
const MAX_ENTRIES: u32 = 65_536 / 2;

/// What can be chosen about a channel.
#[derive(Debug)]
pub struct Options {
    /// The engine's name in statistics and messages; by default `ioat`, which [`IoatChannel::open`] makes the address.
    ///
    /// [`IoatChannel::open`]: super::IoatChannel::open
    pub name: String,
    /// The channel's number within its function: 0 by default, and in practice.
    pub channel: u8,
    /// Whether the function is this process's alone, so that a claim on the channel that stands in CHANCTRL is that of
    /// a process which was killed: it is released then. `false` by default: whoever set it has the channel.
    /// [`IoatChannel::open`](super::IoatChannel::open) sets this where VFIO gave the function and could not reset it.
    pub exclusive: bool,
    /// The NUMA node of the function; `None`, which is the default, where it is not known.
    /// [`IoatChannel::open`](super::IoatChannel::open) reads it from sysfs.
    pub numa_node: Option<u32>,
    /// Descriptors in the ring, a power of two from 4 to 32,768; by default 1024. One of them stays free.
    pub ring_entries: u32,
    /// After how many polls in a row that found nothing, with work outstanding, CHANSTS is read: it shows
    /// a halt or a completion that wrote no completion word, and a device that is gone. At least 1; by
    /// default 1024.
    pub status_interval: u32,
    /// After how long without any progress, with work outstanding, the channel is taken for hung and
    /// reset; by default 2 s. `None`: never.
    pub hang_after: Option<Duration>,
    /// Who may want the function back; `None`, which is the default, for nobody.
    /// [`IoatChannel::open`](super::IoatChannel::open) names the kernel here, where nobody is named.
    pub host: Option<Box<dyn Host>>,
    /// What the channel measures time by, and what it does while waiting in calls that block.
    pub clock: Box<dyn Clock>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            name: "ioat".to_owned(),
            channel: 0,
            exclusive: false,
            numa_node: None,
            ring_entries: 1024,
            status_interval: 1024,
            hang_after: Some(Duration::from_secs(2)),
            host: None,
            clock: Box::new(MonotonicClock::new()),
        }
    }
}

impl Options {
    pub(super) fn check(&self) -> Result<(), StartError> {
        let entries = self.ring_entries;
        if entries.is_power_of_two() && (MIN_ENTRIES..=MAX_ENTRIES).contains(&entries) {
            Ok(())
        } else {
            Err(StartError::RingEntries { entries })
        }
    }
}
