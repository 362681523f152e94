//! Replays, a report at a time.

use std::time::Duration;

use dmaring_engine::{Iova, Token};
use dmaring_ring::{CompletionCode, Key};

use super::*;
use crate::{
    clock::ManualClock,
    poller::{
        Retirement,
        ops::{Addresses, Durable, Failure, Plan, Source},
    },
};

/// A line with operations of one part each, all of which the engine has.
struct Bench {
    line: Line,
    ops: Ops,
    ended: Vec<usize>,
    moved: Vec<usize>,
    counters: EngineCounters,
    clock: ManualClock,
    /// By operation, of the part that the engine was given last.
    tokens: [Option<Token>; 16],
}

impl Bench {
    fn new(operations: usize) -> Self {
        let retirement = Retirement { failures: 0, window: Duration::ZERO };
        let settings = LaneSettings { domain: 0, operations: 16, retirement };
        let capabilities = Capabilities {
            max_transfer: 64,
            depth: 16,
            fill: true,
            host_memory: false,
            streams_from: None,
            at_once: 0,
            reads_ahead: 0,
        };
        let mut bench = Self {
            line: Line::new(String::new(), capabilities, settings),
            ops: Ops::new(16),
            ended: Vec::new(),
            moved: Vec::new(),
            counters: EngineCounters::default(),
            clock: ManualClock::new(),
            tokens: [None; 16],
        };
        for _ in 0..operations {
            bench.push();
        }
        for op in 0..operations {
            assert_eq!(bench.feed(), Some(op));
        }
        bench
    }

    fn push(&mut self) {
        let index = self.ops.insert(Plan {
            port: 0,
            key: Key::default(),
            source: Source::Pattern(0),
            destination: (Key::default(), 0),
            length: 64,
            deadline: 0,
            retries: false,
            reach: Default::default(),
            durable: Durable::No,
        });
        let nowhere = Addresses { source: Iova::new(0), destination: Iova::new(0) };
        assert!(self.ops.get_mut(index).unwrap().route_to(0, 64, nowhere));
        self.line.push(index, 64);
    }

    fn turn<T>(&mut self, work: impl FnOnce(&mut Line, &mut Turn<'_>) -> T) -> T {
        let mut turn = Turn {
            ops: &mut self.ops,
            ended: &mut self.ended,
            moved: &mut self.moved,
            counters: &self.counters,
            clock: &self.clock,
            violations: 0,
            bytes: 0,
            progress: false,
            lost: false,
        };
        work(&mut self.line, &mut turn)
    }

    /// Gives the engine the next part, and says of which operation.
    fn feed(&mut self) -> Option<usize> {
        let index = self.line.queue.pop_front()?;
        let op = self.ops.get_mut(index).unwrap();
        let part = op.next_part().unwrap();
        self.tokens[index] = self.line.transfers.offer();
        self.line.transfers.keep(index, part.number);
        let again = op.part_taken(&part);
        self.turn(|line, turn| line.taken(index, again, turn));
        Some(index)
    }

    fn report(&mut self, op: usize, outcome: Outcome) {
        let token = self.tokens[op].unwrap();
        self.turn(|line, turn| line.account(&Completion { token, outcome }, turn));
    }

    fn recovered(&mut self) -> State {
        self.turn(Line::begin_replay);
        self.line.recovery.state()
    }
}

#[test]
fn an_engine_that_fails_in_the_middle_of_a_replay_loses_nothing_and_keeps_the_order() {
    let mut bench = Bench::new(4);
    bench.push();
    for op in 0..4 {
        bench.report(op, Outcome::NotRun);
    }
    assert_eq!(bench.recovered(), State::Replaying);
    assert_eq!(bench.line.queue, [0, 1, 2, 3, 4]);
    assert_eq!((bench.feed(), bench.feed()), (Some(0), Some(1)));
    assert_eq!(bench.line.recovery.state(), State::Replaying);
    bench.report(0, Outcome::Done);
    bench.report(1, Outcome::NotRun);
    assert_eq!(bench.line.recovery.state(), State::Resetting);
    assert_eq!(bench.recovered(), State::Replaying);
    assert_eq!(bench.line.queue, [1, 2, 3, 4]);
    for op in 1..4 {
        assert_eq!(bench.line.recovery.state(), State::Replaying, "{op} is to be replayed");
        assert_eq!(bench.feed(), Some(op));
    }
    assert_eq!(bench.line.recovery.state(), State::Running);
    assert_eq!(bench.feed(), Some(4));
    assert_eq!((bench.ended, bench.moved, bench.line.recovery.epoch().0), (vec![0], vec![], 2));
}

#[test]
fn what_is_forgotten_is_not_waited_for() {
    let mut bench = Bench::new(2);
    bench.report(0, Outcome::NotRun);
    bench.report(1, Outcome::NotRun);
    bench.recovered();
    bench.turn(|line, turn| line.forget(0, turn.ops));
    assert_eq!(bench.line.recovery.state(), State::Replaying);
    bench.turn(|line, turn| line.forget(1, turn.ops));
    assert_eq!((bench.line.recovery.state(), bench.line.is_idle()), (State::Running, true));
}

#[test]
fn a_replay_of_nothing_is_over() {
    let mut bench = Bench::new(2);
    bench.report(0, Outcome::NotRun);
    bench.report(1, Outcome::NotRun);
    for op in 0..2 {
        bench.ops.get_mut(op).unwrap().fail(Failure::of(CompletionCode::ABORTED));
    }
    assert_eq!(bench.recovered(), State::Running);
    assert!(bench.line.is_idle());
}
