//! Recovery, halt and drop: the writes in order, and what may be freed when.

use std::{task::Poll, time::Duration};

use dmaring_engine::{Engine, Outcome, Status, StatusKind};

use crate::fixture::*;

/// A channel that failed and has told everything.
fn failed(bench: &Bench) -> dmaring_driver::IoatChannel<Registers> {
    let mut channel = bench.running();
    submit(&mut channel, 0..3);
    bench.registers.set(CHANERR, 4, 0x200);
    bench.status(1, HALTED);
    bench.complete(1, HALTED);
    assert_eq!(poll_long(&mut channel).len(), 3);
    bench.registers.writes();
    channel
}

#[test]
fn recovery_makes_these_writes_one_step_a_call() {
    let mut bench = Bench::new();
    bench.with_config = true;
    bench.registers.set_config(0x180, 0x10);
    let mut channel = failed(&bench);
    let mut steps = Vec::new();
    loop {
        let step = channel.recover();
        steps.push(bench.registers.writes());
        if step.is_ready() {
            assert_eq!(step, Poll::Ready(Ok(())));
            break;
        }
        assert_eq!(channel.room(), 0);
    }
    let expected: [&[Write]; 6] = [
        &[],
        &[(CHANERR, 0x200), (0x180 | CONFIG, 0x10), (CHANCMD, 0x20)],
        &[],
        &[(CHANCTRL, 0x0c), (CHANCMP, WORD + 64), (CHAINADDR, RING)],
        &[(DMACOUNT, 1)],
        &[],
    ];
    assert_eq!(steps, expected);

    // The count starts over, and so do the indices.
    assert_eq!(channel.room(), 7);
    submit(&mut channel, 10..12);
    assert_eq!(bench.registers.writes(), [(DMACOUNT, 3)]);
    bench.complete(2, IDLE);
    assert_eq!(poll(&mut channel), [(10, Outcome::Done), (11, Outcome::Done)]);
    assert_eq!((channel.recover(), channel.violations()), (Poll::Ready(Ok(())), 0));
    assert_eq!(bench.registers.writes(), []);
}

#[test]
fn nothing_is_reset_before_every_token_is_told() {
    let bench = Bench::new();
    let mut channel = bench.running();
    submit(&mut channel, 0..3);
    bench.status(0, HALTED);
    bench.complete(0, HALTED);
    let mut place = [NOTHING];
    // The first poll sees the halt.
    assert_eq!(channel.poll(&mut place), 0);
    bench.registers.writes();
    for _ in 0..3 {
        assert!(channel.recover().is_pending());
        assert_eq!(bench.registers.writes(), []);
        assert_eq!(channel.poll(&mut place), 1);
    }
    assert_eq!(channel.poll(&mut place), 0);
    let steps = (0..20).take_while(|_| channel.recover().is_pending()).count();
    assert!(steps < 20 && !bench.registers.writes().is_empty());
}

#[test]
fn a_completion_word_of_before_the_reset_means_nothing_after_it() {
    let bench = Bench::new();
    let mut channel = failed(&bench);
    while channel.recover().is_pending() {}
    submit(&mut channel, 10..13);
    // Position 2 of the new epoch is not done because that of the old one was.
    bench.status(0, ACTIVE);
    assert_eq!(poll_long(&mut channel), []);
    assert_eq!(channel.room(), 4);
}

#[test]
fn a_word_like_the_last_one_before_the_reset_is_news_after_it() {
    let bench = Bench::new();
    let mut channel = bench.running();
    submit(&mut channel, 0..3);
    bench.complete(2, IDLE);
    assert_eq!(poll(&mut channel).len(), 2);
    bench.status(2, HALTED);
    assert_eq!(poll_long(&mut channel).len(), 1);
    // The null descriptor writes none, and there is no old one.
    bench.registers.refuse(Refusals { word: true, ..Refusals::default() });
    while channel.recover().is_pending() {
        bench.time.advance(Duration::from_millis(1));
    }
    assert_eq!(bench.memory.read(bench.word()), 0);
    submit(&mut channel, 10..12);
    bench.complete(2, IDLE);
    assert_eq!(poll(&mut channel), [(10, Outcome::Done), (11, Outcome::Done)]);
}

#[test]
fn a_late_word_of_before_the_reset_completes_nothing() {
    let bench = Bench::new();
    let mut channel = failed(&bench);
    let before = bench.word();
    while channel.recover().is_pending() {}
    let now = bench.word();
    assert_ne!(before, now);
    submit(&mut channel, 10..13);
    bench.status(0, ACTIVE);
    // The old epoch's last descriptor is one that the new epoch has as well, and so is every other.
    for index in 0..8 {
        for state in [ACTIVE, IDLE, HALTED] {
            bench.memory.write(before, (RING + 64 * index) | state);
            assert_eq!(poll_long(&mut channel), []);
        }
    }
    assert_eq!((channel.violations(), channel.room()), (0, 4));
    bench.complete(2, ACTIVE);
    assert_eq!(poll(&mut channel), [(10, Outcome::Done), (11, Outcome::Done)]);
}

#[test]
fn each_reset_takes_another_word_until_they_come_round_clean() {
    let bench = Bench::new();
    let mut channel = bench.running();
    let mut words = vec![bench.word()];
    for _ in 0..63 {
        submit(&mut channel, 0..1);
        bench.status(0, HALTED);
        bench.complete(0, HALTED);
        assert_eq!(poll_long(&mut channel).len(), 1);
        // Late, and behind the channel's back.
        bench.memory.write(words[0], (RING + 64) | IDLE);
        // The null descriptor after the last reset writes no word over it.
        let word = words.len() == 63;
        bench.registers.refuse(Refusals { word, ..Refusals::default() });
        while channel.recover().is_pending() {
            bench.time.advance(Duration::from_millis(1));
        }
        words.push(bench.word());
    }
    assert_eq!((words[0], words[62], words[63]), (WORD, WORD + 62 * 64, WORD));
    assert!(words.iter().all(|word| (WORD..RING).contains(word)));
    assert_eq!(bench.memory.read(WORD), 0, "what came late is gone");
    submit(&mut channel, 0..1);
    bench.status(0, ACTIVE);
    assert_eq!(poll_long(&mut channel), []);
}

#[test]
fn a_channel_that_is_lost_is_tried_again_when_asked_again() {
    let bench = Bench::new();
    let mut channel = failed(&bench);
    bench.registers.refuse(Refusals { clear: true, ..Refusals::default() });
    let attempt = |channel: &mut dmaring_driver::IoatChannel<Registers>| {
        (0..10).map(|_| channel.recover()).find(Poll::is_ready)
    };
    assert!(matches!(attempt(&mut channel), Some(Poll::Ready(Err(_)))));
    assert_eq!((channel.room(), poll(&mut channel)), (0, vec![]));
    assert!(matches!(attempt(&mut channel), Some(Poll::Ready(Err(_)))));
    bench.registers.refuse(Refusals::default());
    assert_eq!(attempt(&mut channel), Some(Poll::Ready(Ok(()))));
    submit(&mut channel, 10..12);
    bench.complete(2, IDLE);
    assert_eq!(poll(&mut channel), [(10, Outcome::Done), (11, Outcome::Done)]);
    // One that was given up is not tried again.
    channel.halt(Duration::from_secs(1)).unwrap();
    bench.registers.writes();
    assert!(matches!(channel.recover(), Poll::Ready(Err(_))));
    assert_eq!(bench.registers.writes(), []);
}

#[test]
fn a_channel_that_does_not_come_back_is_lost() {
    let bench = Bench::new();
    let mut channel = failed(&bench);
    bench.registers.refuse(Refusals { clear: true, ..Refusals::default() });
    let status = Status { kind: StatusKind::Write, bits: 0x200 };
    let last = (0..10).map(|_| channel.recover()).find(Poll::is_ready);
    assert_eq!(last, Some(Poll::Ready(Err(status))));
    assert_eq!(channel.room(), 0);
    assert_eq!(poll(&mut channel), []);
}

#[test]
fn halt_suspends_resets_and_gives_the_channel_up() {
    let bench = Bench::new();
    let mut channel = bench.running();
    submit(&mut channel, 0..3);
    bench.status(1, ACTIVE);
    bench.registers.writes();
    channel.halt(Duration::from_secs(1)).unwrap();
    let writes = [(CHANCMD, 0x04), (CHANERR, 0), (CHANCMD, 0x20), (CHANCTRL, 0)];
    assert_eq!(bench.registers.writes(), writes);
    // What was outstanding is abandoned: the device does not have it any more.
    bench.complete(3, IDLE);
    assert_eq!((poll_long(&mut channel), channel.room()), (vec![], 0));
    channel.submit();
    channel.halt(Duration::ZERO).unwrap();
    assert_eq!(bench.registers.writes(), []);
    drop(channel);
    assert!(!bench.memory.is_mapped());
}

#[test]
fn a_channel_that_cannot_be_suspended_is_halted_by_its_reset_however_short_the_deadline() {
    for (deadline, state) in [(50, ACTIVE), (2, ACTIVE), (0, HALTED), (0, ARMED)] {
        let bench = Bench::new();
        let mut channel = bench.running();
        submit(&mut channel, 0..3);
        bench.status(0, state);
        bench.registers.refuse(Refusals { suspend: true, ..Refusals::default() });
        channel.halt(Duration::from_millis(deadline)).unwrap();
    }
}

#[test]
fn a_channel_that_will_not_halt_says_so_and_its_ring_is_never_freed() {
    let bench = Bench::new();
    let mut channel = bench.running();
    submit(&mut channel, 0..3);
    bench.status(0, ACTIVE);
    bench.registers.refuse(Refusals { suspend: true, reset: true, ..Refusals::default() });
    let error = channel.halt(Duration::from_secs(1)).unwrap_err();
    assert_eq!(error.status.kind, StatusKind::Hang);
    let error = channel.halt(Duration::ZERO).unwrap_err();
    assert_eq!(error.status.kind, StatusKind::Hang);
    drop(channel);
    // Mapped for the device, and still there to be read.
    assert_eq!(bench.memory.read(RING + 24), RING + 64);
}

#[test]
fn a_reset_that_ends_with_a_moving_channel_is_no_halt() {
    for state in [ACTIVE, IDLE, SUSPENDED, 7] {
        let bench = Bench::new();
        let mut channel = bench.running();
        submit(&mut channel, 0..1);
        bench.status(0, state);
        bench.registers.refuse(Refusals { suspend: true, halt: true, ..Refusals::default() });
        assert!(channel.halt(Duration::from_secs(1)).is_err());
        drop(channel);
        assert!(bench.memory.is_mapped());
    }
}

#[test]
fn a_drop_stops_the_channel() {
    let bench = Bench::new();
    let mut channel = bench.running();
    submit(&mut channel, 0..3);
    bench.status(0, ACTIVE);
    drop(channel);
    assert!(bench.registers.writes().ends_with(&[(CHANCMD, 0x20), (CHANCTRL, 0)]));
    assert!(!bench.memory.is_mapped());
}
