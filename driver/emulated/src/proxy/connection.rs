//! Messages from a socket, and answers to it.
//!
//! Between messages a connection waits for as long as it takes; within one, from its first byte to its last,
//! for [`PATIENCE`] at most, and as long for room for its answer.
//! File descriptors come with the first bytes of a header, closed on exec, and live no longer than their
//! message.

use std::{
    io::{self, ErrorKind, IoSliceMut, Read, Write},
    mem::MaybeUninit,
    os::{fd::OwnedFd, unix::net::UnixStream},
    time::Duration,
};

use rustix::{
    io::Errno,
    net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, recvmsg},
};

use super::{HEADER_BYTES, Header, ProxyError, dispatch, reply};
use crate::{
    guest::{GuestFunction, MAX_REGIONS},
    timed::Timed,
};

/// How long the rest of a message, or room for an answer, is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// Answers QEMU until it closes the connection.
///
/// # Errors
///
/// [`ProxyError`] for a message that is none; the connection is of no use any more.
pub fn serve(stream: &UnixStream, function: &GuestFunction) -> Result<(), ProxyError> {
    serve_within(stream, function, PATIENCE)
}

fn serve_within(
    stream: &UnixStream,
    function: &GuestFunction,
    patience: Duration,
) -> Result<(), ProxyError> {
    let mut timed = Timed::new(stream, patience);
    while let Some(Incoming { header, files }) = receive_header(stream, &mut timed, patience)? {
        let header = Header::decode(&header)?;
        let mut payload = vec![0; header.payload_bytes()];
        receive_payload(&mut timed, &mut payload)?;
        if let Some(value) = dispatch(function, header, &payload, files)? {
            timed.restart(patience);
            match timed.write_all(&reply(value)) {
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

/// The next header; `None` where the connection ended before one. Its first bytes set the deadline of its message.
fn receive_header(
    stream: &UnixStream,
    timed: &mut Timed<&UnixStream>,
    patience: Duration,
) -> Result<Option<Incoming>, ProxyError> {
    let (mut header, mut files) = ([0; HEADER_BYTES], Vec::new());
    let mut got = 0;
    while got < HEADER_BYTES {
        if got > 0 {
            timed.to_read().map_err(|error| interrupted(error, got, HEADER_BYTES))?;
        }
        match receive(stream, &mut header[got..], &mut files) {
            Ok(0) if got == 0 => return Ok(None),
            Ok(0) => return Err(ProxyError::Truncated { got, expected: HEADER_BYTES }),
            Ok(more) => {
                if got == 0 {
                    timed.restart(patience);
                }
                got += more;
            }
            Err(Failure::Socket(Errno::INTR)) => {}
            // Nothing was sent, which may be; the limit was the last message's.
            Err(Failure::Socket(Errno::AGAIN)) if got == 0 => {
                stream.set_read_timeout(None).map_err(ProxyError::Io)?;
            }
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
fn receive_payload(timed: &mut Timed<&UnixStream>, payload: &mut [u8]) -> Result<(), ProxyError> {
    let (mut got, expected) = (0, payload.len());
    while got < expected {
        match timed.read(&mut payload[got..]) {
            Ok(0) => return Err(ProxyError::Truncated { got, expected }),
            Ok(more) => got += more,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(interrupted(error, got, expected)),
        }
    }
    Ok(())
}

/// What a message is whose next bytes did not come.
fn interrupted(error: io::Error, got: usize, expected: usize) -> ProxyError {
    match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => ProxyError::Truncated { got, expected },
        _ => ProxyError::Io(error),
    }
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

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        os::unix::net::UnixStream,
        sync::{
            Arc,
            mpsc::{self, RecvTimeoutError},
        },
        thread,
        time::Duration,
    };

    use super::{ProxyError, serve_within};
    use crate::{Device, Preset, Qtest, guest::GuestFunction, proxy::REPLY_BYTES};

    const SHORT: Duration = Duration::from_millis(100);

    /// How a connection ends to which `talk` sends with pauses of a part of [`SHORT`], if it can still be ended.
    fn paced(talk: impl FnOnce(&mut UnixStream, &dyn Fn(u32) -> bool)) -> Result<(), ProxyError> {
        let chipset = Arc::new(Qtest::default());
        let slot = "05.0".parse().unwrap();
        let builder = Device::builder(Preset::Skx);
        let function = GuestFunction::new(builder, slot, false, chipset).unwrap();
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        let (ended, end) = mpsc::channel::<()>();
        thread::scope(|scope| {
            let served = scope.spawn(move || {
                let _ended = ended;
                serve_within(&theirs, &function, SHORT)
            });
            // Time passes; `false` once the other end has gone.
            let pause = |quarters: u32| {
                end.recv_timeout(SHORT / 4 * quarters) == Err(RecvTimeoutError::Timeout)
            };
            talk(&mut ours, &pause);
            drop(ours);
            served.join().unwrap()
        })
    }

    /// A header, the payload's size in it.
    fn header(command: u8, payload: u8) -> [u8; 16] {
        let mut header = [0; 16];
        (header[0], header[8]) = (command, payload);
        header
    }

    #[test]
    fn a_message_byte_by_byte_ends_by_one_deadline() {
        let within_header = paced(|qemu, pause| {
            let mut bytes = header(3, 12).into_iter().chain([0; 12]);
            while pause(1)
                && let Some(byte) = bytes.next()
            {
                let _ = qemu.write_all(&[byte]);
            }
        });
        assert!(
            matches!(within_header, Err(ProxyError::Truncated { expected: 16, .. })),
            "{within_header:?}"
        );
        let within_payload = paced(|qemu, pause| {
            qemu.write_all(&header(0, 192)).unwrap();
            let mut bytes = [0; 192].into_iter();
            while pause(1)
                && let Some(byte) = bytes.next()
            {
                let _ = qemu.write_all(&[byte]);
            }
        });
        assert!(
            matches!(within_payload, Err(ProxyError::Truncated { expected: 192, .. })),
            "{within_payload:?}"
        );
    }

    #[test]
    fn between_messages_there_is_no_deadline() {
        let end = paced(|qemu, pause| {
            for _ in 0..2 {
                assert!(pause(6));
                // A read of 4 bytes of configuration space, which is answered.
                qemu.write_all(&header(3, 12)).unwrap();
                qemu.write_all(&[0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0]).unwrap();
                qemu.read_exact(&mut [0; REPLY_BYTES]).unwrap();
            }
            assert!(pause(6));
        });
        end.unwrap();
    }
}
