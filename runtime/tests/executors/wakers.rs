//! What a waker may do. It is foreign code on the poller's thread, and whatever it calls, the poller must
//! neither wait for itself nor die of it.

use std::{
    future::Future,
    panic::{self, AssertUnwindSafe},
    pin::Pin,
    sync::{
        Arc, Mutex,
        mpsc::{Receiver, Sender, channel},
    },
    task::{Context, Poll, Wake, Waker},
    thread,
};

use dmaring::{Copy, Error, ErrorKind};
use dmaring_manual::Control;
use futures::future::join;

use crate::common::{
    LONG, bytes, eventually, kind, manual, pattern, poll_once, poll_with, region_of,
};

type Hook = Box<dyn FnOnce() + Send>;

/// On which thread a hook ran, and whether it panicked.
#[derive(Debug, PartialEq, Eq)]
struct Ran {
    thread: String,
    panicked: bool,
}

/// A waker that runs a hook, once, before it passes the call on to the task's own waker.
struct HookWaker {
    hook: Mutex<Option<Hook>>,
    task: Mutex<Option<Waker>>,
    /// Told how the hook ended.
    ran: Sender<Ran>,
}

impl Wake for HookWaker {
    fn wake(self: Arc<Self>) {
        // The task is woken whether or not the hook returns.
        struct Pass<'a>(&'a HookWaker);
        impl Drop for Pass<'_> {
            fn drop(&mut self) {
                if let Ok(mut task) = self.0.task.lock()
                    && let Some(task) = task.take()
                {
                    task.wake();
                }
            }
        }
        let _pass = Pass(&self);
        let hook = self.hook.lock().unwrap().take();
        if let Some(hook) = hook {
            let thread = thread::current().name().unwrap_or_default().to_owned();
            let outcome = panic::catch_unwind(AssertUnwindSafe(hook));
            self.ran.send(Ran { thread, panicked: outcome.is_err() }).unwrap();
            if let Err(panic) = outcome {
                panic::resume_unwind(panic);
            }
        }
    }
}

/// A copy that is polled with a [`HookWaker`].
struct Hooked {
    copy: Copy,
    waker: Arc<HookWaker>,
}

impl Future for Hooked {
    type Output = Result<u64, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        *self.waker.task.lock().unwrap() = Some(context.waker().clone());
        let waker = Waker::from(self.waker.clone());
        poll_with(&mut self.copy, &waker)
    }
}

/// Awaits `copy` and has the engine end all that is outstanding meanwhile; `hook` runs inside the waker. The
/// task polls the copy before that and not again until it is woken, so that the hook runs on the poller.
async fn wake_into(copy: Copy, control: &Control, hook: impl FnOnce() + Send + 'static) {
    let ran = ends_into(copy, control, hook).await;
    assert_eq!(ran, Ran { thread: "dmaring-poller".into(), panicked: false });
}

async fn ends_into(copy: Copy, control: &Control, hook: impl FnOnce() + Send + 'static) -> Ran {
    let others = control.submitted();
    let (hooked, ran) = hooked(copy, hook);
    let (outcome, ()) = join(hooked, async {
        control.wait_for_submitted(others + 1);
        control.complete_all();
    })
    .await;
    assert_eq!(outcome.unwrap(), 64);
    ran.recv_timeout(LONG).unwrap()
}

fn hooked(copy: Copy, hook: impl FnOnce() + Send + 'static) -> (Hooked, Receiver<Ran>) {
    let (ran, heard) = channel();
    let waker = HookWaker { hook: Mutex::new(Some(Box::new(hook))), task: Mutex::new(None), ran };
    (Hooked { copy, waker: Arc::new(waker) }, heard)
}

pub(super) async fn submits() {
    let (runtime, control) = manual(2);
    let src = region_of(&runtime, &pattern(1, 512));
    let dst = runtime.allocate(512).unwrap();
    let (submitted, copies) = channel();
    let (from, to) = (src.clone(), dst.clone());
    wake_into(src.copy_to(0, &dst, 0, 64), &control, move || {
        // Two find a place in the ring, the rest waits for one.
        for n in 1..6 {
            submitted.send(from.copy_to(n * 64, &to, n * 64, 64).submit()).unwrap();
        }
    })
    .await;
    control.release();
    let mut count = 0;
    while let Ok(copy) = copies.try_recv() {
        assert_eq!(copy.await.unwrap(), 64);
        count += 1;
    }
    assert_eq!(count, 5);
    assert_eq!(bytes(&dst, 0, 6 * 64), pattern(1, 512)[..6 * 64]);
}

pub(super) async fn polls_another() {
    let (runtime, control) = manual(8);
    let region = region_of(&runtime, &pattern(2, 512));
    let mut fresh = region.copy(0, 128, 64);
    let mut running = region.copy(0, 192, 64).submit();
    control.wait_for_submitted(1);
    control.complete_all();
    let (polled, copies) = channel();
    wake_into(region.copy(0, 64, 64), &control, move || {
        assert!(poll_once(&mut fresh).is_pending());
        // Its completion was reaped before or stands in the ring: this poll may have to take the reap role.
        assert!(matches!(poll_once(&mut running), Poll::Ready(Ok(64))));
        polled.send(fresh).unwrap();
    })
    .await;
    control.release();
    assert_eq!(copies.recv_timeout(LONG).unwrap().await.unwrap(), 64);
    assert_eq!(bytes(&region, 128, 64), pattern(2, 64));
}

pub(super) async fn drops_futures() {
    let (runtime, control) = manual(4);
    let src = region_of(&runtime, &pattern(3, 64));
    let dst = runtime.allocate(64 * 8).unwrap();
    let copy = |place: u64| src.copy_to(0, &dst, place * 64, 64);
    let finished = copy(1).submit();
    control.wait_for_submitted(1);
    control.complete_all();
    eventually("an end", || runtime.stats().completed == 1);
    let (in_flight, unpolled) = (copy(2).submit(), copy(3));
    control.wait_for_submitted(1);
    wake_into(copy(0), &control, move || drop((finished, in_flight, unpolled))).await;
    // All four permits are taken, and a fifth operation waits for one.
    let held: Vec<_> = (4..8).map(|place| copy(place).submit()).collect();
    control.wait_for_submitted(4);
    let waiting = copy(3).submit();
    let mut held = held.into_iter();
    let first = held.next().unwrap();
    let (hooked, ran) = hooked(first, move || drop(waiting));
    let (outcome, ()) = join(hooked, async {
        control.complete_all();
    })
    .await;
    assert_eq!(outcome.unwrap(), 64);
    assert!(!ran.recv_timeout(LONG).unwrap().panicked);
    control.release();
    for copy in held {
        assert_eq!(copy.await.unwrap(), 64);
    }
    assert_eq!(bytes(&dst, 2 * 64, 64), pattern(3, 64), "it was in flight");
    assert_eq!(control.violations(), []);
}

pub(super) async fn drops_the_last_handle() {
    let (runtime, control) = manual(8);
    let region = runtime.allocate(256).unwrap();
    let last = runtime.allocate(4096).unwrap();
    let domain = control.domain();
    assert_eq!(domain.live(), 2);
    wake_into(region.copy(0, 64, 64), &control, move || drop(last)).await;
    eventually("the unmapping", || domain.live() == 1);
    assert_eq!(control.violations(), []);
}

pub(super) async fn drops_the_runtime() {
    let (runtime, control) = manual(8);
    let region = region_of(&runtime, &pattern(4, 64 * 4));
    let copy = region.copy(0, 64, 64);
    let other = region.copy(0, 128, 64).submit();
    control.wait_for_submitted(1);
    wake_into(copy, &control, move || drop(runtime)).await;
    control.release();
    assert_eq!(other.await.unwrap(), 64);
    control.wait_for_stop();
    assert!(control.halted());
    assert_eq!(kind(region.copy(0, 192, 64).await), ErrorKind::Closed);
    assert_eq!(bytes(&region, 128, 64), pattern(4, 64));
}

pub(super) async fn panics() {
    let (runtime, control) = manual(8);
    let region = region_of(&runtime, &pattern(5, 64 * 5));
    let other = region.copy(0, 128, 64).submit();
    // Else it could be the one that is completed below.
    control.wait_for_submitted(1);
    let panicking = region.copy(0, 64, 64);
    let ran = ends_into(panicking, &control, || panic!("as the test wants it")).await;
    assert!(ran.panicked);
    control.release();
    assert_eq!(other.await.unwrap(), 64);
    assert_eq!(region.copy(0, 192, 64).await.unwrap(), 64);
    runtime.shutdown(LONG).await.unwrap();
}

pub(super) async fn is_dropped() {
    let (runtime, control) = manual(8);
    let region = runtime.allocate(256).unwrap();
    let last = runtime.allocate(4096).unwrap();
    let (mut copy, ran) = hooked(region.copy(0, 64, 64), move || drop(last));
    let nobody = Waker::noop();
    assert!(poll_with(&mut copy, nobody).is_pending());
    drop(copy);
    control.wait_for_submitted(1);
    assert_eq!(control.domain().live(), 2, "the waker is kept while the copy is in flight");
    control.complete_all();
    // Nobody polls: the poller reaps, and the hook dies with its waker.
    assert!(ran.recv_timeout(LONG).is_err(), "called for a future that is gone");
    eventually("the unmapping", || control.domain().live() == 1);
}
