//! Operations that wait for a permit.

use dmaring::{Fill, Region, Runtime};
use dmaring_manual::Control;
use futures::executor::block_on;

use crate::{
    Forgotten, assert_clean,
    common::{bytes, eventually, manual},
};

/// Two permits, both taken, and operations that wait for one; each has a region of its own.
fn crowd(waiting: usize) -> (Runtime, Control, Vec<Region>, Vec<Fill>) {
    let (runtime, control) = manual(2);
    let regions: Vec<_> = (0..waiting + 2).map(|_| runtime.allocate(64).unwrap()).collect();
    let fills: Vec<_> = (1..).zip(&regions).map(|(n, region)| region.fill(0, 64, n)).collect();
    let fills: Vec<_> = fills.into_iter().map(Fill::submit).collect();
    control.wait_for_submitted(2);
    (runtime, control, regions, fills)
}

#[test]
fn a_dropped_waiter_leaves_the_queue() {
    for dropped in if cfg!(miri) { 3..4 } else { 2..5 } {
        let (runtime, control, mut regions, mut fills) = crowd(3);
        drop(fills.remove(dropped));
        let region = regions.remove(dropped);
        drop(region.clone());
        assert_eq!(bytes(&region, 0, 64), [0; 64]);
        drop(region);
        eventually("the waiter's region", || control.domain().live() == 4);
        control.release();
        for fill in fills {
            assert_eq!(block_on(fill).unwrap(), 64);
        }
        assert_eq!(runtime.stats().submitted, 4, "what left the queue was never submitted");
        for (n, region) in (1..=5u8).filter(|&n| usize::from(n) != dropped + 1).zip(&regions) {
            assert_eq!(bytes(region, 0, 1), [n]);
        }
        drop((regions, runtime));
        assert_clean(&control);
    }
}

#[test]
fn all_waiters_may_leave() {
    let (runtime, control, regions, mut fills) = crowd(4);
    fills.truncate(2);
    control.complete_all();
    for fill in fills {
        assert_eq!(block_on(fill).unwrap(), 64);
    }
    control.release();
    assert_eq!(block_on(regions[5].fill(0, 64, 9)).unwrap(), 64);
    assert_eq!(runtime.stats().submitted, 3);
    drop((regions, runtime));
    assert_clean(&control);
}

#[test]
fn a_forgotten_waiter_swallows_no_permit() {
    let mut forgotten = Forgotten::default();
    let (runtime, control, regions, mut fills) = crowd(4);
    for place in [4, 2] {
        forgotten.forget(fills.remove(place));
    }
    control.release();
    for fill in fills {
        assert_eq!(block_on(fill).unwrap(), 64);
    }
    for n in 0..10 {
        assert_eq!(block_on(regions[0].fill(0, 64, n)).unwrap(), 64);
    }
    assert_eq!(block_on(regions[1].fill(0, 8, 1).fence()).unwrap(), 8);
    assert_eq!((bytes(&regions[2], 0, 1), bytes(&regions[4], 0, 1)), (vec![3], vec![5]));
    drop((regions, runtime));
    assert_clean(&control);
}
