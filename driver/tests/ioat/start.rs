//! Bringing a channel up: what is written, in which order, and what is refused.

use std::{error::Error, time::Duration};

use dmaring_driver::ioat::{ResetError, StartError};
use dmaring_engine::{Engine, MapError};
use dmaring_ioat_spec::{
    chanerr::ChannelError,
    registers::{ChannelState, Version},
};

use crate::fixture::*;

#[test]
fn a_halted_channel_comes_up_by_these_writes() {
    let bench = Bench::new();
    let channel = bench.start().unwrap();
    let writes = [
        (CHANERR, 0),
        (CHANCMD, 0x20),
        (CHANCTRL, 0x0c),
        (CHANCMP, WORD),
        (CHAINADDR, RING),
        (DMACOUNT, 1),
    ];
    assert_eq!(bench.registers.writes(), writes);
    assert_eq!((channel.room(), channel.capabilities().depth), (7, 7));
    assert_eq!(channel.capabilities().max_transfer, 1 << 20);
    assert!(channel.capabilities().fill && !channel.capabilities().host_memory);
    assert_eq!((channel.version(), channel.violations()), (Version::V3_2, 0));
    assert_eq!(channel.name(), "test");
}

#[test]
fn an_idle_channel_is_suspended_and_its_errors_are_written_back() {
    let mut bench = Bench::new();
    bench.with_config = true;
    bench.registers.set(CHANSTS, 8, IDLE);
    bench.registers.set(CHANERR, 4, 0x0901);
    bench.registers.set_config(0x180, 0x44);
    bench.registers.set_config(0x00, 0x2021_8086);
    let _channel = bench.start().unwrap();
    let writes = [
        (CHANCMD, 0x04),
        (CHANERR, 0x0901),
        (0x180 | CONFIG, 0x44),
        (CHANCMD, 0x20),
        (CHANCTRL, 0x0c),
        (CHANCMP, WORD),
        (CHAINADDR, RING),
        (DMACOUNT, 1),
    ];
    assert_eq!(bench.registers.writes(), writes);
}

#[test]
fn internal_errors_are_written_back_at_every_version_and_only_tylersburg_has_its_parity_cleared() {
    for (version, ids, parity) in
        [(0x30, 0x3430_8086, true), (0x33, 0x6f50_8086, false), (0x34, 0x0b00_8086, false)]
    {
        let mut bench = Bench::new();
        bench.with_config = true;
        bench.registers.set(CBVER, 1, version);
        bench.registers.set_config(0x180, 0);
        bench.registers.set_config(0x00, ids);
        bench.start().unwrap();
        let writes: Vec<_> =
            bench.registers.writes().into_iter().filter(|(at, _)| at & CONFIG != 0).collect();
        let mut expected = vec![(0x180 | CONFIG, 0)];
        expected.extend(parity.then_some((0x148 | CONFIG, 0x10)));
        // Once to bring it up, once in the drop.
        expected.extend(expected.clone());
        assert_eq!(writes, expected);
    }
}

#[test]
fn configuration_space_of_256_bytes_is_no_reason_to_stop() {
    for value in [None, Some(u32::MAX)] {
        let mut bench = Bench::new();
        bench.with_config = true;
        if let Some(value) = value {
            bench.registers.set_config(0x180, value);
        }
        let channel = bench.start().unwrap();
        assert!(bench.registers.writes().iter().all(|(at, _)| at & CONFIG == 0));
        drop(channel);
    }
}

#[test]
fn a_channel_that_is_not_suspended_is_reset_after_100_ms() {
    let bench = Bench::new();
    bench.registers.set(CHANSTS, 8, ACTIVE);
    bench.registers.refuse(Refusals { suspend: true, ..Refusals::default() });
    bench.start().unwrap();
    assert_eq!(bench.registers.writes()[..3], [(CHANCMD, 0x04), (CHANERR, 0), (CHANCMD, 0x20)]);
}

#[test]
fn null_and_links_are_in_the_ring_when_the_channel_is_armed() {
    let bench = Bench::new();
    let _channel = bench.start().unwrap();
    #[rustfmt::skip]
    let null = [
        0x01, 0x00, 0x00, 0x00, 0x28, 0x00, 0x00, 0x00,
        0, 0, 0, 0, 0, 0, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0,
        0x40, 0x10, 0x00, 0x40, 0x00, 0x00, 0x00, 0x00,
    ];
    let line = bench.memory.read_line(RING);
    assert_eq!((&line[..32], &line[32..]), (&null[..], &[0; 32][..]));
    for index in 0..8 {
        let next = bench.memory.read(RING + 64 * index + 24);
        assert_eq!(next, RING + 64 * ((index + 1) % 8));
    }
}

#[test]
fn the_claim_is_held_while_the_channel_lives_and_given_up_once() {
    let bench = Bench::new();
    let mut channel = bench.start().unwrap();
    let other = Bench { registers: bench.registers.clone(), ..Bench::new() };
    assert!(matches!(other.start(), Err(StartError::InUse { channel: 0, control: 0x10c })));
    assert!(!other.memory.is_mapped());
    bench.registers.writes();
    channel.halt(Duration::from_secs(1)).unwrap();
    assert_eq!(bench.registers.writes().last(), Some(&(CHANCTRL, 0)));
    drop(channel);
    assert_eq!(bench.registers.writes(), []);
    bench.start().unwrap();
}

#[test]
fn the_claim_of_a_killed_owner_is_released_where_the_function_is_exclusive() {
    let mut bench = Bench::new();
    bench.registers.set(CHANCTRL, 2, 0x10c);
    assert!(matches!(bench.start(), Err(StartError::InUse { control: 0x10c, .. })));
    assert_eq!(bench.registers.writes(), [], "it may be somebody else's");
    bench.exclusive = true;
    let channel = bench.start().unwrap();
    let writes = bench.registers.writes();
    assert_eq!(writes[..3], [(CHANCTRL, 0), (CHANERR, 0), (CHANCMD, 0x20)]);
    drop(channel);
    // One that nobody claims is not touched before the reset.
    bench.registers.writes();
    bench.start().unwrap();
    assert_eq!(bench.registers.writes()[0], (CHANERR, 0));
}

#[test]
fn a_claim_that_does_not_go_is_refused() {
    let mut bench = Bench::new();
    bench.exclusive = true;
    bench.registers.set(CHANCTRL, 2, 0x100);
    bench.registers.refuse(Refusals { release: true, ..Refusals::default() });
    let error = bench.start().unwrap_err();
    assert!(matches!(error, StartError::InUse { control: 0x100, .. }));
    assert!(error.to_string().contains("/sys/bus/pci/devices/BDF/reset"), "{error}");
    assert!(!bench.memory.is_mapped());
}

#[test]
fn what_the_registers_say_of_the_function_can_be_asked() {
    let bench = Bench::new();
    bench.registers.set(CHANCNT, 1, 4);
    let channel = bench.start().unwrap();
    assert_eq!((channel.channel_count(), channel.transfer_cap()), (4, 1 << 20));
    // Fills are copies out of a small ring here: the engine takes less in one transfer.
    let bench = Bench::new();
    bench.registers.set(DMACAPABILITY, 4, 0);
    let channel = bench.start().unwrap();
    assert!(channel.capabilities().max_transfer < channel.transfer_cap());
    assert_eq!(channel.transfer_cap(), 1 << 20);
}

#[test]
fn what_is_no_channel_is_refused_before_anything_is_written() {
    type Check = fn(&StartError) -> bool;
    let cases: [(&[(u32, u64)], Check); 8] = [
        (&[(CBVER, 0xff)], |e| matches!(e, StartError::Absent)),
        (
            &[(CBVER, 0x20)],
            |e| matches!(e, StartError::Version { version } if version.major() == 2),
        ),
        (&[(CBVER, 0x40)], |e| matches!(e, StartError::Version { .. })),
        (&[(CBVER, 0)], |e| matches!(e, StartError::Version { .. })),
        (&[(CHANCNT, 0)], |e| matches!(e, StartError::NoSuchChannel { channel: 0, channels: 0 })),
        (&[(XFERCAP, 0)], |e| matches!(e, StartError::TransferCapZero)),
        (&[(XFERCAP, 5)], |e| matches!(e, StartError::TransferCapTooSmall { bytes: 32 })),
        (&[(CHANCTRL + 1, 1)], |e| matches!(e, StartError::InUse { control: 0x100, .. })),
    ];
    for (sets, check) in cases {
        let bench = Bench::new();
        for (offset, value) in sets {
            bench.registers.set(*offset, 1, *value);
        }
        let error = bench.start().unwrap_err();
        assert!(check(&error), "{error}");
        assert_eq!(bench.registers.writes(), []);
        assert!(!bench.memory.is_mapped());
    }
    let unplugged = Bench::new();
    unplugged.registers.unplug();
    assert!(matches!(unplugged.start(), Err(StartError::Absent)));
}

#[test]
fn rings_of_other_lengths_are_refused() {
    for entries in [0, 1, 2, 3, 12, 65_536, u32::MAX] {
        let bench = Bench { entries, ..Bench::new() };
        assert!(
            matches!(bench.start(), Err(StartError::RingEntries { entries: e }) if e == entries)
        );
    }
    let longest = if cfg!(miri) { 64 } else { 32_768 };
    Bench { entries: longest, ..Bench::new() }.start().unwrap();
}

#[test]
fn a_refused_mapping_is_named_and_claims_nothing() {
    let bench = Bench::new();
    bench.memory.refuse(MapError::LockedMemory { needed: 8192, limit: 4096 });
    let error = bench.start().unwrap_err();
    assert!(matches!(error, StartError::Map { bytes: 8192, .. }));
    assert!(error.source().unwrap().to_string().contains("RLIMIT_MEMLOCK"));
    assert_eq!(bench.registers.writes(), []);
    assert!(matches!(bench.start(), Err(StartError::Map { .. })), "the channel is not in use");
}

/// What a reset that goes wrong says, and whether the ring's memory comes back.
#[test]
fn each_step_that_fails_has_its_error_and_memory_is_freed_only_after_a_stop() {
    let none = Refusals::default();
    let cases = [
        (Refusals { reset: true, ..none }, ResetError::Timeout, false),
        (Refusals { clear: true, ..none }, ResetError::ErrorsStand(ChannelError::READ_DATA), false),
        (Refusals { arm: true, ..none }, ResetError::NotArmed(ChannelState::Halted), false),
        (Refusals { null: true, ..none }, ResetError::NotIdle(ChannelState::Armed), false),
    ];
    for (refusals, expected, mapped) in cases {
        let bench = Bench::new();
        bench.registers.set(CHANERR, 4, if refusals.clear { 0x100 } else { 0 });
        bench.registers.refuse(refusals);
        match bench.start() {
            Err(StartError::Reset(error)) => assert_eq!(error, expected),
            other => panic!("{expected:?}: {other:?}"),
        }
        assert_eq!(bench.memory.is_mapped(), mapped, "{expected:?}");
        assert_eq!(bench.registers.writes().last(), Some(&(CHANCTRL, 0)), "{expected:?}");
    }
}

#[test]
fn chainaddr_is_zeroed_while_a_reset_lasts() {
    let bench = Bench::new();
    bench.registers.refuse(Refusals { reset: true, ..Refusals::default() });
    bench.start().unwrap_err();
    let writes = bench.registers.writes();
    let zeroes = writes.iter().filter(|write| **write == (CHAINADDR, 0)).count();
    assert!((190..=201).contains(&zeroes), "{zeroes} in 200 ms");
    assert!(writes.iter().all(|(at, _)| ![CHANCMP, DMACOUNT].contains(at)));
}

#[test]
fn a_channel_that_writes_no_completion_word_comes_up_and_is_watched_by_status() {
    let bench = Bench::new();
    bench.registers.refuse(Refusals { word: true, ..Refusals::default() });
    let mut channel = bench.running();
    submit(&mut channel, 0..1);
    bench.status(1, IDLE);
    assert_eq!(poll_long(&mut channel).len(), 1);
}

#[test]
fn memory_that_cannot_be_unmapped_is_left_in_place() {
    let bench = Bench::new();
    bench.memory.refuse_unmap();
    drop(bench.start().unwrap());
    assert_eq!(bench.memory.read(RING + 24), RING + 64);
}
