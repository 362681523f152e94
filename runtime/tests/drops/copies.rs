//! Copies that were not submitted, that are in flight, and that nobody claims.

use futures::executor::block_on;

use crate::{
    assert_clean,
    common::{bytes, eventually, manual, pattern, poll_once, region_of},
};

#[test]
fn what_was_not_submitted_never_happens() {
    let (runtime, control) = manual(8);
    let region = runtime.allocate(128).unwrap();
    drop(region.copy(0, 64, 64));
    drop(region.fill(0, 64, 1));
    let mut batch = runtime.batch();
    batch.push(region.copy(0, 64, 64));
    drop(batch);
    drop(region.copy(0, 64, 64).fence());
    control.wait_for_polls(3);
    assert_eq!((control.submitted(), runtime.stats().submitted), (0, 0));
    drop((region, runtime));
    assert_clean(&control);
}

#[test]
fn a_dropped_copy_is_made_and_keeps_its_regions_until_then() {
    let (runtime, control) = manual(8);
    let src = region_of(&runtime, &pattern(2, 64));
    let dst = runtime.allocate(64).unwrap();
    let mut polled = src.copy_to(0, &dst, 0, 32);
    assert!(poll_once(&mut polled).is_pending());
    let submitted = src.copy_to(32, &dst, 32, 32).submit();
    control.wait_for_submitted(2);
    drop((polled, submitted, src));
    control.wait_for_polls(3);
    assert_eq!(control.domain().live(), 2);
    control.complete_all();
    eventually("the source's unmapping", || control.domain().live() == 1);
    assert_eq!(bytes(&dst, 0, 64), pattern(2, 64));
    drop((dst, runtime));
    assert_clean(&control);
}

#[test]
fn a_region_of_many_copies_goes_with_the_last_of_them() {
    let (runtime, control) = manual(8);
    let region = runtime.allocate(64 * 9).unwrap();
    let copies: Vec<_> = (1..9).map(|n| region.copy(0, n * 64, 64).submit()).collect();
    control.wait_for_submitted(8);
    drop(region);
    for copy in copies {
        assert_eq!(control.domain().live(), 1);
        control.complete_next();
        assert_eq!(block_on(copy).unwrap(), 64);
    }
    assert_clean(&control);
    assert_eq!(control.domain().total(), 1);
}

#[test]
fn a_result_that_nobody_claims_holds_no_permit_and_no_region() {
    let (runtime, control) = manual(4);
    control.release();
    let (held, more) = if cfg!(miri) { (6, 6) } else { (200, 2000) };
    let region = runtime.allocate(64).unwrap();
    let fills: Vec<_> = (0..held).map(|n| region.fill(0, 64, n).submit()).collect();
    assert_eq!(block_on(region.fill(0, 64, 1).fence()).unwrap(), 64);
    for n in 0..more {
        assert_eq!(block_on(region.fill(0, 64, n)).unwrap(), 64);
    }
    drop(region);
    eventually("the region's unmapping", || control.domain().live() == 0);
    let mut fills = fills.into_iter();
    // One half is claimed, the other dropped.
    for fill in fills.by_ref().take(held as usize / 2) {
        assert_eq!(block_on(fill).unwrap(), 64);
    }
    drop((fills, runtime));
    assert_clean(&control);
}
