//! The same 64-byte copies as programs make them today: on tokio's blocking threads, and on a busy thread of one's own.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use dmaring_benches::{
    pinning,
    record::{Chunks, Latencies, Measuring, Unit},
};
use tokio::{
    runtime::{Builder, Runtime},
    sync::{
        mpsc::{self, error::TryRecvError},
        oneshot,
    },
    task,
};

use crate::{
    Outcome, Setup,
    memory::Blocks,
    short::{BLOCKS, COPIES, DEPTH, SLOW_LATENCIES},
    together,
};

/// Words of a block of 64 bytes.
const WORDS: usize = 8;
/// A fifth of the others' copies: these are slower.
const FEWER: u64 = COPIES / 5;

pub(crate) fn measure(setup: &Setup) -> Outcome {
    let blocks = Blocks::new(setup, 64, BLOCKS * 64);
    blocking(setup, &blocks)?;
    Busy::start(setup, &blocks)?.latency()?;
    Busy::start(setup, &blocks)?.in_flight()
}

fn blocking(setup: &Setup, blocks: &Blocks) -> Outcome {
    together::bring(setup.poller_core)?;
    let memory = Memory::new();
    let core = setup.poller_core;
    let executor = Builder::new_current_thread()
        .max_blocking_threads(1)
        .on_thread_start(move || {
            // Where that fails the thread is not pinned, and the round is void.
            let _ = pinning::pin(core);
        })
        .build()?;
    let mut latencies = Latencies::new();
    let mut measure = |count| {
        latencies.reset();
        executor.block_on(async {
            for number in 0..count {
                let (memory, copy) = (memory.clone(), blocks.copy(number));
                task::spawn_blocking(move || memory.copy(copy)).await?;
                latencies.tick();
            }
            Ok::<_, task::JoinError>(())
        })
    };
    measure(SLOW_LATENCIES / 10)?;
    let measuring = Measuring::begin("spawn_blocking", "copy64-1-tokio")?;
    measure(SLOW_LATENCIES)?;
    Ok(measuring.end(Unit::Ns, latencies.samples())?.print(memory.verify(blocks))?)
}

/// A thread that never sleeps and makes the copies it is sent, each answered by a oneshot.
struct Busy<'a> {
    blocks: &'a Blocks,
    memory: Arc<Memory>,
    jobs: mpsc::Sender<Job>,
    executor: Runtime,
}

struct Job {
    copy: (u64, u64),
    done: oneshot::Sender<()>,
}

impl<'a> Busy<'a> {
    fn start(setup: &Setup, blocks: &'a Blocks) -> std::io::Result<Self> {
        together::bring(setup.poller_core)?;
        let (jobs, mut queue) = mpsc::channel::<Job>(2 * DEPTH);
        let memory = Memory::new();
        let (core, memory_there) = (setup.poller_core, memory.clone());
        thread::Builder::new().name("busy".to_owned()).spawn(move || {
            // As above.
            let _ = pinning::pin(core);
            loop {
                match queue.try_recv() {
                    Ok(Job { copy, done }) => {
                        memory_there.copy(copy);
                        // Nobody waits for it if the measurement failed.
                        let _ = done.send(());
                    }
                    Err(TryRecvError::Empty) => std::hint::spin_loop(),
                    Err(TryRecvError::Disconnected) => return,
                }
            }
        })?;
        Ok(Self { blocks, memory, jobs, executor: Builder::new_current_thread().build()? })
    }

    async fn send(&self, number: u64) -> Result<oneshot::Receiver<()>, Gone> {
        let (done, answer) = oneshot::channel();
        self.jobs.send(Job { copy: self.blocks.copy(number), done }).await.map_err(|_| Gone)?;
        Ok(answer)
    }

    fn latency(&self) -> Outcome {
        let mut latencies = Latencies::new();
        let mut measure = |count| {
            latencies.reset();
            self.executor.block_on(async {
                for number in 0..count {
                    self.send(number).await?.await.map_err(|_| Gone)?;
                    latencies.tick();
                }
                Ok::<_, Gone>(())
            })
        };
        measure(SLOW_LATENCIES / 10)?;
        let measuring = Measuring::begin("mpsc_oneshot", "copy64-1-tokio")?;
        measure(SLOW_LATENCIES)?;
        let record = measuring.end(Unit::Ns, latencies.samples())?;
        Ok(record.print(self.memory.verify(self.blocks))?)
    }

    fn in_flight(&self) -> Outcome {
        let run = |count| {
            let mut chunks = Chunks::of(count);
            self.executor.block_on(async {
                let mut window: VecDeque<oneshot::Receiver<()>> = VecDeque::with_capacity(DEPTH);
                let mut ended = 0;
                for number in 0..count {
                    if window.len() == DEPTH {
                        window.pop_front().ok_or(Gone)?.await.map_err(|_| Gone)?;
                        ended += 1;
                        chunks.ended(ended);
                    }
                    window.push_back(self.send(number).await?);
                }
                for answer in window {
                    answer.await.map_err(|_| Gone)?;
                    ended += 1;
                    chunks.ended(ended);
                }
                Ok::<_, Gone>(chunks)
            })
        };
        run(FEWER / 10)?;
        let measuring = Measuring::begin("mpsc_oneshot", "copy64-32")?;
        let chunks = run(FEWER)?;
        let record = measuring.end(Unit::PerS, chunks.rates(1))?;
        Ok(record.print(self.memory.verify(self.blocks))?)
    }
}

/// The busy thread ended, or lost a job.
#[derive(Debug)]
struct Gone;

impl std::fmt::Display for Gone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the busy thread ended before its work")
    }
}

impl std::error::Error for Gone {}

/// Memory that safe code of two threads may copy in: words, read and written by relaxed atomics.
struct Memory {
    source: Vec<AtomicU64>,
    destination: Vec<AtomicU64>,
}

impl Memory {
    fn new() -> Arc<Self> {
        let words = 0..(BLOCKS * WORDS) as u64;
        let source = words.clone().map(|word| AtomicU64::new(word + 1)).collect();
        let destination = words.map(|_| AtomicU64::new(0)).collect();
        Arc::new(Self { source, destination })
    }

    fn copy(&self, copy: (u64, u64)) {
        for (from, to) in self.words(copy) {
            to.store(from.load(Ordering::Relaxed), Ordering::Relaxed);
        }
    }

    fn verify(&self, blocks: &Blocks) -> bool {
        let mut pairs = (0..blocks.count()).flat_map(|number| self.words(blocks.copy(number)));
        pairs.all(|(from, to)| from.load(Ordering::Relaxed) == to.load(Ordering::Relaxed))
    }

    fn words(&self, (from, to): (u64, u64)) -> impl Iterator<Item = (&AtomicU64, &AtomicU64)> {
        let block =
            |words, at| &<Vec<_> as AsRef<[AtomicU64]>>::as_ref(words)[at as usize / 8..][..WORDS];
        block(&self.source, from).iter().zip(block(&self.destination, to))
    }
}
