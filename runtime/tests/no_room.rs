//! A process whose kernel has no room for another mapping: what cannot be replaced with zeroes stays as it is.
#![cfg(all(not(loom), not(miri)))]

mod common;

use std::fs;

use common::{bytes, cpu, kind, pattern, region_of};
use dmaring::{ErrorKind, Region};
use futures::executor::block_on;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

const LENGTH: usize = 64 << 20;

/// The only test of this process: the limit is the whole process's.
#[test]
fn a_region_whose_place_zeroes_cannot_take_is_left_as_it_is() {
    let runtime = cpu(16);
    // So that the threads have what they allocate for it.
    block_on(runtime.allocate(4096).unwrap().replace_with_zeroes()).unwrap();
    let source = region_of(&runtime, &pattern(1, 4096));
    let region = runtime.allocate(LENGTH).unwrap();
    block_on(source.copy_to(0, &region, 8192, 4096)).unwrap();
    let mapped = mapping(&region).unwrap();
    assert!(mapped.contains("memfd"), "{mapped}");
    let address = region.as_mut_ptr().unwrap();

    let (soft, hard) = getrlimit(Resource::RLIMIT_AS).unwrap();
    let pages = fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = pages.split(' ').next().unwrap().parse().unwrap();
    setrlimit(Resource::RLIMIT_AS, pages * 4096 + LENGTH as u64 / 2, hard).unwrap();
    let outcome = block_on(region.replace_with_zeroes());
    setrlimit(Resource::RLIMIT_AS, soft, hard).unwrap();

    let error = outcome.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LimitExceeded);
    assert!(error.to_string().contains("its memory is left as it is"), "{error}");
    assert_eq!(kind(region.read_at(0, &mut [0])), ErrorKind::Closed);
    assert_eq!(region.as_mut_ptr(), None);
    assert_eq!(at(address.addr().get()), Some(mapped), "the memory is where it was");
    assert_eq!(kind(block_on(region.replace_with_zeroes())), ErrorKind::Closed);

    // There is room again.
    let region = runtime.allocate(LENGTH).unwrap();
    block_on(source.copy_to(0, &region, 0, 4096)).unwrap();
    block_on(region.replace_with_zeroes()).unwrap();
    assert_eq!(bytes(&region, 0, 4096), [0; 4096]);
}

/// The line of the process's map that a region begins.
fn mapping(region: &Region) -> Option<String> {
    at(region.as_mut_ptr()?.addr().get())
}

fn at(address: usize) -> Option<String> {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    maps.lines().find(|line| line.starts_with(&format!("{address:x}-"))).map(str::to_owned)
}
