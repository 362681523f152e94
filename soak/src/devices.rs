//! The engines of a runtime, what stands behind them, and what goes wrong there.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use dmaring::Builder;
use dmaring_cpu::CpuEngine;
use dmaring_driver::{
    ioat::{IoatChannel, MonotonicClock, Options},
    pci::Address,
    vfio::Container,
};
use dmaring_emulated::{Clock, Device, FaultPlan, Iommu, Violation, ViolationKind};

use crate::{
    counts::{self, Named},
    plan::{Engines, Trouble},
};

/// How much slower than silicon the model may be: many threads use the same few cores.
const SLOWNESS: u32 = 50;
/// The same where it is to be found out soon that a device does not come back: a driver that takes one for lost too early is
/// no failure there.
const HASTE: u32 = 5;

/// How long a function may take to be free.
const PATIENCE: Duration = Duration::from_secs(30);

/// What stands behind the engines of a runtime. Dropped after the runtime.
pub(crate) struct Devices {
    emulated: Option<Emulated>,
}

struct Emulated {
    device: Device,
    faulty: bool,
    /// The kind of the faults that the device has planned now, and those that have happened of earlier plans.
    fired: Mutex<(&'static str, Named)>,
    _clock: Clock,
}

impl Devices {
    /// Starts the emulated device, or opens the functions, and gives a builder the engines.
    pub(crate) fn start(
        plan: &Engines,
        domain: Arc<Iommu>,
        functions: &[Address],
        builder: Builder,
    ) -> Result<(Self, Builder), String> {
        let (devices, mut builder) = if plan.alone {
            (Self { emulated: None }, builder)
        } else if functions.is_empty() {
            Self::emulated(plan, domain, builder)?
        } else {
            Self::functions(plan, functions, builder)?
        };
        if plan.cpu {
            builder = builder.engine(CpuEngine::new());
        }
        Ok((devices, builder))
    }

    fn emulated(
        plan: &Engines,
        domain: Arc<Iommu>,
        mut builder: Builder,
    ) -> Result<(Self, Builder), String> {
        let device = Device::builder(plan.preset)
            .channels(plan.channels)
            .xfercap(plan.xfercap)
            .seed(plan.seed)
            .iommu(domain)
            .build()
            .map_err(|error| format!("the emulated device: {error}"))?;
        let clock = device.run().map_err(|error| format!("the device's clock: {error}"))?;
        let slowness = if plan.faulty { HASTE } else { SLOWNESS };
        for function in (0..device.functions()).filter_map(|index| device.function(index)) {
            let options = Options {
                name: format!("emulated{}", function.index()),
                ring_entries: plan.ring_entries,
                status_interval: plan.status_interval,
                clock: Box::new(MonotonicClock::slowed(slowness)),
                hang_after: Some(plan.hang_after / slowness),
                ..Options::default()
            };
            let config = Box::new(function.config());
            let channel =
                IoatChannel::start(function.registers(), Some(config), device.domain(), options)
                    .map_err(|error| format!("channel {}: {}", function.index(), chain(&error)))?;
            builder = builder.engine(channel);
        }
        let fired = Mutex::new(("", Named::new()));
        let emulated = Some(Emulated { device, faulty: plan.faulty, fired, _clock: clock });
        Ok((Self { emulated }, builder))
    }

    fn functions(
        plan: &Engines,
        functions: &[Address],
        mut builder: Builder,
    ) -> Result<(Self, Builder), String> {
        let container = Container::new().map_err(|error| format!("VFIO: {}", chain(&error)))?;
        for address in functions {
            let options = || Options {
                name: address.to_string(),
                ring_entries: plan.ring_entries,
                status_interval: plan.status_interval,
                hang_after: Some(plan.hang_after.max(Duration::from_secs(1))),
                ..Options::default()
            };
            // The last regions of the runtime before may still be on their way out of it, and a fault may meet the start.
            let end = Instant::now() + PATIENCE;
            let channel = loop {
                match container.open_ioat_with(*address, options()) {
                    Ok(channel) => break channel,
                    Err(error) if Instant::now() > end => {
                        return Err(format!("opening {address}: {}", chain(&error)));
                    }
                    Err(_) => thread::yield_now(),
                }
            };
            builder = builder.engine(channel);
        }
        Ok((Self { emulated: None }, builder))
    }

    /// Lets something go wrong in the device.
    pub(crate) fn make(&self, trouble: &Trouble) {
        let Some(emulated) = &self.emulated else { return };
        let function = |index: &u8| emulated.device.function(*index);
        match trouble {
            Trouble::Plan { kind, plan } => emulated.set_plan(kind, plan),
            Trouble::Unplug(index) => {
                function(index).inspect(|function| function.unplug());
                emulated.count("unplugged");
            }
            Trouble::Reset(index) => {
                function(index).inspect(|function| function.reset());
                emulated.count("reset by another");
            }
            Trouble::BusMaster(index, on) => {
                function(index).inspect(|function| function.set_bus_master(*on));
                emulated.count(if *on { "bus master on" } else { "bus master off" });
            }
            Trouble::Restore | Trouble::End => {}
        }
    }

    /// Nothing goes wrong from here on.
    pub(crate) fn calm(&self) {
        if let Some(emulated) = &self.emulated {
            emulated.set_plan("", &FaultPlan::new());
        }
    }

    /// What has gone wrong, by kind, once the runtime has gone.
    ///
    /// # Errors
    ///
    /// The device's rules were broken.
    pub(crate) fn end(&self) -> Result<Named, String> {
        let Some(emulated) = &self.emulated else { return Ok(Named::new()) };
        self.calm();
        // On a device that halts by itself a doorbell may be on its way, and come too late.
        let wrong = |violation: &Violation| {
            !emulated.faulty || violation.kind != ViolationKind::CountWhileHalted
        };
        let violations = emulated.device.violations();
        if let Some(violation) = violations.iter().find(|violation| wrong(violation)) {
            let count = emulated.device.violation_count();
            return Err(format!("the driver broke the device's rules, {count} times: {violation}"));
        }
        let fired = emulated.fired.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(fired.1.clone())
    }
}

impl Emulated {
    fn set_plan(&self, kind: &'static str, plan: &FaultPlan) {
        let mut fired = self.fired.lock().unwrap_or_else(PoisonError::into_inner);
        let (planned, sums) = &mut *fired;
        // What fires between these two is not counted.
        let count = self.device.faults_fired();
        self.device.set_fault_plan(plan);
        counts::add(sums, planned, count);
        *planned = kind;
    }

    fn count(&self, what: &str) {
        let mut fired = self.fired.lock().unwrap_or_else(PoisonError::into_inner);
        counts::add(&mut fired.1, what, 1);
    }
}

impl fmt::Debug for Devices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Devices")
            .field("emulated", &self.emulated.is_some())
            .finish_non_exhaustive()
    }
}

/// An error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
