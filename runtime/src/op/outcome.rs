//! From a completion's words to what the application reads.

use std::time::Duration;

use dmaring_engine::{Status, StatusKind};
use dmaring_ring::{CompletionCode, CompletionEntry};

use super::request::{DEVICE_SOURCE, NO_CPU, Request};
use crate::{
    error::{DeviceError, Error, ErrorKind},
    inflight::Ticket,
    segments::{Numbers, SegmentNumbers},
};

/// Why the poller refused an entry. Its own requests were checked before; these answer what else may
/// stand in a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Refused {
    OutOfBounds = 1,
    Unmapped = 2,
    Permission = 3,
    Unsupported = 4,
    TooLong = 5,
    Malformed = 6,
    NoCpu = 7,
    DeviceSource = 8,
    Volatile = 9,
}

/// Why a future is resolved while an engine may still be at its operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Early {
    /// Its deadline passed.
    Deadline = 0,
    /// Its engine was lost and does not let go of it.
    Engine = 1,
}

/// Who was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Lost {
    /// The thread that drives the engines.
    Poller = 0,
    /// Every engine that could do it, for now.
    Engines = 1,
    /// The engine's senses: it refuses what it says it takes.
    Refused = 2,
    /// An engine with an operation that this one is fenced against, and it does not let go of it.
    Ahead = 3,
    /// Engines with operations that have every place in the ring, and they do not let go of them.
    Places = 4,
    /// Engines with pieces of files that have the staging buffers, and they do not let go of them.
    Blocks = 5,
    /// Whoever writes caches back.
    WriteBack = 6,
}

/// Where an operation works, for its errors.
#[derive(Debug)]
struct Place {
    source_offset: Option<u64>,
    destination_offset: u64,
    length: u64,
    timeout: Option<Duration>,
}

/// The outcome of an operation that asked for this.
#[inline]
pub(crate) fn decode(request: &Request, ticket: Ticket) -> Result<u64, Error> {
    let entry = ticket.entry();
    if entry.code() == CompletionCode::DONE {
        return Ok(request.length);
    }
    Err(failure(request, entry, ticket.detail))
}

#[cold]
fn failure(request: &Request, entry: CompletionEntry, detail: u64) -> Error {
    if let Some(segments) = request.segments()
        && let Some((number, place, at)) = segment(segments, entry, detail)
    {
        return failure_at(&place, entry, at).in_segment(number);
    }
    let place = Place {
        source_offset: request.source_offset(),
        destination_offset: request.destination_offset,
        length: request.length,
        timeout: request.timeout,
    };
    failure_at(&place, entry, detail)
}

fn failure_at(place: &Place, entry: CompletionEntry, at: u64) -> Error {
    match entry.code() {
        CompletionCode::DEVICE => device(place, at, entry),
        CompletionCode::REFUSED => refused(place, entry.kind()),
        CompletionCode::ABORTED => {
            Error::new(ErrorKind::Aborted, "given up before it began: nothing was written")
        }
        CompletionCode::SHUTDOWN => Error::shutdown(),
        CompletionCode::IO => file(place, at, entry.kind(), entry.bits()),
        CompletionCode::EARLY => early(place, entry.kind()).with_memory_in_use(),
        CompletionCode::ENGINE_LOST => lost(entry.kind()),
        _ => Error::engine_lost(),
    }
}

/// Below these bits of a vectored copy's offset stands where in a segment something failed, above them in which.
pub(crate) const SEGMENT_SHIFT: u32 = 48;

/// The offset that tells a failure at `at` of a segment.
pub(crate) fn segment_offset(number: usize, at: u64) -> u64 {
    (number as u64) << SEGMENT_SHIFT | at.min((1 << SEGMENT_SHIFT) - 1)
}

/// The segment that failed, where it is, and where in it; `None` if it is not a segment that failed.
fn segment(
    segments: &SegmentNumbers,
    entry: CompletionEntry,
    detail: u64,
) -> Option<(u32, Place, u64)> {
    let of_one = [
        Refused::OutOfBounds,
        Refused::Unmapped,
        Refused::Permission,
        Refused::TooLong,
        Refused::DeviceSource,
        Refused::Volatile,
    ];
    match entry.code() {
        CompletionCode::DEVICE | CompletionCode::IO => {}
        CompletionCode::REFUSED if of_one.iter().any(|&reason| reason as u8 == entry.kind()) => {}
        _ => return None,
    }
    let number = u32::try_from(detail >> SEGMENT_SHIFT).ok()?;
    let Numbers { source_offset, destination_offset, length, .. } =
        segments.get(number as usize)?;
    let source_offset = Some(source_offset);
    let place = Place { source_offset, destination_offset, length, timeout: None };
    Some((number, place, detail & ((1 << SEGMENT_SHIFT) - 1)))
}

fn early(place: &Place, why: u8) -> Error {
    if why == Early::Engine as u8 {
        return Error::new(
            ErrorKind::EngineLost,
            "the engine was lost with this operation in it and may still write: its regions stay mapped until it is shown to have stopped",
        );
    }
    let limit = place.timeout.map_or(String::new(), |timeout| format!(" within {timeout:?}"));
    let (length, offset) = (place.length, place.destination_offset);
    let message = format!(
        "{length} bytes to offset {offset} were not written{limit}: the destination is unspecified, and in use until the engine lets go of it"
    );
    Error::new(ErrorKind::TimedOut, message)
}

fn lost(who: u8) -> Error {
    let message = if who == Lost::Engines as u8 {
        "every engine that could do it is lost or retired: bring one back with Runtime::restore_engine, or add dmaring_cpu::CpuEngine to the builder"
    } else if who == Lost::WriteBack as u8 {
        "the bytes are written, but what makes them durable is broken: whether they outlive a loss of power is unknown"
    } else if who == Lost::Refused as u8 {
        "the engine refused a transfer within its own limits: it is broken"
    } else if who == Lost::Ahead as u8 {
        "an engine was lost with an operation in it that this one is fenced against, and may still write: this one was not begun. Bring the engine back with Runtime::restore_engine, or submit without the fence"
    } else if who == Lost::Places as u8 {
        "every place in the ring is held by an engine that was lost and does not let go: bring it back with Runtime::restore_engine, or build a runtime with more ring_entries"
    } else if who == Lost::Blocks as u8 {
        "the staging buffers are held by an engine that was lost and does not let go: bring it back with Runtime::restore_engine, or build a runtime with more file_blocks"
    } else {
        return Error::engine_lost();
    };
    Error::new(ErrorKind::EngineLost, message)
}

fn device(place: &Place, at: u64, entry: CompletionEntry) -> Error {
    let status = Status { kind: StatusKind::from_number(entry.kind()), bits: entry.bits() };
    let retry = entry.retry().map(StatusKind::from_number);
    let source_offset = place.source_offset.map(|offset| offset.saturating_add(at));
    let destination_offset = place.destination_offset.saturating_add(at);
    let from = source_offset.map_or(String::new(), |offset| format!("source offset {offset}, "));
    let again = retry.map_or(String::new(), |kind| format!("; the CPU tried again: {kind}"));
    let message = format!("{status} at {from}destination offset {destination_offset}{again}");
    let error = DeviceError { status, retry, segment: None, source_offset, destination_offset };
    Error::new(ErrorKind::Device(error), message)
}

/// `kind` says which file: 0 the source, 1 the destination. `errno` 0 is an end of file that came early.
fn file(place: &Place, at: u64, kind: u8, errno: u32) -> Error {
    let (which, offset) = match (kind, place.source_offset) {
        (0, Some(offset)) => ("source", offset),
        _ => ("destination", place.destination_offset),
    };
    let offset = offset.saturating_add(at);
    if errno == 0 {
        let message = format!(
            "the {which} file ends at or before offset {offset}: it was truncated after it was opened"
        );
        return Error::new(ErrorKind::Io, message);
    }
    let error = std::io::Error::from_raw_os_error(i32::try_from(errno).unwrap_or(i32::MAX));
    Error::with_source(ErrorKind::Io, format!("{which} file at offset {offset}: {error}"), error)
}

fn refused(place: &Place, reason: u8) -> Error {
    let &Place { length, destination_offset, .. } = place;
    let (kind, why) = match reason {
        1 => (ErrorKind::OutOfBounds, "a range reaches beyond its region"),
        2 => (ErrorKind::Unmapped, "a region is not mapped any more"),
        3 => (ErrorKind::Permission, "the destination is not writable"),
        4 => (ErrorKind::Unsupported, "no engine has this operation"),
        7 => (ErrorKind::Unsupported, NO_CPU),
        8 => (ErrorKind::Unsupported, DEVICE_SOURCE),
        9 => (ErrorKind::Volatile, "the destination's memory is volatile"),
        5 => (ErrorKind::LimitExceeded, "longer than one operation can be: split it"),
        _ => (ErrorKind::Unsupported, "the entry is malformed"),
    };
    let message = format!("{length} bytes to offset {destination_offset} refused: {why}");
    Error::new(kind, message)
}

#[cfg(test)]
mod tests {
    use dmaring_ring::Key;

    use super::*;
    use crate::op::Work;

    fn decode(ticket: Ticket) -> Result<u64, Error> {
        let mut request = Request::new(Work::Copy { source_offset: 100 }, 2000, 64);
        request.timeout = Some(Duration::from_millis(3));
        super::decode(&request, ticket)
    }

    fn ticket(code: CompletionCode, kind: u8, bits: u32, detail: u64) -> Ticket {
        let result = CompletionEntry::new(Key::default(), code, kind, bits).result_word();
        Ticket { result, detail }
    }

    #[test]
    fn success_is_the_length() {
        assert_eq!(decode(ticket(CompletionCode::DONE, 0, 0, 0)).unwrap(), 64);
    }

    #[test]
    fn a_device_error_names_its_bits_and_both_offsets() {
        let error = decode(ticket(CompletionCode::DEVICE, 2, 0x2, 16)).unwrap_err();
        let ErrorKind::Device(device) = error.kind() else { panic!("{error:?}") };
        assert_eq!(device.status, Status { kind: StatusKind::DestinationAddress, bits: 2 });
        assert_eq!((device.source_offset, device.destination_offset), (Some(116), 2016));
        assert_eq!(
            error.to_string(),
            "destination address refused (error bits 0x2) at source offset 116, destination offset 2016"
        );
    }

    #[test]
    fn a_failure_of_the_second_attempt_tells_both() {
        let entry = CompletionEntry::new(Key::default(), CompletionCode::DEVICE, 3, 0x100);
        let twice = Ticket { result: entry.with_retry(4).result_word(), detail: 0 };
        let error = decode(twice).unwrap_err();
        let ErrorKind::Device(device) = error.kind() else { panic!("{error:?}") };
        assert_eq!((device.status.kind, device.retry), (StatusKind::Read, Some(StatusKind::Write)));
        assert!(error.to_string().ends_with("the CPU tried again: writing the destination failed"));
    }

    #[test]
    fn what_ends_early_says_why_and_what_to_do() {
        let kind = |code, kind| {
            let error = decode(ticket(code, kind, 0, 0)).unwrap_err();
            (error.kind(), error.to_string())
        };
        let (late, message) = kind(CompletionCode::EARLY, Early::Deadline as u8);
        assert_eq!(late, ErrorKind::TimedOut);
        assert!(
            message.contains("64 bytes to offset 2000 were not written within 3ms"),
            "{message}"
        );
        let (held, message) = kind(CompletionCode::EARLY, Early::Engine as u8);
        assert!(held == ErrorKind::EngineLost && message.contains("stay mapped"), "{message}");
        let (lost, message) = kind(CompletionCode::ENGINE_LOST, Lost::Engines as u8);
        assert!(lost == ErrorKind::EngineLost && message.contains("restore_engine"), "{message}");
    }

    #[test]
    fn a_truncated_file_is_named_with_its_offset() {
        let error = decode(ticket(CompletionCode::IO, 0, 0, 32)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Io);
        assert!(error.to_string().contains("source file ends at or before offset 132"), "{error}");
    }

    #[test]
    fn no_word_panics() {
        // Under Miri the codes that there are, and some more.
        for code in (0..=u8::MAX).filter(|code| !cfg!(miri) || !(12..u8::MAX).contains(code)) {
            for kind in [0u8, 1, 7, 255] {
                let result = u64::from(code) | u64::from(kind) << 8 | 0xffff_ffff_u64 << 32;
                let _ = decode(Ticket { result, detail: u64::MAX });
            }
        }
    }
}
