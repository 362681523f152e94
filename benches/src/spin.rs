//! An executor that never sleeps: it polls until there is an answer.

use std::{
    collections::VecDeque,
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
/// `begin` makes future `n` and has it submitted; the oldest is awaited by `executor` before the next one is begun.
pub fn windowed<F: Future>(
    (count, depth): (u64, usize),
    executor: impl Fn(F) -> F::Output,
    mut begin: impl FnMut(u64) -> F,
    mut ended: impl FnMut(u64, F::Output),
) {
    let mut window = VecDeque::with_capacity(depth);
    let mut over = 0;
    for number in 0..count {
        if window.len() == depth.max(1)
            && let Some(oldest) = window.pop_front()
        {
            ended(over, executor(oldest));
            over += 1;
        }
        window.push_back(begin(number));
    }
    for future in window {
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
        windowed((10, 4), block_on, begin, |number, output: u64| {
            assert!(begun.get() <= number + 4, "{} begun, {number} ended", begun.get());
            outputs.push(output);
        });
        assert!(outputs.into_iter().eq(0..10));
    }
}
