use std::collections::VecDeque;

use dmaring_engine::{Completion, Outcome, Status, StatusKind, Token};
use proptest::{collection::vec, prelude::*};

use super::{Ring, Violation};

const BASE: u64 = 0x7000;
const FAILED: Status = Status { kind: StatusKind::Read, bits: 0x100 };
const NOTHING: Completion = Completion { token: Token::new(u64::MAX), outcome: Outcome::NotRun };

fn ring(length: u32, start: u64) -> Ring {
    let mut ring = Ring::new(BASE, length);
    ring.rebase(start);
    ring
}

fn token(value: u64) -> Option<Token> {
    Some(Token::new(value))
}

fn done(value: u64) -> Completion {
    Completion { token: Token::new(value), outcome: Outcome::Done }
}

#[test]
fn a_new_ring_is_closed_until_its_first_rebase() {
    let mut ring = Ring::new(BASE, 8);
    assert_eq!((ring.room(), ring.push(token(0))), (0, None));
    ring.rebase(1);
    assert_eq!((ring.room(), ring.push(token(0))), (7, Some(1)));
}

#[test]
fn completion_addresses_typed_by_hand() {
    let mut ring = ring(8, 1);
    for value in 0..5 {
        assert_eq!(ring.push(token(value)), Some(value as usize + 1));
    }
    // Pushed is not submitted: no address completes anything yet, and index 0 completed last.
    assert_eq!(ring.complete(0x7040), Err(Violation));
    assert_eq!(ring.complete(0x7000), Ok(false));
    assert_eq!(ring.submit(), 6);
    assert_eq!(ring.complete(0), Ok(false));
    assert_eq!(ring.complete(0x70c0), Ok(true));
    assert_eq!(ring.completed(), 4);
    for outside in [0x6fc0, 0x7200, 0x7060, 0x7020, 0x7080, 0x7180, 0x7040, u64::MAX, 1] {
        assert_eq!(ring.complete(outside), Err(Violation), "{outside:#x}");
    }
    assert_eq!(ring.complete(0x70c0), Ok(false));
    assert_eq!(ring.completed(), 4);
    let mut places = [NOTHING; 2];
    assert_eq!(ring.reap(&mut places), 2);
    assert_eq!(places, [done(0), done(1)]);
    assert_eq!(ring.reap(&mut places), 1);
    assert_eq!(places[0], done(2));
    assert_eq!((ring.reap(&mut places), ring.room()), (0, 5));
}

#[test]
fn a_full_ring_that_completes_is_told_from_one_that_does_not() {
    let mut ring = ring(4, 0);
    for value in 0..3 {
        ring.push(token(value)).unwrap();
    }
    assert_eq!(ring.push(token(3)), None);
    ring.submit();
    // Index 3 is the one before the first.
    assert_eq!(ring.complete(BASE + 3 * 64), Ok(false));
    assert_eq!(ring.complete(BASE + 2 * 64), Ok(true));
    assert_eq!(ring.reap(&mut [NOTHING; 4]), 3);
}

#[test]
fn dmacount_wraps_at_sixteen_bits() {
    let mut ring = ring(8, 65_534);
    for expected in [65_535, 0, 1, 2] {
        let index = ring.push(token(7)).unwrap();
        assert_eq!(ring.submit(), expected);
        assert_eq!(ring.complete(BASE + 64 * index as u64), Ok(true));
        assert_eq!(ring.reap(&mut [NOTHING]), 1);
    }
}

#[test]
fn a_verdict_tells_every_token_once() {
    // Two done, a transfer of three descriptors in progress, one behind it, one not submitted.
    let mut ring = ring(16, 0);
    for tokens in [token(0), token(1), None, None, token(2), token(3)] {
        ring.push(tokens).unwrap();
    }
    ring.submit();
    ring.push(token(4)).unwrap();
    ring.complete(BASE + 2 * 64).unwrap();
    let verdict = ring.blame_first(FAILED).unwrap();
    ring.close();
    assert_eq!((ring.room(), ring.push(token(5))), (0, None));

    let mut told = Vec::new();
    let mut places = [NOTHING; 2];
    while ring.has_unreported() {
        let count = ring.reap_stopped(&verdict, &mut places);
        told.extend(places.iter().take(count).map(|end| (end.token.get(), end.outcome)));
    }
    let failed = Outcome::Failed(FAILED);
    let not_run = Outcome::NotRun;
    let expected =
        [(0, Outcome::Done), (1, Outcome::Done), (2, failed), (3, not_run), (4, not_run)];
    assert_eq!(told, expected);
    assert_eq!(ring.reap_stopped(&verdict, &mut places), 0);
}

#[test]
fn nobody_is_blamed_when_the_device_had_nothing() {
    let mut ring = ring(8, 0);
    assert_eq!(ring.blame_first(FAILED), None);
    ring.push(None).unwrap();
    ring.submit();
    ring.push(token(0)).unwrap();
    assert_eq!(ring.blame_first(FAILED), None);
    let verdict = ring.blame_none(FAILED);
    let mut places = [NOTHING; 2];
    assert_eq!(ring.reap_stopped(&verdict, &mut places), 1);
    assert_eq!(places[0], Completion { token: Token::new(0), outcome: Outcome::NotRun });
}

#[test]
fn a_ring_that_stands_idle_has_room_and_keeps_what_is_done() {
    let mut ring = ring(4, 0);
    ring.push(token(0)).unwrap();
    ring.submit();
    ring.complete(BASE).unwrap();
    ring.push(None).unwrap();
    ring.push(None).unwrap();
    ring.submit();
    ring.close();
    assert!(!ring.has_waiting() && ring.has_unreported());
    ring.stand_idle();
    let mut places = [NOTHING; 2];
    assert_eq!((ring.reap(&mut places), places[0]), (1, done(0)));
    assert_eq!(ring.room(), 3);
    ring.push(token(1)).unwrap();
    assert!(ring.has_waiting());
}

#[derive(Clone, Debug)]
enum Action {
    /// A transfer of so many descriptors.
    Push(usize),
    Submit,
    /// The device completes up to so many.
    Complete(usize),
    Reap(usize),
    /// The device names any address.
    Lie(u64),
}

fn actions() -> impl Strategy<Value = Vec<Action>> {
    let lie = prop_oneof![any::<u64>(), (0u64..0x40).prop_map(|line| BASE - 0x200 + line * 64)];
    let action = prop_oneof![
        4 => (1usize..4).prop_map(Action::Push),
        3 => Just(Action::Submit),
        3 => (1usize..8).prop_map(Action::Complete),
        3 => (0usize..6).prop_map(Action::Reap),
        1 => lie.prop_map(Action::Lie),
    ];
    vec(action, 0..200)
}

/// What the ring is: queues of descriptors, each with its index and token.
#[derive(Debug, Default)]
struct Model {
    next: u64,
    pushed: VecDeque<(u64, Option<u64>)>,
    submitted: VecDeque<(u64, Option<u64>)>,
    completed: VecDeque<(u64, Option<u64>)>,
    count: u16,
}

/// Cases as proptest has them; few under Miri, which is slow.
fn cases() -> ProptestConfig {
    let config = ProptestConfig::default();
    let cases = if cfg!(miri) { 4 } else { config.cases };
    ProptestConfig { cases, ..config }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn the_ring_does_what_queues_do(
        log2 in 2u32..5,
        start in prop_oneof![0u64..20, 65_500u64..65_536, 131_000u64..131_072],
        actions in actions(),
    ) {
        let length = 1u32 << log2;
        let mut ring = ring(length, start);
        let mut model = Model { count: start as u16, ..Model::default() };
        let mut last = (start + u64::from(length) - 1) % u64::from(length);
        let mut position = start;
        for action in actions {
            match action {
                Action::Push(descriptors) => {
                    let used = model.pushed.len() + model.submitted.len() + model.completed.len();
                    prop_assert_eq!(ring.room() as usize, length as usize - 1 - used);
                    if ring.room() < descriptors as u64 {
                        continue;
                    }
                    for left in (0..descriptors).rev() {
                        let value = (left == 0).then_some(model.next);
                        let index = position % u64::from(length);
                        prop_assert_eq!(ring.push(value.map(Token::new)), Some(index as usize));
                        model.pushed.push_back((index, value));
                        position += 1;
                    }
                    model.next += 1;
                }
                Action::Submit => {
                    model.count = model.count.wrapping_add(model.pushed.len() as u16);
                    model.submitted.append(&mut model.pushed);
                    prop_assert_eq!(ring.submit(), model.count);
                }
                Action::Complete(descriptors) => {
                    for _ in 0..descriptors.min(model.submitted.len()) {
                        let first = model.submitted.pop_front().unwrap();
                        last = first.0;
                        model.completed.push_back(first);
                    }
                    prop_assert!(ring.complete(BASE + last * 64).is_ok());
                }
                Action::Reap(places) => {
                    let mut completions = vec![NOTHING; places];
                    let count = ring.reap(&mut completions);
                    let mut expected = Vec::new();
                    while let Some(&(_, value)) = model.completed.front() {
                        if value.is_some() && expected.len() == places {
                            break;
                        }
                        expected.extend(value.map(done));
                        model.completed.pop_front();
                    }
                    prop_assert_eq!(&completions[..count], &expected[..]);
                }
                Action::Lie(address) => {
                    let named = model.submitted.iter().position(|d| BASE + d.0 * 64 == address);
                    let harmless = address == 0 || address == BASE + last * 64;
                    match (ring.complete(address), named) {
                        (Ok(true), Some(at)) => {
                            last = model.submitted[at].0;
                            model.completed.extend(model.submitted.drain(..=at));
                        }
                        (Ok(false), None) => prop_assert!(harmless),
                        (Err(Violation), None) => prop_assert!(!harmless),
                        (answer, named) => prop_assert!(false, "{:?} {:?}", answer, named),
                    }
                }
            }
            prop_assert_eq!(ring.is_busy(), !model.submitted.is_empty());
            prop_assert_eq!(ring.last_unsubmitted().is_some(), !model.pushed.is_empty());
        }
    }
}
