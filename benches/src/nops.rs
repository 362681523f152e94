//! The kernel's rings at their cheapest: no-operations through io_uring.
#![allow(unsafe_code, reason = "island: pushes entries that name no memory")]

use std::io;

use io_uring::{IoUring, opcode};

/// An io_uring of which only no-operations are asked.
#[allow(missing_debug_implementations, reason = "the ring has none to show")]
pub struct Nops {
    ring: IoUring,
    depth: u32,
}

impl Nops {
    /// A ring of `depth` entries.
    ///
    /// # Errors
    ///
    /// What the kernel says: it may have no io_uring, or forbid it.
    pub fn new(depth: u32) -> io::Result<Self> {
        Ok(Self { ring: IoUring::new(depth)?, depth })
    }

    /// Submits as many as the ring has entries, waits for all in the same system call, and takes their completions.
    /// Returns how many there were.
    ///
    /// # Errors
    ///
    /// What the kernel says of the submission.
    pub fn round(&mut self) -> io::Result<u64> {
        {
            let mut queue = self.ring.submission();
            for number in 0..self.depth {
                let entry = opcode::Nop::new().build().user_data(number.into());
                // SAFETY: a no-operation names no memory and no descriptor.
                let pushed = unsafe { queue.push(&entry) };
                if pushed.is_err() {
                    break;
                }
            }
        }
        self.ring.submit_and_wait(self.depth as usize)?;
        Ok(self.ring.completion().map(|entry| u64::from(entry.result() == 0)).sum())
    }
}

#[cfg(test)]
mod tests {
    use super::Nops;

    #[test]
    fn each_round_completes_all() {
        // A kernel without io_uring has nothing to be compared with.
        let Ok(mut nops) = Nops::new(32) else { return };
        assert_eq!((nops.round().unwrap(), nops.round().unwrap()), (32, 32));
    }
}
