//! An input of `peer` leaves no thread behind.

use std::fs;

use dmaring::Runtime;
use dmaring_cpu::CpuEngine;
use dmaring_fuzz::peer;

/// The only test of this process, so that nothing else starts a thread.
#[test]
fn an_input_leaves_no_thread_behind() {
    let before = threads();
    for round in 0..100 {
        peer::run(&[]);
        assert_eq!(threads(), before, "after input {round}");
    }

    // The control: a runtime with a region has a poller and a housekeeper.
    let runtime = Runtime::builder().engine(CpuEngine::new()).build().unwrap();
    let _region = runtime.allocate(64).unwrap();
    assert_eq!(threads(), before + 2);
}

fn threads() -> usize {
    fs::read_dir("/proc/self/task").unwrap().count()
}
