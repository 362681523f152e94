//! The host asks for the function back: in every life of a channel it gets it, and each token is told once.

use std::{
    sync::{Arc, Mutex},
    task::Poll,
    time::Duration,
};

use dmaring_driver::{IoatChannel, ioat::Host};
use dmaring_engine::{Engine, Outcome, Status, StatusKind};

use crate::fixture::*;

const REQUESTED: Status = Status { kind: StatusKind::Requested, bits: 0 };
/// Enough polls for the host to be asked, and for a reset to follow.
const MANY: usize = 1000;

/// What the host wants, how often it was asked, and how often it was given the function.
#[derive(Clone, Debug, Default)]
pub(crate) struct Landlord(Arc<Mutex<(bool, usize, usize)>>);

impl Landlord {
    fn want(&self) {
        self.0.lock().unwrap().0 = true;
    }

    fn asked(&self) -> usize {
        self.0.lock().unwrap().1
    }

    fn given(&self) -> usize {
        self.0.lock().unwrap().2
    }
}

impl Host for Landlord {
    fn wants_it_back(&mut self) -> bool {
        let mut state = self.0.lock().unwrap();
        state.1 += 1;
        state.0
    }

    fn take_it(&mut self) {
        self.0.lock().unwrap().2 += 1;
    }
}

fn borrowed() -> (Bench, Landlord, IoatChannel<Registers>) {
    let host = Landlord::default();
    let bench = Bench { host: Some(host.clone()), ..Bench::new() };
    let channel = bench.running();
    (bench, host, channel)
}

/// Polls again and again while the time passes; stops once nothing more is to be told.
fn told(bench: &Bench, channel: &mut IoatChannel<Registers>) -> Vec<(u64, Outcome)> {
    let mut told = Vec::new();
    for _ in 0..MANY {
        told.append(&mut poll(channel));
        bench.time.advance(Duration::from_millis(1));
    }
    told
}

fn recovered(bench: &Bench, channel: &mut IoatChannel<Registers>) -> Result<(), Status> {
    for _ in 0..MANY {
        if let Poll::Ready(result) = channel.recover() {
            return result;
        }
        bench.time.advance(Duration::from_millis(1));
    }
    panic!("recovery does not end");
}

#[test]
fn what_is_done_is_done_one_fails_and_the_rest_is_not_run() {
    let (bench, host, mut channel) = borrowed();
    submit(&mut channel, 0..4);
    bench.complete(1, ACTIVE);
    bench.status(1, ACTIVE);
    assert_eq!(poll(&mut channel), [(0, Outcome::Done)]);
    // One more was done of which no word tells.
    bench.status(2, ACTIVE);
    host.want();
    let ends = told(&bench, &mut channel);
    let failed = Outcome::Failed(REQUESTED);
    assert_eq!(
        ends,
        [(1, Outcome::Done), (2, failed), (3, Outcome::NotRun)],
        "the reset channel says how far it came"
    );
    assert_eq!(host.given(), 1);
    assert_eq!(recovered(&bench, &mut channel), Err(REQUESTED));
    // Whatever is written from here on is somebody else's.
    bench.registers.writes();
    assert_eq!((channel.room(), recovered(&bench, &mut channel)), (0, Err(REQUESTED)));
    assert_eq!(told(&bench, &mut channel), []);
    assert!(channel.halt(Duration::ZERO).is_ok());
    // The host, which may still be at it, is there until the channel is dropped.
    let holders = Arc::strong_count(&host.0);
    drop(channel);
    assert_eq!(Arc::strong_count(&host.0), holders - 1);
    assert_eq!((host.given(), bench.registers.writes()), (1, vec![]));
}

#[test]
fn an_idle_channel_gives_its_function_away_and_runs_nothing_afterwards() {
    let (bench, host, mut channel) = borrowed();
    assert_eq!(told(&bench, &mut channel), []);
    assert_eq!(host.given(), 0);
    host.want();
    assert_eq!(told(&bench, &mut channel), []);
    assert_eq!(host.given(), 1);
    bench.registers.writes();
    submit(&mut channel, 0..3);
    let ends = told(&bench, &mut channel);
    assert_eq!(ends, [0, 1, 2].map(|token| (token, Outcome::NotRun)));
    assert_eq!(recovered(&bench, &mut channel), Err(REQUESTED));
    assert_eq!((channel.room(), bench.registers.writes()), (0, vec![]));
}

#[test]
fn nobody_is_asked_more_often_than_every_10_ms_nor_for_every_poll() {
    let (bench, host, mut channel) = borrowed();
    let before = host.asked();
    for _ in 0..10_000 {
        poll(&mut channel);
    }
    assert!(host.asked() - before <= 1, "{}", host.asked());
    for _ in 0..100 {
        bench.time.advance(Duration::from_millis(1));
        poll(&mut channel);
    }
    assert!(host.asked() - before <= 3, "100 polls are two questions: {}", host.asked());
    submit(&mut channel, 0..1);
    let before = host.asked();
    for _ in 0..100 {
        bench.time.advance(Duration::from_millis(1));
        poll(&mut channel);
    }
    assert!((8..=11).contains(&(host.asked() - before)), "{}", host.asked() - before);
}

#[test]
fn a_channel_that_failed_and_is_not_brought_back_gives_its_function_away() {
    let (bench, host, mut channel) = borrowed();
    submit(&mut channel, 0..3);
    bench.registers.set(CHANERR, 4, 0x200);
    bench.status(1, HALTED);
    bench.complete(1, HALTED);
    assert_eq!(poll_long(&mut channel).len(), 3);
    // The runtime has retired it: nobody calls recover.
    host.want();
    assert_eq!(told(&bench, &mut channel), []);
    assert_eq!((host.given(), channel.room()), (1, 0));
    assert_eq!(recovered(&bench, &mut channel), Err(REQUESTED));
}

#[test]
fn a_channel_that_did_not_come_back_gives_its_function_away() {
    let (bench, host, mut channel) = borrowed();
    submit(&mut channel, 0..1);
    bench.status(0, HALTED);
    bench.complete(0, HALTED);
    assert_eq!(poll_long(&mut channel).len(), 1);
    bench.registers.refuse(Refusals { reset: true, ..Refusals::default() });
    assert!(recovered(&bench, &mut channel).is_err());
    host.want();
    assert_eq!(told(&bench, &mut channel), []);
    assert_eq!((host.given(), channel.room()), (1, 0));
    assert!(bench.memory.is_mapped());
    drop(channel);
    assert!(bench.memory.is_mapped(), "the channel was not shown to have let go of its ring");
}

#[test]
fn a_channel_in_the_middle_of_its_recovery_is_not_brought_back() {
    let (bench, host, mut channel) = borrowed();
    submit(&mut channel, 0..2);
    bench.status(0, HALTED);
    bench.complete(0, HALTED);
    assert_eq!(poll_long(&mut channel).len(), 2);
    assert!(channel.recover().is_pending());
    host.want();
    // Each turn of a poller polls and steps.
    let mut last = Poll::Pending;
    for _ in 0..MANY {
        bench.time.advance(Duration::from_millis(1));
        assert_eq!(poll(&mut channel), []);
        if last.is_pending() {
            last = channel.recover();
        }
        if last == Poll::Ready(Ok(())) {
            last = Poll::Pending;
        }
    }
    assert_eq!(host.given(), 1);
    assert_eq!(recovered(&bench, &mut channel), Err(REQUESTED));
}

#[test]
fn a_channel_that_always_has_news_asks_as_well() {
    let (bench, host, mut channel) = borrowed();
    host.want();
    submit(&mut channel, 0..2);
    let mut told = Vec::new();
    for token in 2..200 {
        bench.time.advance(Duration::from_millis(1));
        if channel.room() > 0 {
            let index = (token - 1) % u64::from(bench.entries);
            bench.complete(index, ACTIVE);
            bench.status(index, ACTIVE);
        }
        told.append(&mut poll(&mut channel));
        if channel.room() > 0 {
            submit(&mut channel, token..token + 1);
        }
    }
    assert_eq!(host.given(), 1, "after {} transfers", told.len());
    assert!(told.len() > 10, "it was busy until then");
}

#[test]
fn a_function_that_is_gone_goes_back_as_well() {
    let host = Landlord::default();
    let bench = Bench { host: Some(host.clone()), with_config: true, ..Bench::new() };
    let mut channel = bench.running();
    submit(&mut channel, 0..2);
    bench.registers.unplug();
    host.want();
    let ends = told(&bench, &mut channel);
    assert_eq!(ends.iter().map(|(token, _)| *token).collect::<Vec<_>>(), [0, 1]);
    assert_eq!((host.given(), recovered(&bench, &mut channel)), (1, Err(REQUESTED)));
    drop(channel);
    assert!(!bench.memory.is_mapped(), "whoever answers no read makes no request either");
}

#[test]
fn a_channel_that_does_not_stop_keeps_its_function_until_it_does() {
    let (bench, host, mut channel) = borrowed();
    submit(&mut channel, 0..2);
    bench.registers.refuse(Refusals { suspend: true, reset: true, ..Refusals::default() });
    bench.status(0, ACTIVE);
    host.want();
    assert_eq!(told(&bench, &mut channel), []);
    assert_eq!(host.given(), 0);
    assert!(channel.stuck().is_some());
    bench.registers.refuse(Refusals::default());
    let ends = told(&bench, &mut channel);
    assert_eq!(ends, [(0, Outcome::Failed(REQUESTED)), (1, Outcome::NotRun)]);
    assert_eq!(host.given(), 1);
}
