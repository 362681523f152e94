//! A peer that writes entries into the ring.

use std::{
    task::{Context, Poll, Waker},
    time::Duration,
};

use dmaring_engine::{Status, StatusKind};
use dmaring_manual::{Control, ManualEngine};
use dmaring_ring::{Key, Opcode, SubmissionEntry, submission};
use futures::{FutureExt, executor::block_on};

use crate::{Copy, ErrorKind, Idle, Region, Runtime, client::RingPair, region::eventually};

fn is_pending(copy: &mut Copy) -> bool {
    matches!(copy.poll_unpin(&mut Context::from_waker(Waker::noop())), Poll::Pending)
}

/// Writes a fill of `region` into the ring, with a key of one's own choice.
fn push(region: &Region, key: Key, length: u64) {
    push_naming(region, region.0.key, key, length);
}

/// The same, of the region with the key `destination`.
fn push_naming(region: &Region, destination: Key, key: Key, length: u64) {
    let entry = SubmissionEntry {
        opcode: Opcode::FILL,
        destination,
        length,
        key,
        ..SubmissionEntry::default()
    };
    let shared = &region.0.shared;
    let pair = &shared.client.pair;
    submission::push(pair.header(), pair.submission_slots(), &[entry]).unwrap();
    shared.nudge_poller();
}

/// A runtime on an engine that holds everything, and a poller that goes on turning.
fn held(entries: u32) -> (Runtime, Control) {
    let (engine, control) = ManualEngine::new();
    let idle = Idle::Adaptive { spin: Duration::ZERO, park_after: Duration::from_secs(60) };
    let builder = Runtime::builder().engine(engine).idle(idle).ring_entries(entries);
    (builder.build().unwrap(), control)
}

/// The key of the one operation in flight.
fn key_in_flight(region: &Region) -> Key {
    let inflight = &region.0.shared.client.inflight;
    let keys = inflight.slots().filter_map(|(index, slot)| {
        inflight.current_key(index).filter(|&key| slot.is_in_flight(key))
    });
    keys.last().unwrap()
}

#[test]
fn one_that_would_be_carried_out_at_once_is_refused_under_the_key_of_one_under_way() {
    let (engine, control) = ManualEngine::builder().at_once(64).build();
    let idle = Idle::Adaptive { spin: Duration::ZERO, park_after: Duration::from_secs(60) };
    let runtime = Runtime::builder().engine(engine).idle(idle).ring_entries(8).build().unwrap();
    let [region, other] = [(); 2].map(|()| runtime.allocate(4096).unwrap());
    control.release();
    assert_eq!(block_on(region.fill(0, 64, 1)).unwrap(), 64);
    control.hold();
    let run = control.run();
    assert_eq!(run, 1);
    let mut copy = region.copy(0, 128, 65).submit();
    control.wait_for_submitted(1);
    let key = key_in_flight(&region);
    for _ in 0..7 {
        push(&other, key, 64);
    }
    eventually("the refusals", || runtime.stats().violations == 7);
    turns(&control);
    assert!(is_pending(&mut copy));
    assert_eq!((control.run(), control.submitted()), (run, 1));
    // Under a key that is not in flight it is carried out, and told to nobody.
    let vacant = other.0.shared.client.inflight.current_key(7).unwrap();
    push(&other, vacant, 64);
    eventually("its end", || runtime.stats().completed == 2);
    reap_all(&runtime);
    assert_eq!(control.run(), 2);
    control.release();
    assert_eq!(block_on(copy).unwrap(), 65);
    assert_eq!((runtime.stats().violations, control.violations()), (7, vec![]));
}

/// The key that the next operation will have, after one that has ended: the slot that was freed last is taken first.
fn next_key(region: &Region, control: &Control) -> Key {
    let copy = region.copy(0, 64, 64).submit();
    control.wait_for_submitted(1);
    let key = key_in_flight(region);
    control.complete_all();
    assert_eq!(block_on(copy).unwrap(), 64);
    Key { generation: key.generation + 1, ..key }
}

/// Has what was posted before reaped. The poller ends the second region in a later turn than the first, and publishes after each.
fn reap_all(runtime: &Runtime) {
    for _ in 0..2 {
        block_on(runtime.allocate(4096).unwrap().close()).unwrap();
    }
    runtime.shared().client.reap();
}

/// So many turns that the poller has looked at what was ordered.
fn turns(control: &Control) {
    control.wait_for_polls(200);
}

#[test]
fn an_entry_with_the_key_of_one_under_way_is_refused_and_ends_nothing() {
    let (runtime, control) = held(8);
    let [region, other] = [(); 2].map(|()| runtime.allocate(4096).unwrap());
    let mut copy = region.copy(0, 64, 64).submit();
    control.wait_for_submitted(1);
    let key = key_in_flight(&region);
    // One that would be carried out, one that would be refused.
    push(&other, key, 64);
    push(&other, key, 0);
    // One whose slot there is not.
    push(&other, Key { index: u32::MAX, generation: 1 }, 64);
    eventually("the refusals", || runtime.stats().violations == 3);
    turns(&control);
    assert!(is_pending(&mut copy));
    assert_eq!((control.submitted(), runtime.stats().submitted), (1, 1));
    // One of another life of the slot is carried out beside it, and told to nobody.
    push(&other, Key { generation: key.generation + 1, ..key }, 64);
    control.wait_for_submitted(2);
    control.complete_last();
    eventually("its end", || runtime.stats().completed == 1);
    // Its leaving is not that of the other.
    push(&other, key, 64);
    eventually("the refusals", || runtime.stats().violations == 5);
    turns(&control);
    assert!(is_pending(&mut copy));
    drop(region);
    turns(&control);
    assert_eq!(control.domain().live(), 2, "the engine is at it");
    control.release();
    assert_eq!(block_on(copy).unwrap(), 64);
    for _ in 0..100 {
        assert_eq!(block_on(other.copy(0, 64, 64)).unwrap(), 64);
    }
    assert_eq!((runtime.stats().violations, control.violations()), (5, vec![]));
}

/// No slot holds the region, and nobody has a handle of it.
#[test]
fn memory_stays_for_what_a_peer_asked_for_too() {
    let (runtime, control) = held(8);
    let [region, other] = [(); 2].map(|()| runtime.allocate(4096).unwrap());
    let vacant = region.0.shared.client.inflight.current_key(7).unwrap();
    push(&other, vacant, 64);
    control.wait_for_submitted(1);
    let gone = other.0.key;
    drop(other);
    turns(&control);
    assert_eq!(control.domain().live(), 2, "the engine is at it");
    assert_eq!(control.complete_all(), 1);
    eventually("the unmapping", || control.domain().live() == 1);
    // It is gone: an entry that names it is refused.
    let shared = &region.0.shared;
    assert_eq!(shared.regions.facts(gone), None);
    push_naming(&region, gone, vacant, 64);
    eventually("the refusal", || runtime.stats().failed == 1);
    assert_eq!((control.submitted(), runtime.stats().violations), (0, 0));
    assert_eq!(control.violations(), vec![]);
}

#[test]
fn one_with_a_key_that_is_not_in_flight_is_told_to_nobody() {
    let (runtime, control) = held(8);
    let region = runtime.allocate(4096).unwrap();
    control.release();
    let inflight = &region.0.shared.client.inflight;
    for index in [0, 7] {
        // That which the slot's next life has, and those of earlier ones.
        let key = inflight.current_key(index).unwrap();
        for generation in [key.generation, key.generation.wrapping_sub(1)] {
            let before = runtime.stats().completed;
            push(&region, Key { generation, ..key }, 64);
            eventually("its end", || runtime.stats().completed > before);
            // It is reaped before the slot is used.
            reap_all(&runtime);
        }
    }
    // The slots are as before.
    for _ in 0..20 {
        assert_eq!(block_on(region.copy(0, 64, 64)).unwrap(), 64);
    }
    assert_eq!((runtime.stats().violations, control.violations()), (0, vec![]));
}

#[test]
fn an_honest_one_is_carried_out_beside_a_peers_at_its_slot() {
    let (runtime, control) = held(8);
    let [region, other] = [(); 2].map(|()| runtime.allocate(4096).unwrap());
    let key = next_key(&region, &control);
    push(&other, Key { generation: key.generation + 5, ..key }, 64);
    control.wait_for_submitted(1);
    let copy = region.copy(0, 64, 64).submit();
    control.wait_for_submitted(2);
    assert_eq!((key_in_flight(&region), runtime.stats().violations), (key, 1));
    control.complete_last();
    assert_eq!(block_on(copy).unwrap(), 64);
    control.complete_all();
    eventually("the peer's", || runtime.stats().completed == 3);
    control.release();
    assert_eq!(block_on(region.copy(0, 64, 64)).unwrap(), 64);
    assert_eq!((runtime.stats().violations, control.violations()), (1, vec![]));
}

/// The peer has guessed the key that an honest operation is going to have.
#[test]
fn an_honest_one_whose_key_was_guessed_resolves() {
    let (runtime, control) = held(8);
    let [region, other] = [(); 2].map(|()| runtime.allocate(4096).unwrap());
    let key = next_key(&region, &control);
    push(&other, key, 64);
    control.wait_for_submitted(1);
    let mut copy = region.copy(0, 64, 64).submit();
    eventually("the refusal", || runtime.stats().violations == 1);
    assert_eq!(key_in_flight(&region), key);
    assert!(is_pending(&mut copy));
    control.complete_all();
    assert_eq!(block_on(copy).unwrap(), 64, "what the peer's became");
    assert_eq!(control.violations(), vec![]);
}

/// The same, and a lost engine keeps the peer's, whose end may never come.
#[test]
fn an_honest_one_whose_key_was_guessed_resolves_though_the_peers_never_ends() {
    let (runtime, control) = held(8);
    let [region, other] = [(); 2].map(|()| runtime.allocate(4096).unwrap());
    let key = next_key(&region, &control);
    push(&other, key, 64);
    control.wait_for_submitted(1);
    control.set_stuck(Some(Status { kind: StatusKind::Hang, bits: 0 }));
    // It is told early, before the key is in flight.
    eventually("the loss", || runtime.stats().engines[0].lost);
    reap_all(&runtime);
    let copy = region.copy(0, 64, 64).submit();
    assert_eq!(block_on(copy).unwrap_err().kind(), ErrorKind::EngineLost);
    assert_eq!(runtime.stats().violations, 1);
    // Its region's memory stays as long as it does.
    drop((other, region));
    eventually("the unmapping", || control.domain().live() == 1);
    control.complete_all();
    eventually("its end", || runtime.stats().in_flight == 0);
    assert_eq!(control.violations(), vec![]);
}

#[test]
fn slots_beyond_the_first_ones_are_known_too() {
    let (engine, control) = ManualEngine::new();
    control.release();
    let runtime = Runtime::builder().engine(engine).ring_entries(2).build().unwrap();
    let region = runtime.allocate(4096).unwrap();
    // Results that nobody claims: each has a slot.
    let unclaimed: Vec<_> = (0..300).map(|_| region.copy(0, 64, 64).submit()).collect();
    eventually("their ends", || {
        region.0.shared.client.reap();
        runtime.stats().completed == 300
    });
    for copy in unclaimed {
        assert_eq!(block_on(copy).unwrap(), 64);
    }
    assert_eq!(runtime.stats().violations, 0);
}
