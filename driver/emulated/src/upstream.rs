//! What lies upstream of a function: the memory its accesses reach, and where its interrupts go.
//!
//! The model asks and signals under the device's lock, so nothing here waits but
//! [`attend`](Upstream::attend), which the clock calls with no lock held. What was left for it is
//! an errand; a clock with errands does not go to sleep.

use std::fmt;

use crate::{bus::Side, guest::ChipsetError, msix::Message};

pub(crate) trait Upstream: fmt::Debug + Send + Sync {
    /// Reads the eight words at an address that is a multiple of 64.
    fn read_words(&self, channel: usize, address: u64) -> Option<[u64; 8]>;

    /// Writes one word at an address that is a multiple of 8, after everything written before.
    fn write_word(&self, channel: usize, address: u64, word: u64) -> Option<()>;

    /// Copies bytes that cross no page on either side: the source's address comes first.
    fn copy(&self, channel: usize, pair: [u64; 2], length: usize) -> Result<(), Side>;

    /// Fills bytes that cross no page.
    fn fill(
        &self,
        channel: usize,
        destination: u64,
        length: usize,
        pattern: u64,
    ) -> Result<(), Side>;

    /// A channel became active: what is known of translation may be old.
    fn activated(&self) {}

    /// Takes an interrupt's message to be sent.
    fn interrupt(&self, _message: Message) {}

    /// Whether a descriptor may be carried out now.
    fn is_ready(&self) -> bool {
        true
    }

    /// Whether [`attend`](Self::attend) has something to do.
    fn has_errands(&self) -> bool {
        false
    }

    /// Does what may wait.
    fn attend(&self) -> Result<(), ChipsetError> {
        Ok(())
    }
}
