//! Transfers: the bytes of descriptors, doorbells, and completions of a channel that works.

use dmaring_engine::{Engine, EnqueueError, Outcome, Token};

use crate::{fixture::*, memory::IOVA};

const DONE: Outcome = Outcome::Done;
/// Bits of the control word, in the first word of a descriptor.
const COMPLETION_WRITE: u64 = 1 << 35;
const FENCE: u64 = 1 << 36;
const NULL: u64 = 1 << 37;

#[test]
fn a_copy_has_these_bytes() {
    let bench = Bench::new();
    let mut channel = bench.running();
    enqueue(&mut channel, 1, &copy(0x12_3456_789a, 0x0f_edcb_a987, 0x1_2345)).unwrap();
    #[rustfmt::skip]
    let expected = [
        0x45, 0x23, 0x01, 0x00, 0x08, 0x00, 0x00, 0x00,
        0x9a, 0x78, 0x56, 0x34, 0x12, 0x00, 0x00, 0x00,
        0x87, 0xa9, 0xcb, 0xed, 0x0f, 0x00, 0x00, 0x00,
        0x80, 0x10, 0x00, 0x40, 0x00, 0x00, 0x00, 0x00,
    ];
    channel.submit();
    let line = bench.memory.read_line(RING + 64);
    assert_eq!((&line[..32], &line[32..]), (&expected[..], &[0; 32][..]));
}

#[test]
fn a_fill_has_these_bytes() {
    let bench = Bench::new();
    let mut channel = bench.running();
    enqueue(&mut channel, 1, &fill(0x0123_4567_89ab_cdef, 0x1_0000_0001, 0x10_0000)).unwrap();
    #[rustfmt::skip]
    let expected = [
        0x00, 0x00, 0x10, 0x00, 0x08, 0x00, 0x00, 0x01,
        0xef, 0xcd, 0xab, 0x89, 0x67, 0x45, 0x23, 0x01,
        0x01, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00,
        0x80, 0x10, 0x00, 0x40, 0x00, 0x00, 0x00, 0x00,
    ];
    channel.submit();
    let line = bench.memory.read_line(RING + 64);
    assert_eq!((&line[..32], &line[32..]), (&expected[..], &[0; 32][..]));
}

#[test]
fn a_null_moves_nothing_and_is_reported_in_order() {
    let bench = Bench::new();
    let mut channel = bench.running();
    enqueue(&mut channel, 1, &copy(0x1000, 0x2000, 64)).unwrap();
    channel.enqueue_null(Token::new(2)).unwrap();
    channel.submit();
    assert_eq!(bench.memory.read(RING + 128), 1 | NULL | COMPLETION_WRITE);
    assert_eq!(bench.memory.read(RING + 136), 0);
    assert_eq!(bench.memory.read(RING + 144), 0);
    bench.complete(2, IDLE);
    assert_eq!(poll(&mut channel), [(1, DONE), (2, DONE)]);
}

#[test]
fn only_the_last_of_a_batch_writes_a_completion_and_one_doorbell_covers_it() {
    let bench = Bench::new();
    let mut channel = bench.running();
    submit(&mut channel, 0..3);
    assert_eq!(bench.registers.writes(), [(DMACOUNT, 4)]);
    submit(&mut channel, 3..5);
    assert_eq!(bench.registers.writes(), [(DMACOUNT, 6)]);
    for (index, flag) in [(1, 0), (2, 0), (3, COMPLETION_WRITE), (4, 0), (5, COMPLETION_WRITE)] {
        assert_eq!(bench.memory.read(RING + 64 * index), 4096 | flag, "descriptor {index}");
    }
    channel.submit();
    assert_eq!(bench.registers.writes(), []);
}

#[test]
fn nothing_is_in_reach_of_the_device_before_submit() {
    let bench = Bench::new();
    let mut channel = bench.running();
    enqueue(&mut channel, 1, &copy(0x1000, 0x2000, 64)).unwrap();
    assert_eq!(bench.registers.writes(), []);
    // A completion of what was not submitted is no completion.
    bench.complete(1, IDLE);
    assert_eq!((poll(&mut channel), channel.violations()), (vec![], 1));
}

#[test]
fn completions_come_in_order_for_as_many_places_as_there_are() {
    let bench = Bench::new();
    let mut channel = bench.running();
    submit(&mut channel, 0..7);
    assert_eq!(channel.room(), 0);
    let transfer = copy(0x1000, 0x2000, 64);
    assert_eq!(enqueue(&mut channel, 9, &transfer), Err(EnqueueError::Full));
    bench.complete(3, ACTIVE);
    let mut places = [NOTHING; 2];
    assert_eq!((channel.poll(&mut places), channel.poll(&mut places)), (2, 1));
    assert_eq!(channel.room(), 3);
    bench.complete(7, IDLE);
    assert_eq!(poll(&mut channel), [(3, DONE), (4, DONE), (5, DONE), (6, DONE)]);
    assert_eq!((poll(&mut channel), channel.violations()), (vec![], 0));
}

#[test]
fn dmacount_wraps_and_the_ring_goes_on() {
    let bench = Bench::new();
    let mut channel = bench.running();
    // The null descriptor was number 1; batches of 1, 2, 3 and so on up to the ring's room.
    let mut count: u64 = 1;
    let mut batch = 1;
    let end = if cfg!(miri) { 200 } else { 3 * 65_536 };
    while count < end {
        submit(&mut channel, count..count + batch);
        count += batch;
        assert_eq!(bench.registers.writes(), [(DMACOUNT, count % 65_536)]);
        bench.status((count - 1) % 8, IDLE);
        bench.complete((count - 1) % 8, IDLE);
        let expected: Vec<_> = (count - batch..count).map(|token| (token, DONE)).collect();
        assert_eq!(poll(&mut channel), expected);
        batch = batch % 7 + 1;
    }
    assert_eq!(channel.violations(), 0);
}

#[test]
fn lengths_are_held_against_xfercap() {
    let bench = Bench::new();
    bench.registers.set(XFERCAP, 1, 12);
    let mut channel = bench.running();
    assert_eq!(channel.capabilities().max_transfer, 4096);
    for length in [0, 4097, u64::MAX, 1 << 32] {
        let refused = Err(EnqueueError::TooLong { max: 4096 });
        assert_eq!(enqueue(&mut channel, 1, &copy(0, 0, length)), refused);
        assert_eq!(enqueue(&mut channel, 1, &fill(0, 0, length)), refused);
    }
    enqueue(&mut channel, 1, &copy(0, 0, 1)).unwrap();
    enqueue(&mut channel, 1, &copy(0, 0, 4096)).unwrap();
    assert_eq!(channel.room(), 5);
}

#[test]
fn a_fence_is_on_the_descriptor_before() {
    let bench = Bench::new();
    let mut channel = bench.running();
    channel.fence().unwrap();
    enqueue(&mut channel, 0, &copy(0x1000, 0x2000, 64)).unwrap();
    channel.fence().unwrap();
    enqueue(&mut channel, 1, &copy(0x1000, 0x2000, 64)).unwrap();
    channel.submit();
    assert_eq!(bench.memory.read(RING + 64), 64 | FENCE);
    assert_eq!(bench.memory.read(RING + 128), 64 | COMPLETION_WRITE);
    // What the device has already is not changed: a null descriptor takes the flag.
    channel.fence().unwrap();
    enqueue(&mut channel, 2, &copy(0x1000, 0x2000, 64)).unwrap();
    channel.fence().unwrap();
    channel.submit();
    assert_eq!(bench.memory.read(RING + 192), 1 | NULL | FENCE);
    assert_eq!(bench.memory.read(RING + 256), 64 | FENCE | COMPLETION_WRITE);
    assert_eq!(channel.room(), 3);
    bench.complete(4, IDLE);
    assert_eq!(poll(&mut channel), [(0, DONE), (1, DONE), (2, DONE)]);
    assert_eq!(channel.room(), 7);
}

/// A channel without the capability, its first pattern area, and how long its pieces are.
fn without_fill(bench: &Bench) -> u64 {
    bench.registers.set(DMACAPABILITY, 4, !(1 << 6));
    IOVA + 8192
}

#[test]
fn a_fill_without_the_capability_is_copied_from_a_pattern() {
    let bench = Bench::new();
    let area = without_fill(&bench);
    let mut channel = bench.running();
    assert!(channel.capabilities().fill);
    let max = channel.capabilities().max_transfer;
    assert_eq!(max, 2 * 16_384);
    let pattern = 0x1122_3344_5566_7788;
    enqueue(&mut channel, 5, &fill(pattern, 0x9003, 16_384 + 13)).unwrap();
    channel.submit();
    let descriptor =
        |index: u64| [0, 8, 16].map(|offset| bench.memory.read(RING + 64 * index + offset));
    assert_eq!(descriptor(1), [16_384, area, 0x9003]);
    assert_eq!(descriptor(2), [13 | COMPLETION_WRITE, area, 0x9003 + 16_384]);
    assert!((0..16_384).step_by(8).all(|at| bench.memory.read(area + at) == pattern));
    assert_eq!(bench.memory.read(area + 16_384), 0);
    assert_eq!(channel.room(), 5);
    bench.complete(1, ACTIVE);
    assert_eq!(poll(&mut channel), []);
    bench.complete(2, IDLE);
    assert_eq!(poll(&mut channel), [(5, DONE)]);
    let too_long = fill(pattern, 0x9000, max + 1);
    assert_eq!(enqueue(&mut channel, 6, &too_long), Err(EnqueueError::TooLong { max }));
}

#[test]
fn a_pattern_in_use_is_not_written_over() {
    let bench = Bench { entries: 16, ..Bench::new() };
    let area = without_fill(&bench);
    let mut channel = bench.running();
    for pattern in 1..=4 {
        enqueue(&mut channel, pattern, &fill(pattern, 0x9000, 64)).unwrap();
    }
    channel.submit();
    assert_eq!(enqueue(&mut channel, 5, &fill(5, 0x9000, 64)), Err(EnqueueError::Full));
    enqueue(&mut channel, 6, &fill(4, 0x9000, 64)).unwrap();
    channel.submit();
    bench.complete(1, ACTIVE);
    assert_eq!(poll(&mut channel), [(1, DONE)]);
    enqueue(&mut channel, 5, &fill(5, 0x9000, 64)).unwrap();
    let held: Vec<_> = (0..4).map(|at| bench.memory.read(area + 16_384 * at)).collect();
    assert_eq!(held, [5, 2, 3, 4]);
    // The others are still being read: how far the ring has come counts, not that something ended.
    assert_eq!(enqueue(&mut channel, 7, &fill(6, 0x9000, 64)), Err(EnqueueError::Full));
}

#[test]
fn a_fill_that_finds_too_few_descriptors_takes_none() {
    let bench = Bench::new();
    without_fill(&bench);
    let mut channel = bench.running();
    submit(&mut channel, 0..6);
    assert_eq!(enqueue(&mut channel, 7, &fill(1, 0x9000, 16_385)), Err(EnqueueError::Full));
    assert_eq!(channel.room(), 1);
    enqueue(&mut channel, 7, &fill(1, 0x9000, 16_384)).unwrap();
}

/// CHANSTS makes room that a completion word of before, not yet seen, must not be taken for.
#[test]
fn a_word_older_than_chansts_completes_nothing_of_what_took_its_place() {
    let bench = Bench::new();
    let mut channel = bench.running();
    submit(&mut channel, 1..4);
    submit(&mut channel, 4..8);
    bench.registers.race(3, 5);
    let done: Vec<_> = (1..6).map(|token| (token, DONE)).collect();
    // No poll after the one that looks: the ring is filled again before the next.
    assert_eq!((0..4).flat_map(|_| poll(&mut channel)).collect::<Vec<_>>(), done);
    submit(&mut channel, 8..13);
    assert_eq!(poll(&mut channel), []);
    bench.status(4, IDLE);
    bench.complete(4, IDLE);
    let done: Vec<_> = (6..13).map(|token| (token, DONE)).collect();
    assert_eq!(poll(&mut channel), done);
    assert_eq!(channel.violations(), 0);
}

/// A device may write a word again, over a newer one that was taken. In a ring that is full since, its address is that of a new descriptor.
#[test]
fn a_word_that_is_written_again_completes_nothing_of_what_took_its_place() {
    for behind in 1..4 {
        let bench = Bench::new();
        let mut channel = bench.running();
        submit(&mut channel, 1..6);
        bench.complete(5 - behind, ACTIVE);
        poll(&mut channel);
        bench.status(5, IDLE);
        bench.complete(5, IDLE);
        poll(&mut channel);
        submit(&mut channel, 6..13);
        bench.complete(5 - behind, ACTIVE);
        assert_eq!((0..9).flat_map(|_| poll(&mut channel)).collect::<Vec<_>>(), [], "{behind}");
        bench.status(7, ACTIVE);
        bench.complete(7, ACTIVE);
        assert_eq!(poll(&mut channel), [(6, DONE), (7, DONE)]);
        bench.status(4, IDLE);
        bench.complete(4, IDLE);
        let done: Vec<_> = (8..13).map(|token| (token, DONE)).collect();
        assert_eq!((poll(&mut channel), channel.violations()), (done, 0));
    }
}

/// The same, written while CHANSTS is read for another reason.
#[test]
fn a_word_that_is_written_again_at_a_look_is_not_looked_at_later() {
    let bench = Bench::new();
    let mut channel = bench.running();
    submit(&mut channel, 1..4);
    bench.complete(2, ACTIVE);
    poll(&mut channel);
    bench.complete(3, ACTIVE);
    poll(&mut channel);
    submit(&mut channel, 4..11);
    bench.registers.race(2, 7);
    let done: Vec<_> = (4..8).map(|token| (token, DONE)).collect();
    assert_eq!((0..4).flat_map(|_| poll(&mut channel)).collect::<Vec<_>>(), done);
    submit(&mut channel, 11..15);
    assert_eq!((poll(&mut channel), channel.violations()), (vec![], 0));
}

/// More than half of the ring at once is taken when CHANSTS says it, too: one read for all of them.
#[test]
fn most_of_a_ring_at_once_is_believed_with_chansts() {
    let bench = Bench::new();
    let mut channel = bench.running();
    submit(&mut channel, 1..8);
    bench.status(4, ACTIVE);
    bench.complete(4, ACTIVE);
    assert_eq!((poll(&mut channel).len(), bench.registers.status_reads()), (4, 0), "half of it");
    submit(&mut channel, 8..12);
    bench.status(1, IDLE);
    bench.complete(1, IDLE);
    assert_eq!((poll(&mut channel).len(), bench.registers.status_reads()), (5, 1));
    assert_eq!(channel.violations(), 0);
}
