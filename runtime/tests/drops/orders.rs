//! A copy in flight, and its future, its regions and its runtime going in every order.

use std::thread;

use dmaring::Copy;

use crate::{
    Forgotten, assert_clean,
    common::{manual, pattern, region_of},
};

/// What an order is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Future,
    Source,
    Destination,
    Runtime,
    Completion,
}

/// Every order of these steps.
fn orders(steps: &[Step]) -> Vec<Vec<Step>> {
    let Some((&last, rest)) = steps.split_last() else { return vec![vec![]] };
    let extend = |order: Vec<Step>| {
        (0..=order.len()).map(move |place| {
            let mut order = order.clone();
            order.insert(place, last);
            order
        })
    };
    orders(rest).into_iter().flat_map(extend).collect()
}

fn every_order(mut end_future: impl FnMut(Copy, &mut Forgotten)) {
    let steps = [Step::Future, Step::Source, Step::Destination, Step::Runtime, Step::Completion];
    let orders = orders(&steps);
    assert_eq!(orders.len(), 120);
    for order in orders.iter().step_by(if cfg!(miri) { 29 } else { 1 }) {
        let mut forgotten = Forgotten::default();
        let (runtime, control) = manual(8);
        let (src, dst) = (region_of(&runtime, &pattern(1, 64)), runtime.allocate(64).unwrap());
        let copy = src.copy_to(0, &dst, 0, 64).submit();
        control.wait_for_submitted(1);
        let (mut copy, mut src, mut dst, mut runtime) =
            (Some(copy), Some(src), Some(dst), Some(runtime));
        let mut closing = None;
        for step in order {
            match step {
                Step::Future => end_future(copy.take().unwrap(), &mut forgotten),
                Step::Source => src = None,
                Step::Destination => dst = None,
                // It waits for the copy, which another step completes.
                Step::Runtime => {
                    let runtime = runtime.take();
                    closing = Some(thread::spawn(move || drop(runtime)));
                }
                Step::Completion => {
                    assert_eq!(control.domain().live(), 2, "{order:?}: the copy needs both");
                    control.complete_all();
                }
            }
        }
        closing.unwrap().join().unwrap();
        assert!(copy.is_none() && src.is_none() && dst.is_none() && runtime.is_none());
        assert_clean(&control);
        assert_eq!(control.domain().total(), 2, "{order:?}");
        assert!(control.halted() && control.dropped());
    }
}

#[test]
fn a_dropped_future_and_all_else_in_every_order() {
    every_order(|copy, _| drop(copy));
}

#[test]
fn a_forgotten_future_and_all_else_in_every_order() {
    every_order(|copy, forgotten| forgotten.forget(copy));
}
