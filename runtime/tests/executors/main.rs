//! One suite under four executors: futures are woken through a plain `Waker`, and nothing else is asked of
//! whoever runs them. `bodies` does the main job, `wakers` does it from inside a waker.
#![cfg(all(not(loom), not(miri)))]

mod bodies;
#[path = "../common/mod.rs"]
mod common;
mod wakers;

use std::future::Future;

/// Runs a body to its end on the executor under test.
trait Executor {
    fn run(body: impl Future<Output = ()> + Send + 'static);
}

/// An executor that takes further tasks.
trait Spawner: Executor {
    fn spawn<T: Send + 'static>(
        task: impl Future<Output = T> + Send + 'static,
    ) -> impl Future<Output = T> + Send;
}

struct TokioCurrentThread;
struct TokioMultiThread;
struct FuturesBlockOn;
struct SmolBlockOn;

impl Executor for TokioCurrentThread {
    fn run(body: impl Future<Output = ()> + Send + 'static) {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(body);
    }
}

impl Executor for TokioMultiThread {
    /// On a worker, not on the thread that waits.
    fn run(body: impl Future<Output = ()> + Send + 'static) {
        let executor = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build();
        executor.unwrap().block_on(async { tokio::spawn(body).await.unwrap() });
    }
}

impl Executor for FuturesBlockOn {
    fn run(body: impl Future<Output = ()> + Send + 'static) {
        futures::executor::block_on(body);
    }
}

impl Executor for SmolBlockOn {
    fn run(body: impl Future<Output = ()> + Send + 'static) {
        smol::block_on(body);
    }
}

impl Spawner for TokioCurrentThread {
    async fn spawn<T: Send + 'static>(task: impl Future<Output = T> + Send + 'static) -> T {
        tokio::spawn(task).await.unwrap()
    }
}

impl Spawner for TokioMultiThread {
    async fn spawn<T: Send + 'static>(task: impl Future<Output = T> + Send + 'static) -> T {
        tokio::spawn(task).await.unwrap()
    }
}

impl Spawner for SmolBlockOn {
    async fn spawn<T: Send + 'static>(task: impl Future<Output = T> + Send + 'static) -> T {
        smol::spawn(task).await
    }
}

macro_rules! suite {
    ($($module:ident: $executor:ident)*) => {$(
        mod $module {
            use super::*;

            #[test]
            fn copies_fills_fences_and_batches() {
                $executor::run(bodies::main_job());
            }

            #[test]
            fn many_at_a_time() {
                $executor::run(bodies::many_at_a_time());
            }

            #[test]
            fn the_loser_of_a_select_is_dropped_in_flight() {
                $executor::run(bodies::loser_of_a_select());
            }

            #[test]
            fn errors_are_outcomes() {
                $executor::run(bodies::errors_are_outcomes());
            }

            #[test]
            fn shutdown_waits_for_what_is_in_flight() {
                $executor::run(bodies::shutdown_drains());
            }

            #[test]
            fn shutdown_gives_up_at_its_deadline() {
                $executor::run(bodies::shutdown_gives_up());
            }

            #[test]
            fn a_waker_submits() {
                $executor::run(wakers::submits());
            }

            #[test]
            fn a_waker_polls_another_future() {
                $executor::run(wakers::polls_another());
            }

            #[test]
            fn a_waker_drops_futures() {
                $executor::run(wakers::drops_futures());
            }

            #[test]
            fn a_waker_drops_the_last_handle_of_a_region() {
                $executor::run(wakers::drops_the_last_handle());
            }

            #[test]
            fn a_waker_drops_the_runtime() {
                $executor::run(wakers::drops_the_runtime());
            }

            #[test]
            fn a_waker_panics() {
                $executor::run(wakers::panics());
            }

            #[test]
            fn a_waker_of_a_dropped_future_is_dropped_and_not_called() {
                $executor::run(wakers::is_dropped());
            }
        }
    )*};
}

suite! {
    tokio_current_thread: TokioCurrentThread
    tokio_multi_thread: TokioMultiThread
    futures_block_on: FuturesBlockOn
    smol_block_on: SmolBlockOn
}

#[test]
fn tasks_of_a_current_thread_share_a_runtime() {
    TokioCurrentThread::run(bodies::tasks_share_a_runtime::<TokioCurrentThread>());
}

#[test]
fn tasks_of_many_threads_share_a_runtime() {
    TokioMultiThread::run(bodies::tasks_share_a_runtime::<TokioMultiThread>());
}

#[test]
fn tasks_of_smol_share_a_runtime() {
    SmolBlockOn::run(bodies::tasks_share_a_runtime::<SmolBlockOn>());
}
