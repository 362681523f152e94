//! The manual engine keeps the contract of the seam, and catches a runtime that does not.
#![allow(unsafe_code, reason = "maps buffers and enqueues transfers as the runtime would")]

use std::{
    ptr::NonNull,
    sync::{Arc, Mutex},
    task::Poll,
    thread,
    time::Duration,
};

use dmaring_engine::{
    Completion, DmaMap, Engine, EnqueueError, HaltError, Iova, MapError, Operation, Outcome,
    Rights, Status, StatusKind, Token, Transfer,
};
use dmaring_manual::{Control, ManualDomain, ManualEngine, Order, Recovery, Violation};

const BAD: Status = Status { kind: StatusKind::Read, bits: 0x10 };
const NOTHING: Completion = Completion { token: Token::new(0), outcome: Outcome::NotRun };

/// A buffer that lives as long as the test process, so that every mapping of it is sound.
struct Buffer {
    start: NonNull<u8>,
    length: usize,
}

/// The memory of all buffers.
static KEPT: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

impl Buffer {
    fn new(length: usize, byte: u8) -> Self {
        let mut memory = vec![byte; length];
        let start = NonNull::new(memory.as_mut_ptr()).unwrap();
        KEPT.lock().unwrap().push(memory);
        Self { start, length }
    }

    fn iova(&self) -> Iova {
        Iova::new(self.start.as_ptr().addr() as u64)
    }

    fn bytes(&self) -> Vec<u8> {
        // SAFETY: the buffer is never freed, and the tests read it on the thread that completes
        // transfers.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.length) }.to_vec()
    }
}

fn map(domain: &ManualDomain, buffer: &Buffer, rights: Rights) -> Result<Iova, MapError> {
    // SAFETY: buffers are never freed.
    unsafe { domain.map(buffer.start, buffer.length, rights) }
}

fn unmap(domain: &ManualDomain, buffer: &Buffer) -> Result<(), MapError> {
    // SAFETY: buffers are never freed; calls that break the rule on purpose test that the domain
    // records it.
    unsafe { domain.unmap(buffer.iova(), buffer.length) }
}

fn enqueue(engine: &mut ManualEngine, token: u64, transfer: &Transfer) -> Result<(), EnqueueError> {
    // SAFETY: buffers are never freed; transfers that break the rule on purpose are never carried
    // out.
    unsafe { engine.enqueue(Token::new(token), transfer) }
}

fn poll(engine: &mut ManualEngine) -> Vec<(u64, Outcome)> {
    let mut ends = [NOTHING; 64];
    let count = engine.poll(&mut ends);
    ends[..count].iter().map(|end| (end.token.get(), end.outcome)).collect()
}

fn copy(source: &Buffer, destination: &Buffer, length: u64) -> Transfer {
    Transfer {
        operation: Operation::Copy { source: source.iova() },
        destination: destination.iova(),
        length,
    }
}

struct Bench {
    engine: ManualEngine,
    control: Control,
    source: Buffer,
    destination: Buffer,
}

/// An engine of depth 8 with a source of sevens and a destination of zeros, both mapped.
fn bench() -> Bench {
    let (engine, control) = ManualEngine::builder().depth(8).max_transfer(4096).build();
    let (source, destination) = (Buffer::new(64, 7), Buffer::new(64, 0));
    map(&control.domain(), &source, Rights::Read).unwrap();
    map(&control.domain(), &destination, Rights::ReadWrite).unwrap();
    Bench { engine, control, source, destination }
}

impl Bench {
    /// Enqueues `count` copies with tokens 100, 101, .. and rings the doorbell.
    fn submit(&mut self, count: u64) {
        for token in 100..100 + count {
            let transfer = copy(&self.source, &self.destination, 8);
            enqueue(&mut self.engine, token, &transfer).unwrap();
        }
        self.engine.submit();
    }
}

#[test]
fn nothing_moves_before_the_test_says_so() {
    let mut bench = bench();
    let transfer = copy(&bench.source, &bench.destination, 64);
    enqueue(&mut bench.engine, 1, &transfer).unwrap();
    assert_eq!((bench.control.enqueued(), bench.control.submitted()), (1, 0));
    assert_eq!(bench.control.complete_next(), None);

    bench.engine.submit();
    bench.engine.submit();
    assert_eq!((bench.control.enqueued(), bench.control.submitted()), (0, 1));
    assert_eq!(bench.control.doorbells(), 1);
    assert_eq!(poll(&mut bench.engine), []);
    assert_eq!(bench.destination.bytes(), [0; 64]);

    let ticket = bench.control.complete_next().unwrap();
    assert_eq!((ticket.serial, ticket.token, ticket.transfer), (0, Token::new(1), transfer));
    assert_eq!(bench.destination.bytes(), [7; 64]);
    assert_eq!(poll(&mut bench.engine), [(1, Outcome::Done)]);
    assert_eq!(poll(&mut bench.engine), []);
    assert_eq!(bench.control.polls(), 3);
    unmap(&bench.control.domain(), &bench.destination).unwrap();
    assert_eq!(bench.control.violations(), [], "a transfer that has ended uses nothing");
}

#[test]
fn a_fill_repeats_the_pattern_from_the_first_byte_and_cuts_the_last() {
    let mut bench = bench();
    let destination = Iova::new(bench.destination.iova().get() + 3);
    let operation = Operation::Fill { pattern: 0x0807_0605_0403_0201 };
    enqueue(&mut bench.engine, 1, &Transfer { operation, destination, length: 11 }).unwrap();
    bench.engine.submit();
    bench.control.complete(0);
    let bytes = bench.destination.bytes();
    assert_eq!(bytes[..15], [0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 0]);
}

#[test]
fn transfers_end_in_the_order_the_test_chooses() {
    let mut bench = bench();
    bench.submit(4);
    bench.control.complete_last();
    bench.control.complete(1);
    bench.control.fail_next(BAD);
    assert_eq!(bench.control.outstanding().iter().map(|t| t.serial).collect::<Vec<_>>(), [2]);
    bench.control.fail(2, BAD);
    assert_eq!(
        poll(&mut bench.engine),
        [
            (103, Outcome::Done),
            (101, Outcome::Done),
            (100, Outcome::Failed(BAD)),
            (102, Outcome::Failed(BAD))
        ]
    );
    assert_eq!(bench.engine.room(), 8, "failed transfers do not stop the channel");
}

#[test]
fn room_counts_until_an_end_is_reported() {
    let mut bench = bench();
    bench.submit(8);
    let transfer = copy(&bench.source, &bench.destination, 8);
    assert_eq!(enqueue(&mut bench.engine, 9, &transfer), Err(EnqueueError::Full));
    assert_eq!(bench.control.complete_all(), 8);
    assert_eq!(bench.engine.room(), 0);
    let mut ends = [NOTHING; 3];
    assert_eq!(bench.engine.poll(&mut ends), 3);
    assert_eq!(bench.engine.room(), 3);
    assert_eq!(poll(&mut bench.engine).len(), 5);
    assert_eq!(bench.engine.room(), 8);
}

#[test]
fn what_the_engine_cannot_do_is_refused_without_a_trace() {
    let (mut engine, control) =
        ManualEngine::builder().max_transfer(4096).fill(false).name("m0").build();
    let destination = Iova::new(0x1000);
    let copy = |length| {
        let operation = Operation::Copy { source: Iova::new(0x9000) };
        Transfer { operation, destination, length }
    };
    let fill = Transfer { operation: Operation::Fill { pattern: 1 }, destination, length: 8 };
    let too_long = Err(EnqueueError::TooLong { max: 4096 });
    assert_eq!(enqueue(&mut engine, 1, &copy(0)), too_long);
    assert_eq!(enqueue(&mut engine, 1, &copy(4097)), too_long);
    assert_eq!(enqueue(&mut engine, 1, &fill), Err(EnqueueError::Unsupported));
    assert_eq!((control.enqueued(), engine.room(), engine.name()), (0, 64, "m0"));
}

#[test]
fn a_failed_channel_does_what_came_before_and_runs_nothing_behind() {
    let mut bench = bench();
    bench.submit(4);
    let transfer = copy(&bench.source, &bench.destination, 8);
    enqueue(&mut bench.engine, 104, &transfer).unwrap();
    bench.control.set_recovery(Recovery::Succeeds { steps: 2 });
    bench.control.fail_channel(1, BAD);
    assert_eq!(bench.engine.room(), 0);
    assert_eq!(bench.engine.recover(), Poll::Pending, "ends come before the first step");
    assert_eq!(
        poll(&mut bench.engine),
        [
            (100, Outcome::Done),
            (101, Outcome::Failed(BAD)),
            (102, Outcome::NotRun),
            (103, Outcome::NotRun),
            (104, Outcome::NotRun)
        ]
    );
    assert_eq!(enqueue(&mut bench.engine, 9, &transfer), Err(EnqueueError::Full));
    assert_eq!(bench.engine.recover(), Poll::Pending);
    assert_eq!(bench.engine.recover(), Poll::Pending);
    assert_eq!(bench.engine.recover(), Poll::Ready(Ok(())));
    assert_eq!(bench.engine.room(), 8);
}

#[test]
fn a_lost_engine_stays_lost() {
    let mut bench = bench();
    bench.submit(1);
    bench.control.set_recovery(Recovery::Fails { steps: 0, status: BAD });
    bench.control.fail_channel(0, BAD);
    poll(&mut bench.engine);
    assert_eq!(bench.engine.recover(), Poll::Ready(Err(BAD)));
    assert_eq!(bench.engine.recover(), Poll::Ready(Err(BAD)));
    assert_eq!(bench.engine.room(), 0);
}

#[test]
fn automatic_mode_ends_everything_in_order_or_some_of_it_in_disorder() {
    let mut first = bench();
    first.control.release();
    first.submit(5);
    let tokens: Vec<u64> = poll(&mut first.engine).iter().map(|end| end.0).collect();
    assert_eq!(tokens, [100, 101, 102, 103, 104]);
    first.control.hold();
    first.submit(1);
    assert_eq!(poll(&mut first.engine), []);

    let run = |seed| {
        let mut bench = bench();
        bench.control.set_auto_order(Order::Random { seed });
        bench.control.set_auto(true);
        bench.submit(8);
        let mut tokens = Vec::new();
        while tokens.len() < 8 {
            let ends = poll(&mut bench.engine);
            assert!(!ends.is_empty());
            tokens.extend(ends.iter().map(|end| end.0));
        }
        tokens
    };
    let mut tokens = run(1);
    assert_eq!(tokens, run(1), "a seed determines the order");
    assert_ne!(tokens, run(2));
    tokens.sort_unstable();
    assert_eq!(tokens, (100..108).collect::<Vec<_>>());
}

#[test]
fn after_halt_or_drop_nothing_is_touched() {
    let mut halted = bench();
    halted.submit(2);
    halted.control.refuse_halt(BAD);
    assert_eq!(halted.engine.halt(Duration::ZERO), Err(HaltError { status: BAD }));
    assert_eq!(halted.control.submitted(), 2, "a refused halt changes nothing");
    halted.control.allow_halt();
    assert_eq!(halted.engine.halt(Duration::ZERO), Ok(()));
    assert!(halted.control.halted());
    assert_eq!((halted.control.complete_next(), halted.engine.room()), (None, 0));

    let mut dropped = bench();
    dropped.submit(2);
    drop(dropped.engine);
    assert!(dropped.control.dropped());
    dropped.control.wait_for_stop();
    assert_eq!(dropped.control.complete_all(), 0);
    assert_eq!(dropped.destination.bytes(), [0; 64]);
    unmap(&dropped.control.domain(), &dropped.destination).unwrap();
    assert_eq!(dropped.control.violations(), [], "an abandoned transfer uses nothing");
}

#[test]
fn a_wait_ends_when_another_thread_submits() {
    let Bench { mut engine, control, source, destination } = bench();
    let transfer = copy(&source, &destination, 8);
    let poller = thread::spawn(move || {
        enqueue(&mut engine, 5, &transfer).unwrap();
        engine.submit();
        loop {
            if let [end] = poll(&mut engine)[..] {
                return end;
            }
            thread::yield_now();
        }
    });
    let tickets = control.wait_for_submitted(1);
    assert_eq!(tickets[0].token, Token::new(5));
    control.wait_for_polls(1);
    control.complete(tickets[0].serial);
    assert_eq!(poller.join().unwrap(), (5, Outcome::Done));
}

#[test]
#[should_panic(expected = "transfer 3 is not outstanding")]
fn a_serial_that_is_not_outstanding_is_a_mistake_of_the_test() {
    bench().control.complete(3);
}

#[test]
fn a_range_that_is_not_mapped_is_recorded_and_left_alone() {
    let mut bench = bench();
    let domain = bench.control.domain();
    let stranger = Buffer::new(64, 9);
    let cases = [
        copy(&stranger, &bench.destination, 8),
        copy(&bench.source, &stranger, 8),
        copy(&bench.destination, &bench.source, 8),
        copy(&bench.source, &bench.destination, 65),
        copy(&bench.destination, &bench.destination, 8),
    ];
    for transfer in &cases {
        enqueue(&mut bench.engine, 1, transfer).unwrap();
    }
    bench.engine.submit();
    bench.control.complete_all();
    let [source, destination, read_only, long, overlap] = cases;
    assert_eq!(
        bench.control.violations(),
        [
            Violation::UnmappedSource { transfer: source },
            Violation::UnmappedDestination { transfer: destination },
            Violation::UnmappedDestination { transfer: read_only },
            Violation::UnmappedDestination { transfer: long },
            Violation::Overlap { transfer: overlap },
        ]
    );
    let refused = |kind| Outcome::Failed(Status { kind, bits: 0 });
    let outcomes: Vec<Outcome> = poll(&mut bench.engine).iter().map(|end| end.1).collect();
    assert_eq!(outcomes[0], refused(StatusKind::SourceAddress));
    assert_eq!(outcomes[1], refused(StatusKind::DestinationAddress));
    assert_eq!(outcomes[4], refused(StatusKind::Descriptor));
    assert_eq!(stranger.bytes(), [9; 64]);
    assert_eq!(bench.destination.bytes(), [0; 64]);
    assert_eq!(domain.violations().len(), 5);
}

#[test]
fn an_unmap_under_a_transfer_or_of_nothing_is_recorded() {
    let mut bench = bench();
    let domain = bench.control.domain();
    bench.submit(1);
    let transfer = copy(&bench.source, &bench.destination, 8);
    unmap(&domain, &bench.source).unwrap();
    assert_eq!(bench.control.violations(), [Violation::UnmapInUse { transfer }]);
    assert_eq!(unmap(&domain, &bench.source), Err(MapError::Os(22)));
    let (iova, length) = (bench.source.iova(), 64);
    assert_eq!(bench.control.violations()[1], Violation::UnmapUnknown { iova, length });
    bench.control.complete_all();
    assert_eq!(bench.control.violations()[2], Violation::UnmappedSource { transfer });
    unmap(&domain, &bench.destination).unwrap();
    assert_eq!(bench.control.violations().len(), 3, "the transfer has ended");
}

#[test]
fn the_domain_refuses_as_told_and_counts() {
    let domain = Arc::new(ManualDomain::new());
    let (one, two) = (Buffer::new(32, 0), Buffer::new(32, 0));
    let error = MapError::LockedMemory { needed: 32, limit: 16 };
    domain.refuse_map(1, error);
    map(&domain, &one, Rights::ReadWrite).unwrap();
    assert_eq!(map(&domain, &two, Rights::Read), Err(error));
    assert_eq!((domain.live(), domain.total()), (1, 1));
    map(&domain, &two, Rights::Read).unwrap();
    assert_eq!((domain.live(), domain.total()), (2, 2));
    assert!(domain.is_mapped(one.iova(), 32, Rights::ReadWrite));
    assert!(!domain.is_mapped(one.iova(), 33, Rights::Read));
    assert!(!domain.is_mapped(two.iova(), 1, Rights::ReadWrite));
    assert!(!domain.is_mapped(Iova::new(u64::MAX), u64::MAX, Rights::Read));

    domain.refuse_unmap(0, MapError::Os(5));
    assert_eq!(unmap(&domain, &one), Err(MapError::Os(5)));
    assert_eq!(domain.live(), 2);
    unmap(&domain, &one).unwrap();
    unmap(&domain, &two).unwrap();
    assert_eq!((domain.live(), domain.total(), domain.violations()), (0, 2, vec![]));

    let coarse = ManualDomain::with_granule(64);
    assert_eq!(map(&coarse, &one, Rights::Read), Err(MapError::Os(22)));

    let shared = ManualEngine::builder().domain(Arc::clone(&domain)).build().1.domain();
    assert!(Arc::ptr_eq(&shared, &domain));
}

#[test]
fn several_run_as_far_as_the_first_that_is_refused() {
    let (mut engine, control) = ManualEngine::builder().at_once(64).build();
    let (from, to) = (Buffer::new(64, 7), Buffer::new(256, 0));
    let source = map(&control.domain(), &from, Rights::Read).unwrap();
    let destination = map(&control.domain(), &to, Rights::ReadWrite).unwrap();
    let transfer = |n: u64, length| Transfer {
        operation: Operation::Copy { source },
        destination: destination.checked_add(n * 64).unwrap(),
        length,
    };
    let transfers = [transfer(0, 64), transfer(1, 65), transfer(2, 64)];
    // SAFETY: the buffers are mapped, and stay so.
    assert_eq!(unsafe { engine.run_all(&transfers) }, 1);
    assert_eq!(control.run(), 1, "what comes behind was not tried");
    // SAFETY: as above.
    assert_eq!(unsafe { engine.run_all(&[transfers[0], transfers[2]]) }, 2);
    engine.submit();
    assert_eq!((control.run(), control.violations()), (3, vec![]));
}
