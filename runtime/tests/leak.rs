//! Memory that an engine may still touch stays mapped for good, in its address space and in the process.
#![cfg(all(not(loom), not(miri)))]

mod common;

use std::{fs, time::Duration};

use common::{
    READ_ERROR, bytes, eventually, housekeepers, kind, never_parking, poll_once, region_of,
};
use dmaring::{ErrorKind, Fill, ManualClock};
use dmaring_manual::ManualEngine;
use futures::executor::block_on;

/// The only test of this process, so that the end of its housekeeper can be waited for.
#[test]
fn memory_stays_mapped_when_an_engine_does_not_stop() {
    let clock = ManualClock::new();
    let (engine, control) = ManualEngine::new();
    let builder = never_parking().engine(engine).ring_entries(4).clock(clock.clone());
    let runtime = builder.build().unwrap();
    let regions: Vec<_> = (0..7).map(|_| region_of(&runtime, &[0; 64])).collect();
    let fills: Vec<Fill> = regions.iter().map(|region| region.fill(0, 64, 7).submit()).collect();
    control.wait_for_submitted(4);
    control.refuse_halt(READ_ERROR);
    let mut end = Box::pin(runtime.shutdown(Duration::from_secs(3)));
    assert!(poll_once(&mut end).is_pending());
    clock.advance(Duration::from_secs(3));
    let error = block_on(end).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::EngineLost);
    assert!(error.to_string().contains("4 operations were given up"), "{error}");
    for fill in fills {
        assert_eq!(kind(block_on(fill)), ErrorKind::Shutdown);
    }
    regions[0].write_at(0, &[1; 64]).unwrap();
    assert_eq!(bytes(&regions[0], 0, 64), [1; 64]);
    let addresses: Vec<_> =
        regions.iter().map(|region| region.as_mut_ptr().unwrap().addr().get()).collect();
    drop((regions, runtime));
    eventually("the housekeeper's end", || housekeepers().is_empty());
    assert_eq!((control.domain().live(), control.domain().total()), (7, 7));
    for address in addresses {
        assert!(is_mapped(address), "the memory at {address:#x} is gone");
    }
}

fn is_mapped(address: usize) -> bool {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    maps.lines().any(|line| {
        let range = line.split(' ').next().unwrap().split_once('-').unwrap();
        let parse = |text| usize::from_str_radix(text, 16).unwrap();
        (parse(range.0)..parse(range.1)).contains(&address)
    })
}
