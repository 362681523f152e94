//! The device as its user has it.

use std::{io, sync::Arc};

use crate::{
    Clock, DeviceBuilder, FaultPlan, Function, Iommu, Preset, Violation,
    handle::{Bar, Config},
    model::{Model, Shared},
    upstream::Upstream,
};

/// An emulated I/OAT device of one or more PCI functions. Clones are the same device.
///
/// Channels are numbered through all functions, in their order: with one channel a function, as parts
/// have it, channel n is function n.
#[derive(Clone, Debug)]
pub struct Device {
    shared: Arc<Shared>,
    iommu: Arc<Iommu>,
    functions: u8,
    channels: usize,
}

impl Device {
    /// Starts to describe a device of this platform.
    #[must_use]
    pub fn builder(preset: Preset) -> DeviceBuilder {
        DeviceBuilder::new(preset)
    }

    pub(crate) fn new(shared: Shared, iommu: Arc<Iommu>) -> Self {
        let (functions, channels) = shared.with(|model, _| {
            let functions = model.functions();
            let channels = functions.iter().map(|function| function.channels().len()).sum();
            (u8::try_from(functions.len()).unwrap_or(u8::MAX), channels)
        });
        Self { shared: Arc::new(shared), iommu, functions, channels }
    }

    /// How many functions it has.
    #[must_use]
    pub fn functions(&self) -> u8 {
        self.functions
    }

    /// How many channels all functions have together.
    #[must_use]
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// The function with this index; `None` past the last.
    #[must_use]
    pub fn function(&self, index: u8) -> Option<Function> {
        (index < self.functions).then(|| Function::new(Arc::clone(&self.shared), index))
    }

    /// The registers of function 0.
    #[must_use]
    pub fn registers(&self) -> Bar {
        Function::new(Arc::clone(&self.shared), 0).registers()
    }

    /// The configuration space of function 0.
    #[must_use]
    pub fn config(&self) -> Config {
        Function::new(Arc::clone(&self.shared), 0).config()
    }

    /// The address space that all functions work in: for the driver and for the runtime.
    #[must_use]
    pub fn domain(&self) -> Arc<Iommu> {
        Arc::clone(&self.iommu)
    }

    /// Carries out up to `descriptors` descriptors and returns how many ended, well or badly.
    ///
    /// Each is the next of a channel chosen at random, by the seed, among those that have one. A call also
    /// brings pending resets one poll nearer their end and writes completion words that are late.
    pub fn step(&self, descriptors: usize) -> usize {
        self.step_with(descriptors, |model, upstream| model.step_one(upstream))
    }

    /// As [`step`](Self::step), on this channel alone.
    pub fn step_channel(&self, channel: usize, descriptors: usize) -> usize {
        self.step_with(descriptors, |model, upstream| model.step_channel(channel, upstream))
    }

    /// Whether a step would change anything: a descriptor, a pending reset or a late completion word.
    #[must_use]
    pub fn has_work(&self) -> bool {
        self.shared.with(|model, _| model.has_work())
    }

    /// Starts a thread that steps the device by itself until the guard is dropped.
    ///
    /// It lets register accesses pass between two descriptors, yields when it finds nothing to do, and
    /// soon waits until an access gives it work.
    ///
    /// # Errors
    ///
    /// Those of starting a thread.
    pub fn run(&self) -> io::Result<Clock> {
        Clock::start(Arc::clone(&self.shared))
    }

    /// Replaces the fault plan; the new one counts from here.
    pub fn set_fault_plan(&self, plan: &FaultPlan) {
        self.shared.with(|model, _| model.set_plan(plan));
    }

    /// How many planned faults have happened since the plan was set.
    #[must_use]
    pub fn faults_fired(&self) -> u64 {
        self.shared.with(|model, _| model.schedule().fired())
    }

    /// How many completion words a fault plan holds back that have not been written yet.
    #[must_use]
    pub fn held_words(&self) -> usize {
        let held = |model: &Model| {
            let channels = model.functions().iter().flat_map(|function| function.channels());
            channels.filter(|channel| channel.has_held_word()).count()
        };
        self.shared.with(|model, _| held(model))
    }

    /// How many descriptors have ended, well or badly.
    #[must_use]
    pub fn executed(&self) -> u64 {
        self.shared.with(|model, _| model.executed())
    }

    /// What drivers did that they must not, oldest first; the first 1024 are kept.
    #[must_use]
    pub fn violations(&self) -> Vec<Violation> {
        self.shared.with(|model, _| model.log().kept().to_vec())
    }

    /// How often drivers did what they must not.
    #[must_use]
    pub fn violation_count(&self) -> u64 {
        self.shared.with(|model, _| model.log().count())
    }

    fn step_with(
        &self,
        descriptors: usize,
        step: impl Fn(&mut Model, &dyn Upstream) -> Option<bool>,
    ) -> usize {
        self.shared.with(|model, upstream| model.tick(upstream));
        let mut ended = 0;
        while ended < descriptors
            && let Some(one) = self.shared.with(&step)
        {
            ended += usize::from(one);
        }
        ended
    }
}

#[cfg(test)]
mod tests {
    use dmaring_ioat_spec::RegisterIo;

    use super::{Device, Preset};

    /// Yields until it holds; gives up in the end, so that a clock that sleeps on is a failure.
    fn becomes(holds: impl Fn() -> bool) -> bool {
        (0..1_000_000).any(|_| {
            std::thread::yield_now();
            holds()
        })
    }

    #[test]
    fn an_access_wakes_a_clock_that_waits_for_work() {
        let device = Device::builder(Preset::Skx).reset_polls(3).build().unwrap();
        let clock = device.run().unwrap();
        for _ in 0..3 {
            assert!(becomes(|| device.shared.with(|model, _| model.parked()) == 1));
            device.registers().write8(0x84, 0x20);
            assert!(becomes(|| !device.has_work()));
        }
        assert!(becomes(|| device.shared.with(|model, _| model.parked()) == 1));
        drop(clock);
        assert_eq!(device.shared.with(|model, _| model.parked()), 0);
    }
}
