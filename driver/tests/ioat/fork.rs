//! A child after fork has the parent's channel, and leaves it alone.

use std::{task::Poll, time::Duration};

use dmaring_engine::{Engine, HaltError};

use crate::{
    fixture::{Bench, IDLE, poll, submit},
    forking::in_child,
};

#[test]
fn a_channel_that_a_child_drops_runs_on() {
    let bench = Bench::new();
    let mut channel = Some(bench.running());
    submit(channel.as_mut().unwrap(), 0..2);
    bench.registers.writes();
    in_child(|| {
        drop(channel.take());
        assert_eq!(bench.registers.writes(), [], "nothing is written to the parent's channel");
        assert!(bench.memory.is_mapped(), "the parent's ring stays mapped");
    });
    let mut channel = channel.unwrap();
    bench.complete(2, IDLE);
    assert_eq!(poll(&mut channel).len(), 2);
    drop(channel);
    assert!(!bench.memory.is_mapped());
    assert_ne!(bench.registers.writes(), [], "the parent's drop resets it");
}

#[test]
fn the_ring_of_a_stopped_channel_stays_mapped_when_a_child_drops_it() {
    let bench = Bench::new();
    let mut channel = bench.running();
    channel.halt(Duration::from_secs(1)).unwrap();
    let mut channel = Some(channel);
    in_child(|| {
        drop(channel.take());
        assert!(bench.memory.is_mapped());
    });
    drop(channel);
    assert!(!bench.memory.is_mapped());
}

#[test]
fn a_child_neither_halts_nor_recovers_the_parents_channel() {
    let bench = Bench::new();
    let mut channel = bench.running();
    in_child(|| {
        assert!(matches!(channel.halt(Duration::from_secs(1)), Err(HaltError { .. })));
        assert!(matches!(channel.recover(), Poll::Ready(Err(_))));
        assert_eq!(bench.registers.writes(), []);
    });
    channel.halt(Duration::from_secs(1)).unwrap();
}

#[test]
fn a_child_may_start_a_channel_of_its_own() {
    let bench = Bench::new();
    let _parents = bench.running();
    in_child(|| {
        let own = Bench::new();
        let mut channel = own.running();
        submit(&mut channel, 0..1);
        own.complete(1, IDLE);
        assert_eq!(poll(&mut channel).len(), 1);
        drop(channel);
        assert!(!own.memory.is_mapped());
    });
}
