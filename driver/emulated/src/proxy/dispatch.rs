//! What a message does to the function.

use std::os::fd::OwnedFd;

use super::{
    Command, Header, ProxyError,
    wire::{u32_at, u64_at},
};
use crate::guest::{GuestFunction, MAX_REGIONS, MemoryRegion};

/// Carries a message out; the value to answer with, if it wants an answer.
///
/// # Errors
///
/// [`ProxyError`] for a payload of another size than the header says, for file descriptors that the
/// command does not take, for an access of a width that there is not, and for memory that cannot be
/// mapped. The function is then as it was.
pub fn dispatch(
    function: &GuestFunction,
    header: Header,
    payload: &[u8],
    files: Vec<OwnedFd>,
) -> Result<Option<u64>, ProxyError> {
    let (command, expected) = (header.command(), header.payload_bytes());
    if payload.len() != expected {
        return Err(ProxyError::Truncated { got: payload.len(), expected });
    }
    if files.len() > command.descriptors() {
        let (count, limit) = (files.len(), command.descriptors());
        return Err(ProxyError::Descriptors { command, count, limit });
    }
    Ok(match command {
        Command::SyncMemory => {
            function.set_memory(regions(payload, files))?;
            None
        }
        Command::ConfigRead => {
            let access = Config::decode(command, payload)?;
            Some(function.read_config(access.offset, access.bytes).into())
        }
        Command::ConfigWrite => {
            let access = Config::decode(command, payload)?;
            function.write_config(access.offset, access.bytes, access.value);
            Some(0)
        }
        Command::BarRead => {
            let access = Bar::decode(command, payload)?;
            Some(access.address.map_or(u64::MAX, |at| function.read_bar(at, access.bytes)))
        }
        Command::BarWrite => {
            let access = Bar::decode(command, payload)?;
            if let Some(address) = access.address {
                function.write_bar(address, access.bytes, access.value);
            }
            Some(0)
        }
        // INTx is not delivered: the descriptors are closed here.
        Command::SetIrqFd => None,
        Command::Reset => {
            function.reset();
            Some(0)
        }
    })
}

/// As many regions as there are files.
fn regions(payload: &[u8], files: Vec<OwnedFd>) -> Vec<MemoryRegion> {
    let word = |column: usize, row: usize| u64_at(payload, 8 * (column * MAX_REGIONS + row));
    let region = |(row, file)| MemoryRegion {
        address: word(0, row),
        size: word(1, row),
        offset: word(2, row),
        file,
    };
    files.into_iter().enumerate().map(region).collect()
}

struct Config {
    offset: u32,
    value: u32,
    bytes: u32,
}

impl Config {
    fn decode(command: Command, payload: &[u8]) -> Result<Self, ProxyError> {
        let bytes = u32_at(payload, 8);
        if !matches!(bytes, 1 | 2 | 4) {
            return Err(ProxyError::Width { command, bytes, widths: "1, 2 and 4" });
        }
        Ok(Self { offset: u32_at(payload, 0), value: u32_at(payload, 4), bytes })
    }
}

struct Bar {
    /// `None` for an I/O port: the function has none.
    address: Option<u64>,
    value: u64,
    bytes: u32,
}

impl Bar {
    fn decode(command: Command, payload: &[u8]) -> Result<Self, ProxyError> {
        let bytes = u32_at(payload, 16);
        if !matches!(bytes, 1 | 2 | 4 | 8) {
            return Err(ProxyError::Width { command, bytes, widths: "1, 2, 4 and 8" });
        }
        let is_memory = payload.get(20).is_some_and(|flag| *flag != 0);
        let address = is_memory.then(|| u64_at(payload, 0));
        Ok(Self { address, value: u64_at(payload, 8), bytes })
    }
}
