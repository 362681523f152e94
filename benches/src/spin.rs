//! An executor that never sleeps: it polls until there is an answer.

use std::{
    future::Future,
    pin::pin,
    task::{Context, Poll, Waker},
};

/// Polls the future again and again on this thread, without a pause, until it is ready.
pub fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
    }
}

/// Keeps `depth` futures under way until `count` have ended, and hands each output over, in order.
///
/// `begin` makes future `n` and has it submitted; the oldest is awaited by `executor`, where it is, before the next one is begun in its
/// place.
pub fn windowed<F: Future + Unpin>(
    (count, depth): (u64, usize),
    executor: impl Fn(&mut F) -> F::Output,
    mut begin: impl FnMut(u64) -> F,
    mut ended: impl FnMut(u64, F::Output),
) {
    let mut window = Vec::with_capacity(depth.max(1));
    let (mut over, mut oldest) = (0, 0);
    for number in 0..count {
        if window.len() < depth.max(1) {
            window.push(begin(number));
            continue;
        }
        ended(over, executor(&mut window[oldest]));
        over += 1;
        window[oldest] = begin(number);
        oldest = if oldest + 1 == window.len() { 0 } else { oldest + 1 };
    }
    window.rotate_left(oldest);
    for future in &mut window {
        ended(over, executor(future));
        over += 1;
    }
}

#[cfg(test)]
mod tests {
    use std::future::ready;

    use super::{block_on, windowed};

    #[test]
    fn every_output_is_handed_over_in_order_and_no_more_are_under_way() {
        let (begun, mut outputs) = (std::cell::Cell::new(0u64), Vec::new());
        let begin = |number| {
            begun.set(begun.get() + 1);
            ready(number)
        };
        windowed(
            (10, 4),
            |future| block_on(future),
            begin,
            |number, output: u64| {
                assert!(begun.get() <= number + 4, "{} begun, {number} ended", begun.get());
                outputs.push(output);
            },
        );
        assert!(outputs.into_iter().eq(0..10));
    }
}
