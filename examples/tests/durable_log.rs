//! The log of the example, its power cut at every step over many seeds; and with the write-back removed, which must show.

#[allow(dead_code, reason = "the example's own main")]
#[path = "../durable_log.rs"]
mod durable_log;

use durable_log::run;

const SEEDS: u64 = 8;

#[test]
fn no_cut_at_any_step_loses_what_was_committed() {
    let mut found = 0;
    for seed in 0..SEEDS {
        let steps = run(seed, None, true).unwrap().steps;
        assert!(steps > 40, "{steps} steps are not every line of every record");
        for cut in 1..=steps {
            found += run(seed, Some(cut), true).unwrap().found;
        }
    }
    assert!(found > 0);
}

#[test]
fn without_the_write_back_committed_records_are_lost() {
    let lost = (0..SEEDS).any(|seed| {
        let steps = run(seed, None, false).map_or(30, |run| run.steps);
        (1..=steps).any(|cut| {
            run(seed, Some(cut), false).is_err_and(|error| {
                let error = error.to_string();
                error.contains("appends returned") || error.contains("is committed and torn")
            })
        })
    });
    assert!(lost, "the test would not notice a log that is written back nowhere");
}
