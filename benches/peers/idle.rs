//! An idle runtime: what its poller takes of a core, and how long the first copy after that waits. Beside it, what it takes
//! to wake a thread that sleeps on a futex on the same core, since the first copy cannot be faster than that. And once more with a core
//! that may not halt.

use std::{
    thread,
    time::{Duration, Instant},
};

use dmaring::Idle;
use dmaring_benches::{
    awake::Awake,
    pinning,
    record::{Measuring, Unit},
    spin::block_on,
};

use crate::{
    Outcome, Setup,
    memory::{Blocks, Pair},
    short::{BLOCKS, Copies},
    sleeper::Sleeper,
};

/// After how long without work the poller is looked at.
const IDLE: Duration = Duration::from_millis(100);
/// For how long.
const LOOK: Duration = Duration::from_secs(1);
/// How many first copies are timed, and as many wake-ups in turns with them.
const FIRST: u64 = 9;

pub(crate) fn measure(setup: &Setup) -> Outcome {
    look(setup, "")?;
    match Awake::keep(setup.poller_core) {
        Ok(_awake) => look(setup, "-awake"),
        Err(error) => {
            let core = setup.poller_core;
            eprintln!(
                "left out: the idle works where core {core} may not halt: {error}; run as root"
            );
            Ok(())
        }
    }
}

/// Each of the works, its name with `suffix` behind it.
fn look(setup: &Setup, suffix: &str) -> Outcome {
    let named = |work| format!("{work}{suffix}");
    let names = ["idle-first-copy", "idle-wake", "idle-poller"].map(named);
    let [first_copy, wake, idle_poller] = names.each_ref().map(String::as_str);
    let mut pair = Pair::new(BLOCKS * 64)?;
    let blocks = Blocks::new(setup, 64, BLOCKS * 64);
    let runtime = setup.runtime(Idle::default())?;
    let (source, destination) = pair.regions(&runtime)?;
    let copies = Copies { blocks: &blocks, source: &source, destination: &destination };
    copies.in_flight(blocks.count(), 32, |copy| block_on(copy))?;
    let mut sleeper = Sleeper::start(setup.poller_core)?;

    let copying = Measuring::begin("dmaring", first_copy)?;
    let waking = Measuring::begin("futex", wake)?;
    let (mut copied, mut woken) = (Vec::new(), Vec::new());
    for number in 0..FIRST {
        thread::sleep(IDLE);
        let begin = Instant::now();
        block_on(copies.copy(number))?;
        copied.push((begin.elapsed().as_nanos() as u64, 1));
        thread::sleep(IDLE);
        let begin = Instant::now();
        sleeper.wake();
        woken.push((begin.elapsed().as_nanos() as u64, 1));
    }
    let waking = waking.end(Unit::Ns, woken)?;
    let copying = copying.end(Unit::Ns, copied)?;
    drop(sleeper);

    let measuring = Measuring::begin("dmaring", idle_poller)?;
    thread::sleep(IDLE);
    let before = pinning::run_time("dmaring-poller")?;
    let begin = Instant::now();
    thread::sleep(LOOK);
    let took = pinning::run_time("dmaring-poller")? - before;
    let per_second = took as f64 / begin.elapsed().as_secs_f64();
    let poller = measuring.end(Unit::NsPerS, vec![(per_second as u64, 1)])?;

    drop((source, destination));
    let verified = pair.verify(&blocks)?;
    copying.print(verified)?;
    waking.print(true)?;
    Ok(poller.print(verified)?)
}
