//! A device that says anything at all: nothing panics, and no token is told too early or twice.

use std::{collections::BTreeSet, time::Duration};

use dmaring_engine::{Engine, Outcome};
use proptest::{collection::vec, prelude::*};

use crate::fixture::*;

#[derive(Clone, Debug)]
enum Action {
    Enqueue,
    Fill(u8),
    Submit,
    Poll(usize),
    Recover,
    Word(u64),
    Status(u64),
    Errors(u32),
    Command(u8),
    Time(u64),
    Fence,
}

fn word() -> impl Strategy<Value = u64> {
    prop_oneof![
        any::<u64>(),
        Just(0),
        Just(u64::MAX),
        (0u64..10, 0u64..64).prop_map(|(index, low)| (RING - 64 + 64 * index) | low),
    ]
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        4 => Just(Action::Enqueue),
        1 => any::<u8>().prop_map(Action::Fill),
        3 => Just(Action::Submit),
        6 => (0usize..5).prop_map(Action::Poll),
        3 => Just(Action::Recover),
        4 => word().prop_map(Action::Word),
        2 => word().prop_map(Action::Status),
        1 => any::<u32>().prop_map(Action::Errors),
        1 => any::<u8>().prop_map(Action::Command),
        1 => (0u64..2000).prop_map(Action::Time),
        1 => Just(Action::Fence),
    ]
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
    fn whatever_the_device_says_no_token_is_told_unsubmitted_or_twice(
        fills in any::<bool>(),
        actions in vec(action(), 0..300),
    ) {
        let bench = Bench::new();
        bench.registers.set(DMACAPABILITY, 4, u64::from(fills) << 6);
        let mut channel = bench.running();
        let mut next = 0;
        let (mut enqueued, mut submitted) = (BTreeSet::new(), BTreeSet::new());
        for action in actions {
            match action {
                Action::Enqueue => {
                    if enqueue(&mut channel, next, &copy(0x1000, 0x2000, 64)).is_ok() {
                        enqueued.insert(next);
                        next += 1;
                    }
                }
                Action::Fill(pattern) => {
                    if enqueue(&mut channel, next, &fill(pattern.into(), 0x2000, 20_000)).is_ok() {
                        enqueued.insert(next);
                        next += 1;
                    }
                }
                Action::Submit => {
                    channel.submit();
                    submitted.append(&mut enqueued);
                }
                Action::Poll(places) => {
                    let mut completions = vec![NOTHING; places];
                    let count = channel.poll(&mut completions);
                    prop_assert!(count <= places);
                    for completion in &completions[..count] {
                        let token = completion.token.get();
                        let had = submitted.remove(&token);
                        // What was not submitted may be told as not run, once.
                        let unsubmitted = !had && enqueued.remove(&token);
                        prop_assert!(had || unsubmitted, "{completion:?}");
                        prop_assert!(had || completion.outcome == Outcome::NotRun);
                    }
                }
                Action::Recover => {
                    let _ = channel.recover();
                }
                Action::Word(word) => bench.memory.write(bench.word(), word),
                Action::Status(status) => bench.registers.set(CHANSTS, 8, status),
                Action::Errors(errors) => bench.registers.set(CHANERR, 4, errors.into()),
                Action::Command(command) => bench.registers.set(CHANCMD, 1, command.into()),
                Action::Time(milliseconds) => {
                    bench.time.advance(Duration::from_millis(milliseconds));
                }
                Action::Fence => {
                    let _ = channel.fence();
                }
            }
            prop_assert!(channel.room() <= 7);
        }
        // A device that behaves again is brought back, and then nothing is left untold.
        bench.registers.set(CHANSTS, 8, HALTED);
        bench.registers.set(CHANERR, 4, 0x100);
        bench.registers.set(CHANCMD, 1, 0);
        channel.submit();
        submitted.append(&mut enqueued);
        for _ in 0..40 {
            for (token, _) in poll(&mut channel) {
                prop_assert!(submitted.remove(&token));
            }
        }
        prop_assert_eq!(submitted.len(), 0);
    }
}
