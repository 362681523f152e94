//! Messages from a socket, and answers to it.
//!
//! Between messages a connection waits for as long as it takes; within one, for [`PATIENCE`] at most.
//! File descriptors come with the first bytes of a header, closed on exec, and live no longer than their
//! message.

use std::{
    io::{ErrorKind, IoSliceMut, Read, Write},
    mem::MaybeUninit,
    os::{fd::OwnedFd, unix::net::UnixStream},
    time::Duration,
};

use rustix::{
    io::Errno,
    net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, recvmsg},
};

use super::{HEADER_BYTES, Header, ProxyError, dispatch, reply};
use crate::guest::{GuestFunction, MAX_REGIONS};

/// How long the rest of a message, or room for an answer, is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// Answers QEMU until it closes the connection.
///
/// # Errors
///
/// [`ProxyError`] for a message that is none; the connection is of no use any more.
pub fn serve(mut stream: &UnixStream, function: &GuestFunction) -> Result<(), ProxyError> {
    stream.set_read_timeout(Some(PATIENCE)).map_err(ProxyError::Io)?;
    stream.set_write_timeout(Some(PATIENCE)).map_err(ProxyError::Io)?;
    while let Some(Incoming { header, files }) = receive_header(stream)? {
        let header = Header::decode(&header)?;
        let mut payload = vec![0; header.payload_bytes()];
        receive_payload(stream, &mut payload)?;
        if let Some(value) = dispatch(function, header, &payload, files)? {
            match stream.write_all(&reply(value)) {
                Ok(()) => {}
                // A peer that died, as good as one that closed.
                Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(()),
                Err(error) => return Err(ProxyError::Io(error)),
            }
        }
    }
    Ok(())
}

/// A header's bytes and what came with them.
struct Incoming {
    header: [u8; HEADER_BYTES],
    files: Vec<OwnedFd>,
}

/// The next header; `None` where the connection ended before one.
fn receive_header(stream: &UnixStream) -> Result<Option<Incoming>, ProxyError> {
    let (mut header, mut files) = ([0; HEADER_BYTES], Vec::new());
    let mut got = 0;
    while got < HEADER_BYTES {
        match receive(stream, &mut header[got..], &mut files) {
            Ok(0) if got == 0 => return Ok(None),
            Ok(0) => return Err(ProxyError::Truncated { got, expected: HEADER_BYTES }),
            Ok(more) => got += more,
            Err(Failure::Socket(Errno::INTR)) => {}
            // Nothing was sent, which may be.
            Err(Failure::Socket(Errno::AGAIN)) if got == 0 => {}
            Err(Failure::Socket(Errno::AGAIN)) => {
                return Err(ProxyError::Truncated { got, expected: HEADER_BYTES });
            }
            // A peer that died with an answer unread.
            Err(Failure::Socket(Errno::CONNRESET)) if got == 0 => return Ok(None),
            Err(Failure::Socket(error)) => return Err(ProxyError::Io(error.into())),
            Err(Failure::Ancillary) => return Err(ProxyError::Ancillary),
        }
    }
    Ok(Some(Incoming { header, files }))
}

/// The bytes that follow a header. File descriptors that come with them are closed by the kernel.
fn receive_payload(mut stream: &UnixStream, payload: &mut [u8]) -> Result<(), ProxyError> {
    let (mut got, expected) = (0, payload.len());
    while got < expected {
        match stream.read(&mut payload[got..]) {
            Ok(0) => return Err(ProxyError::Truncated { got, expected }),
            Ok(more) => got += more,
            Err(error) => match error.kind() {
                ErrorKind::Interrupted => {}
                ErrorKind::WouldBlock => return Err(ProxyError::Truncated { got, expected }),
                _ => return Err(ProxyError::Io(error)),
            },
        }
    }
    Ok(())
}

enum Failure {
    Socket(Errno),
    /// What came beside the bytes cannot be taken.
    Ancillary,
}

fn receive(
    stream: &UnixStream,
    into: &mut [u8],
    files: &mut Vec<OwnedFd>,
) -> Result<usize, Failure> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_REGIONS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut into = [IoSliceMut::new(into)];
    let received = recvmsg(stream, &mut into, &mut control, RecvFlags::CMSG_CLOEXEC)
        .map_err(Failure::Socket)?;
    for message in control.drain() {
        match message {
            RecvAncillaryMessage::ScmRights(received) => files.extend(received),
            _ => return Err(Failure::Ancillary),
        }
    }
    if received.flags.contains(ReturnFlags::CTRUNC) || files.len() > MAX_REGIONS {
        return Err(Failure::Ancillary);
    }
    Ok(received.bytes)
}
