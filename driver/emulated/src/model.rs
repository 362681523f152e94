//! The whole device behind its lock, and what a step is.
//!
//! One lock covers everything but what is upstream, which has its own, taken inside. A step takes the lock
//! for one descriptor at a time; whoever accesses registers says so in `waiting` first, and the clock
//! lets him pass. A clock that waits for the lock says so in `due`, and who accesses registers again and again
//! lets it pass: the lock alone would let a polling driver keep the device from ever taking a step. A
//! thread that waits for work does so on `bell`, which an access rings when it left work.

use std::sync::{
    Arc, Condvar, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};
use std::thread;

use crate::{
    channel::{Channel, Ran},
    fault::{FaultPlan, Schedule},
    function::{FunctionModel, Surroundings},
    guest::ChipsetError,
    random::Random,
    upstream::Upstream,
    violation::Log,
};

#[derive(Debug)]
pub(crate) struct Shared {
    upstream: Arc<dyn Upstream>,
    model: Mutex<Model>,
    bell: Condvar,
    waiting: AtomicUsize,
    due: AtomicBool,
}

/// How often an access gives way to the clock before it goes on.
const COURTESY: u32 = 1024;

#[derive(Debug)]
pub(crate) struct Model {
    functions: Vec<FunctionModel>,
    channels_per_function: usize,
    schedule: Schedule,
    random: Random,
    log: Log,
    executed: u64,
    parked: usize,
    paused: bool,
    /// How many descriptors end before the clock leaves them alone.
    pause_after: Option<u64>,
}

impl Shared {
    pub(crate) fn new(upstream: Arc<dyn Upstream>, model: Model) -> Self {
        let (bell, waiting, due) = (Condvar::new(), AtomicUsize::new(0), AtomicBool::new(false));
        Self { upstream, model: Mutex::new(model), bell, waiting, due }
    }

    /// Works on the device, and wakes whoever waits for work if there is some afterwards.
    pub(crate) fn with<R>(&self, work: impl FnOnce(&mut Model, &dyn Upstream) -> R) -> R {
        for _ in 0..COURTESY {
            if !self.due.load(Ordering::Relaxed) {
                break;
            }
            thread::yield_now();
        }
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let mut model = self.lock();
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        let result = work(&mut model, self.upstream.as_ref());
        let wake = model.parked > 0 && self.has_work(&model);
        drop(model);
        if wake {
            self.bell.notify_all();
        }
        result
    }

    /// Carries out one descriptor, if there is one: for the clock, which lets others pass.
    pub(crate) fn turn(&self) -> Turn {
        self.due.store(true, Ordering::Relaxed);
        let mut model = self.lock();
        self.due.store(false, Ordering::Relaxed);
        if !self.upstream.is_ready() {
            return Turn::Worked;
        }
        let upstream = self.upstream.as_ref();
        model.tick(upstream);
        let worked = !model.paused && model.step_one(upstream).is_some();
        if worked || model.has_work() { Turn::Worked } else { Turn::Idle }
    }

    /// Does what the clock may wait for, with no lock held.
    ///
    /// # Errors
    ///
    /// Those of what is upstream; the device cannot go on then.
    pub(crate) fn attend(&self) -> Result<(), ChipsetError> {
        self.upstream.attend()
    }

    /// Whether somebody waits to access the device.
    pub(crate) fn is_wanted(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }

    /// Waits until there is work or `stop` holds. Whoever makes `stop` hold calls [`Shared::ring`].
    pub(crate) fn wait_for_work(&self, stop: impl Fn() -> bool) {
        let mut model = self.lock();
        model.parked += 1;
        let idle = |model: &mut Model| !self.has_work(model) && !stop();
        let mut model = self.bell.wait_while(model, idle).unwrap_or_else(PoisonError::into_inner);
        model.parked -= 1;
    }

    /// Wakes those who wait for work, to look again.
    pub(crate) fn ring(&self) {
        // Under the lock, so that nobody is between looking and waiting.
        let model = self.lock();
        self.bell.notify_all();
        drop(model);
    }

    fn has_work(&self, model: &Model) -> bool {
        model.has_work() || self.upstream.has_errands()
    }

    fn lock(&self) -> MutexGuard<'_, Model> {
        self.model.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What came of a turn of the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    Worked,
    Idle,
}

impl Model {
    pub(crate) fn new(functions: Vec<FunctionModel>, plan: &FaultPlan, seed: u64) -> Self {
        let channels_per_function = functions.first().map_or(1, |first| first.channels().len());
        Self {
            functions,
            channels_per_function,
            schedule: Schedule::new(plan),
            random: Random::new(seed),
            log: Log::default(),
            executed: 0,
            parked: 0,
            paused: false,
            pause_after: None,
        }
    }

    pub(crate) fn functions(&self) -> &[FunctionModel] {
        &self.functions
    }

    /// The function with this index, and what an access to it needs.
    pub(crate) fn access<'a>(
        &'a mut self,
        index: u8,
        upstream: &'a dyn Upstream,
    ) -> Option<(&'a mut FunctionModel, Surroundings<'a>)> {
        let function = self.functions.get_mut(usize::from(index))?;
        Some((function, Surroundings { upstream, log: &mut self.log }))
    }

    pub(crate) fn log(&self) -> &Log {
        &self.log
    }

    pub(crate) fn executed(&self) -> u64 {
        self.executed
    }

    pub(crate) fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    pub(crate) fn set_plan(&mut self, plan: &FaultPlan) {
        self.schedule = Schedule::new(plan);
    }

    /// Whether the clock leaves descriptors alone.
    pub(crate) fn set_paused(&mut self, paused: bool) {
        (self.paused, self.pause_after) = (paused, None);
    }

    /// Has the clock leave descriptors alone once so many more have ended.
    pub(crate) fn pause_after(&mut self, descriptors: u64) {
        (self.paused, self.pause_after) = (descriptors == 0, Some(descriptors));
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.paused
    }

    /// How many clocks wait for work.
    #[cfg(test)]
    pub(crate) fn parked(&self) -> usize {
        self.parked
    }

    /// Whether a step would change anything; of a paused device, whether time does.
    pub(crate) fn has_work(&self) -> bool {
        self.functions.iter().filter(|function| !function.is_gone()).any(|function| {
            let mut channels = function.channels().iter();
            channels.any(|channel| {
                let descriptors = channel.can_run() || channel.has_late_write();
                channel.is_resetting() || descriptors && !self.paused
            })
        })
    }

    /// What time does apart from descriptors: resets come to their end, late words are written.
    pub(crate) fn tick(&mut self, upstream: &dyn Upstream) {
        let per = self.channels_per_function;
        for function in &mut self.functions {
            if function.is_gone() {
                continue;
            }
            function.channels_mut().iter_mut().for_each(Channel::tick);
            for channel in 0..per {
                let late =
                    |found: &Channel| found.has_late_write() && !found.can_run() && !self.paused;
                if function.channels().get(channel).is_some_and(late) {
                    let mut with = Surroundings { upstream, log: &mut self.log };
                    function.flush(channel, &mut with);
                }
            }
        }
    }

    /// Carries out one descriptor of a channel chosen at random among those that have one. Gives
    /// whether it ended; `None` when no channel has one.
    pub(crate) fn step_one(&mut self, upstream: &dyn Upstream) -> Option<bool> {
        let ready = self.ready().count() as u64;
        if ready == 0 {
            return None;
        }
        let choice = if ready == 1 { 0 } else { self.random.below(ready) };
        let number = self.ready().nth(usize::try_from(choice).ok()?)?;
        self.step_channel(number, upstream)
    }

    /// Carries out one descriptor of this channel, as [`Model::step_one`].
    pub(crate) fn step_channel(&mut self, number: usize, upstream: &dyn Upstream) -> Option<bool> {
        self.ready().find(|ready| *ready == number)?;
        let (at, channel) =
            (number / self.channels_per_function, number % self.channels_per_function);
        let mut with = Surroundings { upstream, log: &mut self.log };
        let function = self.functions.get_mut(at)?;
        let ended = function.run(channel, &mut self.schedule, &mut with) == Ran::Ended;
        self.executed += u64::from(ended);
        if let Some(left) = self.pause_after.as_mut().filter(|_| ended) {
            *left = left.saturating_sub(1);
            self.paused |= *left == 0;
        }
        Some(ended)
    }

    /// The channels that have a descriptor to carry out.
    fn ready(&self) -> impl Iterator<Item = usize> + '_ {
        let per = self.channels_per_function;
        let present = self.functions.iter().enumerate().filter(|(_, found)| !found.is_gone());
        present.flat_map(move |(at, function)| {
            let channels = function.channels().iter().enumerate();
            channels
                .filter(|(_, found)| found.can_run())
                .map(move |(channel, _)| at * per + channel)
        })
    }
}
