//! Channels that stop: who is told what.

use std::{task::Poll, time::Duration};

use dmaring_engine::{
    Engine, EnqueueError,
    Outcome::{self, Done, NotRun},
    Status, StatusKind,
};

use crate::fixture::*;

fn failed(kind: StatusKind, bits: u32) -> Outcome {
    Outcome::Failed(Status { kind, bits })
}

const GONE: Outcome = Outcome::Failed(Status { kind: StatusKind::Gone, bits: u32::MAX });

/// Halts the channel: what CHANSTS and CHANERR say.
fn halt(bench: &Bench, status: u64, errors: u64) {
    bench.registers.set(CHANSTS, 8, status | HALTED);
    bench.registers.set(CHANERR, 4, errors);
}

#[test]
fn a_halt_fails_the_transfer_after_the_last_good_one_and_no_other() {
    let bench = Bench::new();
    let mut channel = bench.running();
    submit(&mut channel, 0..5);
    enqueue(&mut channel, 5, &copy(0x1000, 0x2000, 64)).unwrap();
    halt(&bench, RING + 128, 0x100);
    bench.complete(2, HALTED);
    let read = failed(StatusKind::Read, 0x100);
    let mut told = poll(&mut channel);
    told.extend(poll(&mut channel));
    assert_eq!(told, [(0, Done), (1, Done), (2, read), (3, NotRun), (4, NotRun), (5, NotRun)]);
    assert_eq!((poll(&mut channel), channel.room()), (vec![], 0));
    let refused = enqueue(&mut channel, 6, &copy(0x1000, 0x2000, 64));
    assert_eq!(refused, Err(EnqueueError::Full));
    // The doorbell is not rung for what was told as not run.
    bench.registers.writes();
    channel.submit();
    assert_eq!(bench.registers.writes(), []);
}

/// Completion word, CHANSTS, and how many of four are done; the next one is the culprit.
#[test]
fn where_no_culprit_is_named_it_is_the_first_outstanding() {
    let at = |index: u64| RING + 64 * index;
    let cases = [
        (Some(0), 0, 0, 0),
        (Some(at(0)), at(0), 0, 0),
        (Some(at(2)), 0, 2, 0),
        (Some(0), at(2), 2, 0),
        (Some(at(1)), at(3), 3, 0),
        (None, at(1), 1, 0),
        (None, 0, 0, 0),
        (Some(at(7)), at(7), 0, 2),
        (Some(0x1234_5640), 0x7000, 0, 2),
    ];
    for (word, status, done, violations) in cases {
        let bench = Bench::new();
        let mut channel = bench.running();
        submit(&mut channel, 0..4);
        halt(&bench, status, 0x400);
        if let Some(word) = word {
            bench.memory.write(WORD, word | HALTED);
        }
        let told = poll_long(&mut channel);
        let expected: Vec<_> = (0..4)
            .map(|token| match token {
                token if token < done => (token, Done),
                token if token == done => (token, failed(StatusKind::Descriptor, 0x400)),
                token => (token, NotRun),
            })
            .collect();
        assert_eq!(told, expected, "{word:x?} {status:#x}");
        assert_eq!(channel.violations(), violations, "{word:x?} {status:#x}");
    }
}

#[test]
fn each_cause_reaches_the_status_with_its_bits() {
    for (bits, kind) in [
        (0x0001, StatusKind::SourceAddress),
        (0x0002, StatusKind::DestinationAddress),
        (0x0004, StatusKind::Descriptor),
        (0x0100, StatusKind::Read),
        (0x0200, StatusKind::Write),
        (0x0800, StatusKind::Descriptor),
        (0x1000, StatusKind::Descriptor),
        (0x0040, StatusKind::Integrity),
        (0x0000, StatusKind::Reset),
        (0x8000_0000, StatusKind::Unspecified),
    ] {
        let bench = Bench::new();
        let mut channel = bench.running();
        submit(&mut channel, 7..8);
        halt(&bench, RING, bits);
        bench.complete(0, HALTED);
        assert_eq!(poll_long(&mut channel), [(7, failed(kind, bits as u32))]);
    }
}

#[test]
fn a_halted_word_is_believed_when_chansts_says_so() {
    let bench = Bench::new();
    let mut channel = bench.running();
    submit(&mut channel, 0..2);
    bench.complete(1, HALTED);
    bench.status(1, ACTIVE);
    assert_eq!(poll_long(&mut channel), [(0, Done)]);
    assert_eq!(channel.room(), 6);
    bench.complete(2, IDLE);
    assert_eq!(poll(&mut channel), [(1, Done)]);
}

#[test]
fn status_is_read_once_in_so_many_empty_polls_and_only_with_work_outstanding() {
    let bench = Bench::new();
    let mut channel = bench.running();
    for _ in 0..100 {
        poll(&mut channel);
    }
    assert_eq!(bench.registers.status_reads(), 0);
    submit(&mut channel, 0..2);
    bench.status(0, ACTIVE);
    for _ in 0..40 {
        assert_eq!(poll(&mut channel), []);
    }
    assert_eq!(bench.registers.status_reads(), 10);
    bench.complete(2, IDLE);
    poll(&mut channel);
    assert_eq!(bench.registers.status_reads(), 0);
}

#[test]
fn a_lost_completion_word_is_made_up_for_by_chansts() {
    let bench = Bench::new();
    let mut channel = bench.running();
    submit(&mut channel, 0..3);
    bench.status(3, IDLE);
    assert_eq!(poll_long(&mut channel), [(0, Done), (1, Done), (2, Done)]);
    // The word comes late after all, and twice.
    bench.complete(3, IDLE);
    assert_eq!(poll_long(&mut channel), []);
    assert_eq!(channel.violations(), 0);
}

#[test]
fn a_device_that_is_gone_fails_all_it_had() {
    let bench = with_config();
    let mut channel = bench.running();
    submit(&mut channel, 0..3);
    enqueue(&mut channel, 3, &copy(0x1000, 0x2000, 64)).unwrap();
    bench.complete(1, ACTIVE);
    bench.registers.unplug();
    let mut told = poll_long(&mut channel);
    told.extend(poll_long(&mut channel));
    assert_eq!(told, [(0, Done), (1, GONE), (2, GONE), (3, NotRun)]);
    let gone = Status { kind: StatusKind::Gone, bits: u32::MAX };
    assert_eq!(channel.recover(), Poll::Ready(Err(gone)));
    assert_eq!((channel.recover(), channel.room()), (Poll::Ready(Err(gone)), 0));
    // Nothing is there that could touch memory.
    channel.halt(Duration::ZERO).unwrap();
    drop(channel);
    assert!(!bench.memory.is_mapped());
}

#[test]
fn a_device_that_goes_with_nothing_outstanding_is_told_of_at_the_next_submission() {
    for last in [HALTED, ACTIVE] {
        let bench = with_config();
        let mut channel = bench.running();
        submit(&mut channel, 0..2);
        bench.complete(2, last);
        bench.registers.unplug();
        let told = poll_long(&mut channel);
        assert_eq!(told, [(0, Done), (1, Done)]);
        assert!(channel.room() > 0, "nobody would hear of it else");
        submit(&mut channel, 2..4);
        let told: Vec<_> =
            poll_long(&mut channel).into_iter().chain(poll_long(&mut channel)).collect();
        assert!(told == [(2, NotRun), (3, NotRun)] || told == [(2, GONE), (3, GONE)], "{told:?}");
        let gone = Status { kind: StatusKind::Gone, bits: u32::MAX };
        let ended = (0..4).find_map(|_| match channel.recover() {
            Poll::Ready(ended) => Some(ended),
            Poll::Pending => None,
        });
        assert_eq!(ended, Some(Err(gone)));
    }
}

/// A bench with a configuration space: memory space and bus mastering are on.
fn with_config() -> Bench {
    let mut bench = Bench::new();
    bench.with_config = true;
    bench.registers.set_config(0x00, 0x2021_8086);
    bench.registers.set_config(COMMAND, 0x0010_0406);
    bench
}

#[test]
fn a_device_that_does_not_answer_is_cut_off_before_anything_is_told() {
    let bench = with_config();
    let mut channel = bench.running();
    submit(&mut channel, 0..2);
    bench.complete(1, ACTIVE);
    bench.registers.silence(true);
    let told: Vec<_> = (0..2).flat_map(|_| poll_long(&mut channel)).collect();
    assert_eq!(told, [(0, Done), (1, GONE)]);
    let off = (u32::from(COMMAND) | CONFIG, 0x0402);
    assert_eq!(bench.registers.writes().last(), Some(&off), "bus mastering, and nothing else");
    // It answers again: it is reset before it may reach memory.
    bench.registers.silence(false);
    while channel.recover().is_pending() {}
    let writes = bench.registers.writes();
    let at = |write: (u32, u64)| writes.iter().position(|written| *written == write).unwrap();
    let on = at((u32::from(COMMAND) | CONFIG, 0x0406));
    assert!(at((CHANCMD, 0x20)) < on, "{writes:x?}");
    assert!(writes[on..].iter().any(|&(at, chain)| at == CHAINADDR && chain != 0), "{writes:x?}");
    submit(&mut channel, 2..3);
    bench.complete(1, IDLE);
    assert_eq!(poll(&mut channel), [(2, Done)]);
}

#[test]
fn a_device_that_does_not_answer_and_cannot_be_cut_off_keeps_what_it_has() {
    for with_config in [true, false] {
        let mut bench = self::with_config();
        bench.with_config = with_config;
        let mut channel = bench.running();
        submit(&mut channel, 0..2);
        bench.complete(1, ACTIVE);
        bench.registers.fix_config(true);
        bench.registers.silence(true);
        assert_eq!(poll_long(&mut channel), [(0, Done)], "it may still write");
        let gone = Status { kind: StatusKind::Gone, bits: u32::MAX };
        assert_eq!((channel.stuck(), channel.room()), (Some(gone), 0));
        assert_eq!(channel.recover(), Poll::Pending);
        // It is looked at now and then, and not with every poll.
        bench.registers.status_reads();
        for _ in 0..1000 {
            assert_eq!(poll(&mut channel), []);
        }
        assert_eq!(bench.registers.status_reads(), 0);
        bench.time.advance(Duration::from_millis(100));
        assert_eq!(poll(&mut channel), []);
        assert!(bench.registers.status_reads() > 0);
        // A halt shows nothing either.
        if !with_config {
            assert_eq!(channel.halt(Duration::ZERO).unwrap_err().status, gone);
            drop(channel);
            assert!(bench.memory.is_mapped(), "left in place");
            continue;
        }
        bench.registers.fix_config(false);
        bench.time.advance(Duration::from_millis(100));
        let told: Vec<_> = (0..3).flat_map(|_| poll(&mut channel)).collect();
        assert_eq!((told, channel.stuck()), (vec![(1, GONE)], None));
        channel.halt(Duration::ZERO).unwrap();
        drop(channel);
        assert!(!bench.memory.is_mapped());
    }
}

#[test]
fn a_device_that_answers_again_is_reset_and_tells() {
    let bench = Bench::new();
    let mut channel = bench.running();
    submit(&mut channel, 0..3);
    bench.complete(1, ACTIVE);
    bench.registers.silence(true);
    assert_eq!(poll_long(&mut channel), [(0, Done)]);
    bench.registers.silence(false);
    bench.status(2, ACTIVE);
    bench.time.advance(Duration::from_millis(100));
    let told: Vec<_> = (0..10).flat_map(|_| poll(&mut channel)).collect();
    assert_eq!(told, [(1, Done), (2, failed(StatusKind::Hang, 0))]);
    while channel.recover().is_pending() {}
    assert_eq!((channel.stuck(), channel.room()), (None, 7));
}

#[test]
fn a_device_that_was_away_for_a_moment_fails_one_and_not_all() {
    let bench = with_config();
    let mut channel = bench.running();
    submit(&mut channel, 0..3);
    bench.complete(1, ACTIVE);
    bench.registers.silence_for_a_moment();
    let told: Vec<_> = (0..9).flat_map(|_| poll_long(&mut channel)).collect();
    assert_eq!(told, [(0, Done), (1, failed(StatusKind::Hang, 0)), (2, NotRun)]);
    while channel.recover().is_pending() {}
    submit(&mut channel, 3..4);
    bench.complete(1, IDLE);
    assert_eq!(poll(&mut channel), [(3, Done)]);
}

#[test]
fn all_ones_in_chansts_alone_is_a_violation() {
    let bench = Bench::new();
    let mut channel = bench.running();
    submit(&mut channel, 0..1);
    bench.registers.set(CHANSTS, 8, u64::MAX);
    assert_eq!(poll_long(&mut channel), []);
    assert_eq!(channel.violations(), 1);
    bench.complete(1, IDLE);
    assert_eq!(poll(&mut channel), [(0, Done)]);
}

#[test]
fn a_channel_that_halts_with_nothing_to_do_runs_nothing_more_and_blames_nobody() {
    let bench = Bench::new();
    let mut channel = bench.running();
    submit(&mut channel, 0..1);
    halt(&bench, RING + 64, 0x1000);
    bench.complete(1, HALTED);
    assert_eq!(poll(&mut channel), [(0, Done)]);
    bench.registers.writes();
    submit(&mut channel, 1..3);
    assert_eq!(bench.registers.writes(), []);
    assert_eq!(poll(&mut channel), [(1, NotRun), (2, NotRun)]);
    assert!(channel.recover().is_pending());
}

#[test]
fn a_channel_that_hangs_is_stopped_before_anything_is_told() {
    let bench = Bench::new();
    let mut channel = bench.running();
    submit(&mut channel, 0..4);
    bench.status(1, ACTIVE);
    assert_eq!(poll_long(&mut channel), [(0, Done)]);
    assert_eq!(poll_long(&mut channel), []);
    bench.registers.refuse(Refusals { suspend: true, reset: true, ..Refusals::default() });
    bench.time.advance(Duration::from_secs(1));
    assert_eq!(poll_long(&mut channel), []);
    assert_eq!((channel.room(), channel.recover()), (0, Poll::Pending));
    assert_eq!(channel.stuck(), None, "it has not yet been tried");
    // The channel resists for a while: nothing is told, since it may still write.
    for _ in 0..1000 {
        bench.time.advance(Duration::from_millis(1));
        assert_eq!(poll(&mut channel), []);
    }
    assert_eq!(channel.stuck(), Some(Status { kind: StatusKind::Hang, bits: 0 }));
    bench.registers.refuse(Refusals::default());
    bench.registers.set(CHANCMD, 1, 0);
    bench.status(2, HALTED);
    let told: Vec<_> = (0..10).flat_map(|_| poll(&mut channel)).collect();
    assert_eq!(channel.stuck(), None);
    assert_eq!(told, [(1, Done), (2, failed(StatusKind::Hang, 0)), (3, NotRun)]);
}

#[test]
fn a_hang_without_a_transfer_leaves_a_channel_that_can_be_brought_back() {
    let bench = Bench::new();
    let mut channel = bench.running();
    submit(&mut channel, 0..1);
    channel.fence().unwrap();
    channel.submit();
    bench.complete(1, ACTIVE);
    bench.status(1, ACTIVE);
    assert_eq!(poll(&mut channel), [(0, Done)]);
    // A null descriptor hangs, with nobody to be told.
    poll_long(&mut channel);
    bench.time.advance(Duration::from_secs(1));
    for _ in 0..10 {
        assert_eq!(poll_long(&mut channel), []);
    }
    assert_eq!(channel.room(), 7);
    submit(&mut channel, 1..3);
    assert_eq!(poll(&mut channel), [(1, NotRun), (2, NotRun)]);
    while channel.recover().is_pending() {}
    assert_eq!((channel.recover(), channel.room()), (Poll::Ready(Ok(())), 7));
}

#[test]
fn what_is_enqueued_while_a_channel_hangs_is_not_lost() {
    let bench = Bench::new();
    let mut channel = bench.running();
    submit(&mut channel, 0..1);
    channel.fence().unwrap();
    channel.submit();
    bench.complete(1, ACTIVE);
    bench.status(1, ACTIVE);
    assert_eq!(poll(&mut channel), [(0, Done)]);
    poll_long(&mut channel);
    enqueue(&mut channel, 1, &copy(0x1000, 0x2000, 64)).unwrap();
    bench.time.advance(Duration::from_secs(1));
    poll_long(&mut channel);
    channel.submit();
    let told: Vec<_> = (0..10).flat_map(|_| poll(&mut channel)).collect();
    assert_eq!(told, [(1, NotRun)]);
}

#[test]
fn progress_however_slow_is_no_hang() {
    let bench = Bench::new();
    let mut channel = bench.running();
    submit(&mut channel, 0..7);
    for index in 1..=7 {
        bench.time.advance(Duration::from_millis(999));
        bench.status(index, ACTIVE);
        assert_eq!(poll_long(&mut channel), [(index - 1, Done)]);
    }
}
