//! A thread that sleeps on a futex and answers when it is woken: what a wake-up costs by itself, and what [brings](crate::together)
//! two cores together. It looks whether its core is shared where it is asked to.

use std::{
    hint, io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
};

use dmaring_benches::{pinning, shared};
use rustix::thread::futex::{self, Flags};

/// The request that asks the thread to end.
const END: u32 = u32::MAX;

/// The words of both sides, each on a line of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Word(AtomicU32);

#[derive(Debug, Default)]
struct Words {
    /// The last request, which the thread sleeps on.
    asked: Word,
    /// The last one that it saw.
    answered: Word,
    /// Whether it is to look at its core when it has answered.
    is_to_look: AtomicBool,
    /// What it found; 0 before.
    looked: AtomicU64,
}

/// The thread, bound to a core. Dropping this ends it.
#[derive(Debug)]
pub(crate) struct Sleeper {
    words: Arc<Words>,
    thread: Option<JoinHandle<()>>,
}

impl Sleeper {
    /// Starts it, and waits until it has answered for the first time.
    ///
    /// # Errors
    ///
    /// If the thread cannot be had, or the core.
    pub(crate) fn start(core: usize) -> io::Result<Self> {
        let words = Arc::new(Words::default());
        let its = Arc::clone(&words);
        let (report, reported) = std::sync::mpsc::channel();
        let thread = thread::Builder::new().name("sleeper".into()).spawn(move || {
            let pinned = pinning::pin(core);
            let works = pinned.is_ok();
            let _ = report.send(pinned);
            if works {
                answer(&its);
            }
        })?;
        reported.recv().map_err(io::Error::other)??;
        let mut sleeper = Self { words, thread: Some(thread) };
        sleeper.wake();
        Ok(sleeper)
    }

    /// Wakes it and spins until it has answered.
    pub(crate) fn wake(&mut self) {
        let request = self.words.asked.0.load(Ordering::Relaxed) + 1;
        self.ask(request);
        while self.words.answered.0.load(Ordering::Acquire) != request {
            hint::spin_loop();
        }
    }

    /// Looks whether this thread's core and its own are shared, at the same time.
    pub(crate) fn look(&mut self) -> [u64; 2] {
        self.words.looked.store(0, Ordering::Relaxed);
        // Told by the request.
        self.words.is_to_look.store(true, Ordering::Relaxed);
        self.wake();
        let here = shared::look_long();
        loop {
            match self.words.looked.load(Ordering::Relaxed) {
                0 => hint::spin_loop(),
                there => return [here, there],
            }
        }
    }

    fn ask(&self, request: u32) {
        self.words.asked.0.store(request, Ordering::Release);
        // An error would mean that nobody can sleep there.
        let _ = futex::wake(&self.words.asked.0, Flags::empty(), 1);
    }
}

/// Answers every request, and sleeps in between.
fn answer(words: &Words) {
    let mut seen = 0;
    while seen != END {
        // Whatever ends it, the word is looked at.
        let _ = futex::wait(&words.asked.0, Flags::empty(), seen, None);
        seen = words.asked.0.load(Ordering::Acquire);
        words.answered.0.store(seen, Ordering::Release);
        if words.is_to_look.swap(false, Ordering::Relaxed) {
            words.looked.store(shared::look_long().max(1), Ordering::Relaxed);
        }
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        self.ask(END);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
