//! A device model with its driver: each channel an engine.
#![allow(dead_code, reason = "each suite uses a part of it")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use dmaring::Builder;
use dmaring_driver::ioat::{IoatChannel, MonotonicClock, Options};
use dmaring_emulated::{Bar, Clock, Device, DeviceBuilder, Violation, ViolationKind};

/// How much slower than silicon the model may be: other tests use the same few cores.
const SLOWNESS: u32 = 50;

/// A device whose clock runs. It stops when this is dropped: after the runtime.
pub(crate) struct Rig {
    pub(crate) device: Device,
    /// In real time. `None`: the device is never taken for hung.
    pub(crate) hang_after: Option<Duration>,
    clock: Ticking,
}

enum Ticking {
    /// The device's own clock, until it is dropped.
    Clock(Clock),
    /// A thread of the test's that steps the device.
    Steps(Arc<AtomicBool>, Option<JoinHandle<()>>),
}

impl Rig {
    pub(crate) fn new(builder: DeviceBuilder) -> Self {
        let device = builder.build().unwrap();
        let clock = Ticking::Clock(device.run().unwrap());
        Self { device, hang_after: None, clock }
    }

    /// A device that takes as many steps at a time as `next` says.
    pub(crate) fn stepped(
        builder: DeviceBuilder,
        mut next: impl FnMut() -> usize + Send + 'static,
    ) -> Self {
        let device = builder.build().unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let (stepped, stopped) = (device.clone(), stop.clone());
        let thread = thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                if stepped.step(next()) == 0 {
                    thread::yield_now();
                }
            }
        });
        Self { device, hang_after: None, clock: Ticking::Steps(stop, Some(thread)) }
    }

    /// Gives every channel of the device to a runtime, with rings of so many descriptors.
    pub(crate) fn add_to(&self, mut builder: Builder, ring_entries: u32) -> Builder {
        for channel in self.channels(ring_entries, None) {
            builder = builder.engine(channel);
        }
        builder
    }

    /// The same, for a device that is on a NUMA node.
    pub(crate) fn add_on(&self, mut builder: Builder, ring_entries: u32, node: u32) -> Builder {
        for channel in self.channels(ring_entries, Some(node)) {
            builder = builder.engine(channel);
        }
        builder
    }

    fn channels(&self, ring_entries: u32, numa_node: Option<u32>) -> Vec<IoatChannel<Bar>> {
        let functions = (0..self.device.functions()).filter_map(|n| self.device.function(n));
        functions
            .map(|function| {
                let options = Options {
                    name: numa_node.map_or_else(
                        || format!("emulated{}", function.index()),
                        |node| format!("node{node}.{}", function.index()),
                    ),
                    numa_node,
                    ring_entries,
                    clock: Box::new(MonotonicClock::slowed(SLOWNESS)),
                    hang_after: self.hang_after.map(|after| after / SLOWNESS),
                    ..Options::default()
                };
                let config = Box::new(function.config());
                let domain = self.device.domain();
                IoatChannel::start(function.registers(), Some(config), domain, options).unwrap()
            })
            .collect()
    }

    /// Nothing reached memory that it should not have, and the driver kept the device's rules.
    pub(crate) fn assert_clean(&self) {
        self.assert_contained();
        assert_eq!(self.device.violations(), []);
    }

    /// The same for a device that halted in the midst of work: a doorbell may be on its way then, and come too late.
    pub(crate) fn assert_clean_but_for_late_doorbells(&self) {
        self.assert_contained();
        let late = |violation: &Violation| violation.kind == ViolationKind::CountWhileHalted;
        let violations = self.device.violations();
        assert!(violations.iter().all(late), "{violations:?}");
    }

    fn assert_contained(&self) {
        assert_eq!(self.device.domain().faults(), 0, "{:?}", self.device.domain().fault_list());
        assert_eq!(self.device.domain().misuse(), []);
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        match &mut self.clock {
            Ticking::Clock(_) => {}
            Ticking::Steps(stop, thread) => {
                stop.store(true, Ordering::Relaxed);
                if let Some(thread) = thread.take() {
                    let _ = thread.join();
                }
            }
        }
    }
}
