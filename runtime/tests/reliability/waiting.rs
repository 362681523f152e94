//! Futures that are polled when they have been woken, and not before: a wake that is lost is a future that pends.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    thread,
    time::{Duration, Instant},
};

use crate::stage::Pace;

/// How long a future may pend: the device needs no time, so this is far beyond what any needs.
const PATIENCE: Duration = Duration::from_secs(20);

struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Release);
    }
}

/// A future, and whether it was woken.
pub(crate) struct Waiting<'a, T> {
    future: Pin<Box<dyn Future<Output = T> + 'a>>,
    flag: Arc<Flag>,
    output: Option<T>,
}

impl<'a, T> Waiting<'a, T> {
    pub(crate) fn new(future: impl Future<Output = T> + 'a) -> Self {
        let flag = Arc::new(Flag(AtomicBool::new(true)));
        Self { future: Box::pin(future), flag, output: None }
    }

    /// Polls it if it was woken. Whether it has resolved.
    pub(crate) fn poll(&mut self) -> bool {
        if self.output.is_none() && self.flag.0.swap(false, Ordering::Acquire) {
            let waker = Waker::from(self.flag.clone());
            if let Poll::Ready(output) = self.future.as_mut().poll(&mut Context::from_waker(&waker))
            {
                self.output = Some(output);
            }
        }
        self.output.is_some()
    }

    /// What it resolved to, if that was in time.
    pub(crate) fn wait(mut self) -> Option<T> {
        resolve(std::slice::from_mut(&mut self), None, |_, _| ());
        self.output
    }

    /// What it has resolved to so far.
    pub(crate) fn into_output(self) -> Option<T> {
        self.output
    }
}

/// Waits for all of them, and tells of each when it resolves; the poller goes on when nothing more is woken. Those that take
/// too long stay without an output.
pub(crate) fn resolve<T>(
    all: &mut [Waiting<'_, T>],
    pace: Option<&Pace>,
    mut told: impl FnMut(usize, &T),
) {
    let mut end = Instant::now() + PATIENCE;
    while all.iter().any(|waiting| waiting.output.is_none()) && Instant::now() < end {
        let is_awaited = pace.is_some_and(Pace::is_awaited);
        let mut progress = false;
        for (number, waiting) in all.iter_mut().enumerate() {
            if waiting.output.is_none() && waiting.poll() {
                progress = true;
                if let Some(output) = &waiting.output {
                    told(number, output);
                }
            }
        }
        if progress {
            end = Instant::now() + PATIENCE;
        } else if let Some(pace) = pace.filter(|_| is_awaited) {
            pace.go_on();
        } else {
            thread::yield_now();
        }
    }
}
