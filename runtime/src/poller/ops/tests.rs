//! Cutting into parts, replays and retries.

use dmaring_engine::StatusKind;

use super::*;

const READ: Status = Status { kind: StatusKind::Read, bits: 0x100 };
const ADDRESS: Status = Status { kind: StatusKind::SourceAddress, bits: 1 };
const WRITE: Status = Status { kind: StatusKind::Write, bits: 0 };

fn op(length: u64, limit: u64) -> ActiveOp {
    let plan = Plan {
        port: 0,
        key: Key::default(),
        source: Source::Pattern(0x8877_6655_4433_2211),
        destination: (Key::default(), 0),
        length,
        deadline: 0,
        retries: true,
        reach: Default::default(),
        durable: Durable::No,
    };
    let mut op = ActiveOp::new(plan, 0);
    assert!(route(&mut op, limit));
    op
}

fn route(op: &mut ActiveOp, limit: u64) -> bool {
    op.route_to(0, limit, Addresses { source: Iova::new(0), destination: Iova::new(0x1000) })
}

/// Enqueues up to `count` parts, and gives their numbers and lengths.
fn take(op: &mut ActiveOp, count: usize) -> Vec<(u32, u64)> {
    let mut taken = Vec::new();
    while taken.len() < count
        && let Some(part) = op.next_part()
    {
        let at = u64::from(part.number) * op.part;
        assert_eq!(part.transfer.destination.get(), 0x1000 + at);
        op.part_taken(&part);
        taken.push((part.number, part.length));
    }
    taken
}

fn back(op: &mut ActiveOp, numbers: impl IntoIterator<Item = u32>) {
    for number in numbers {
        op.part_back(number);
    }
}

#[test]
fn what_is_over_too_early_is_not_told_to_have_succeeded() {
    let lost = Err(Failure::of(CompletionCode::ENGINE_LOST));
    let mut op = op(16, 8);
    assert_eq!(op.outcome(), lost, "nothing was begun");
    assert_eq!(take(&mut op, 1).len(), 1);
    back(&mut op, [0]);
    assert_eq!(op.outcome(), lost, "a part was not begun");
    assert_eq!(take(&mut op, 1).len(), 1);
    assert_eq!(op.outcome(), lost, "a part is in the engine");
    back(&mut op, [1]);
    assert_eq!(op.outcome(), Ok(()));
    op.fail(Failure::device(READ, 3));
    assert_eq!(op.outcome(), Err(Failure::device(READ, 3)));
}

#[test]
fn an_operation_is_cut_into_parts_and_ends_when_all_are_back() {
    // Parts have a power of two of bytes.
    let mut op = op(21, 10);
    assert_eq!(take(&mut op, 9), [(0, 8), (1, 8), (2, 5)]);
    for (number, length) in [(2, 5), (0, 8), (1, 8)] {
        assert_eq!(op.ended(), None);
        assert_eq!(op.part_back(number), length);
    }
    assert_eq!(op.ended(), Some(Ok(())));
}

#[test]
fn a_fill_keeps_its_phase_from_part_to_part() {
    let mut op = op(25, 4);
    let mut bytes: Vec<u8> = Vec::new();
    while let Some(part) = op.next_part() {
        let Operation::Fill { pattern } = part.transfer.operation else { panic!() };
        bytes.extend(pattern.to_le_bytes().iter().cycle().take(part.length as usize));
        op.part_taken(&part);
    }
    let expected: Vec<u8> =
        0x8877_6655_4433_2211u64.to_le_bytes().into_iter().cycle().take(25).collect();
    assert_eq!(bytes, expected);
}

#[test]
fn a_failure_stops_the_parts_to_come_and_the_lowest_offset_is_told() {
    let mut op = op(64, 8);
    op.retries = false;
    take(&mut op, 3);
    for number in [2, 1] {
        back(&mut op, [number]);
        op.fail_part(number, READ, false);
    }
    assert!(op.next_part().is_none());
    assert_eq!(op.ended(), None, "one part is still out");
    back(&mut op, [0]);
    assert_eq!(op.ended(), Some(Err(Failure::device(READ, 8))));
}

#[test]
fn parts_that_were_not_run_go_again_in_order_and_before_new_ones() {
    let mut op = op(40, 8);
    take(&mut op, 4);
    back(&mut op, [0, 1, 2, 3]);
    op.run_again(1);
    op.run_again(3);
    assert_eq!(op.rest(), Some(Rest::Parts));
    assert_eq!(take(&mut op, 9), [(1, 8), (3, 8), (4, 8)]);
    back(&mut op, [1, 3, 4]);
    assert_eq!(op.ended(), Some(Ok(())));
}

#[test]
fn after_a_failure_the_cpu_does_what_is_left_and_nothing_else() {
    let mut op = op(56, 8);
    take(&mut op, 5);
    back(&mut op, [0, 1]);
    op.fail_part(1, ADDRESS, false);
    assert!(op.next_part().is_none() && !op.has_parts() && !op.has_again());
    assert_eq!(op.rest(), None, "three parts are with the engine");
    // One that was not run does not go there again.
    back(&mut op, [2, 3, 4]);
    op.run_again(4);
    op.fail_part(3, ADDRESS, false);
    assert!(!op.has_again());
    assert_eq!((op.rest(), op.ended()), (Some(Rest::Retry), None));
    op.begin_retry();
    assert!(route(&mut op, 4));
    // Cut again for an engine with shorter transfers.
    let parts = take(&mut op, 99);
    assert_eq!(
        parts.iter().map(|part| part.0).collect::<Vec<_>>(),
        [8, 9, 2, 3, 6, 7, 10, 11, 12, 13]
    );
    let retried = parts.iter().filter(|part| op.is_retry(part.0)).count();
    assert_eq!(retried, 4);
    back(&mut op, parts.iter().map(|part| part.0));
    assert_eq!(op.ended(), Some(Ok(())));
}

#[test]
fn bad_data_is_left_to_no_cpu_and_is_what_is_told() {
    for kind in [StatusKind::Read, StatusKind::Integrity, StatusKind::Unspecified] {
        let mut op = op(40, 8);
        take(&mut op, 4);
        back(&mut op, [3, 1, 2]);
        let bad = Status { kind, bits: 7 };
        op.fail_part(1, ADDRESS, false);
        op.fail_part(3, bad, false);
        assert_eq!(op.ended(), None, "a part is out");
        back(&mut op, [0]);
        op.fail_part(0, ADDRESS, false);
        assert_eq!(op.ended(), Some(Err(Failure::device(bad, 24))), "{kind}");
    }
}

#[test]
fn a_retry_that_fails_tells_both_failures_and_one_that_cannot_begin_the_first() {
    for limit in [8, 2] {
        let mut op = op(21, 8);
        take(&mut op, 3);
        back(&mut op, [0, 1, 2]);
        op.fail_part(2, ADDRESS, false);
        op.begin_retry();
        assert!(route(&mut op, limit));
        let parts = take(&mut op, 9);
        assert_eq!(parts.iter().map(|(_, length)| length).sum::<u64>(), 5);
        back(&mut op, parts.iter().map(|(number, _)| *number));
        op.fail_part(parts[0].0, WRITE, true);
        let both = Failure { retry: Some(StatusKind::Write as u8), ..Failure::device(ADDRESS, 16) };
        assert_eq!(op.ended(), Some(Err(both)));
    }
    let mut op = op(21, 8);
    take(&mut op, 3);
    back(&mut op, [0, 1, 2]);
    op.fail_part(2, ADDRESS, false);
    op.fail_part(1, WRITE, false);
    op.begin_retry();
    op.give_up_retry();
    assert_eq!(op.ended(), Some(Err(Failure::device(WRITE, 8))));
}

#[test]
fn a_cpu_that_fails_is_not_its_own_rescue() {
    let mut op = op(8, 8);
    take(&mut op, 1);
    back(&mut op, [0]);
    op.fail_part(0, READ, true);
    assert_eq!(op.ended(), Some(Err(Failure::device(READ, 0))));
}

#[test]
fn an_operation_that_moves_is_cut_again_and_no_byte_is_done_twice() {
    for limit in [1, 3, 4, 8, 100] {
        let mut op = op(61, 8);
        take(&mut op, 4);
        back(&mut op, [0, 1, 2, 3]);
        op.run_again(1);
        op.run_again(2);
        let mut written = vec![(0, 8), (24, 8)];
        assert!(route(&mut op, limit));
        let parts = take(&mut op, usize::MAX);
        written.extend(parts.iter().map(|&(number, bytes)| (u64::from(number) * op.part, bytes)));
        written.sort_unstable();
        let mut end = 0;
        for (at, bytes) in written {
            assert_eq!(at, end, "limit {limit}");
            end += bytes;
        }
        assert_eq!(end, 61, "limit {limit}");
        back(&mut op, parts.iter().map(|(number, _)| *number));
        assert_eq!(op.ended(), Some(Ok(())));
    }
}

#[test]
fn more_parts_than_can_be_told_apart_are_refused() {
    let mut op = op(64 * (MAX_PARTS + 1), 128);
    assert!(!route(&mut op, 64));
    assert!(route(&mut op, 64 * 2));
}
