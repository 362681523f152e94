//! Everything that a copy needs, made ready: from here on it can only begin.
//!
//! Where `auto` took functions and the copy cannot be made ready with them, for memory that may not be locked as an
//! example, the CPU takes their place.

use dmaring::{BuildError, Calibration, Policy, Runtime, dax};

use super::{ends::Ends, inspect::End, memcpy::Buffers, memory, plan::Plan};
use crate::{
    args::CopyArguments, emulated::Emulated, failure::Failure, location::Location,
    selection::Selection,
};

/// Everything that a copy needs. Regions go before the runtime, and the runtime, which still halts its channels, before
/// the emulated device.
#[derive(Debug)]
pub(crate) struct Setup {
    pub(crate) buffers: Buffers,
    pub(crate) ends: Ends,
    pub(crate) plan: Plan,
    pub(crate) source: End,
    pub(crate) destination: End,
    pub(crate) runtime: Runtime,
    pub(crate) ring_entries: u32,
    /// The engines, and why they were taken.
    pub(crate) engine: String,
    pub(crate) device: Option<Emulated>,
}

impl Setup {
    /// Makes everything ready. On failure everything is as it was.
    pub(crate) fn new(
        arguments: &CopyArguments,
        source: &Location,
        destination: &Location,
    ) -> Result<Self, Failure> {
        let selection =
            Selection::of(&arguments.engines, &arguments.emulated, node_of(destination))
                .map_err(Failure::Refused)?;
        // A calibration is one of the engines that it names, the CPU among them.
        let calibrated = arguments.calibration.is_some();
        let functions = (selection.may_fall_back() && !calibrated).then(|| selection.functions());
        let selection = if calibrated { selection.with_cpu() } else { selection };
        match (Self::with(selection, arguments, source, destination), functions) {
            (Err(why), Some(functions)) => {
                let cpu = Selection::instead(&functions, &why.to_string());
                Self::with(cpu, arguments, source, destination)
            }
            (setup, _) => setup,
        }
    }

    fn with(
        selection: Selection,
        arguments: &CopyArguments,
        source: &Location,
        destination: &Location,
    ) -> Result<Self, Failure> {
        let engine = selection.describe();
        let ring_entries = arguments.depth.next_power_of_two().max(2);
        let (device, runtime) = build(arguments, selection, ring_entries)?;
        let source = End::inspect(&runtime, "SRC", source)?;
        let destination = End::inspect(&runtime, "DST", destination)?;
        let plan = Plan::new(arguments, &source, &destination)?;
        memory::check(&plan, source.kind, destination.kind)?;
        let ends = Ends::open(&runtime, &source, &destination, &plan)?;
        let buffers = Buffers::new(plan.size)?;
        ends.warm(&plan).map_err(|error| Failure::Refused(error.to_string()))?;
        Ok(Self { buffers, ends, plan, source, destination, runtime, ring_entries, engine, device })
    }
}

fn build(
    arguments: &CopyArguments,
    selection: Selection,
    ring_entries: u32,
) -> Result<(Option<Emulated>, Runtime), Failure> {
    let (builder, device) = selection.add_to(Runtime::builder());
    let mut builder = builder.ring_entries(ring_entries).pollers(arguments.pollers.into());
    if let Some(path) = &arguments.calibration {
        let calibration = Calibration::load(path)
            .map_err(|error| Failure::Refused(format!("--calibration {error}")))?;
        builder = builder.policy(Policy::Calibrated(calibration));
    }
    if let Some(core) = arguments.core {
        builder = builder.poller_core(core);
    }
    let runtime = builder.build().map_err(|error| match error {
        BuildError::Core { core, allowed } => Failure::Refused(format!(
            "--core {core}: there is no such core, or this process may not use it: use one of {allowed}"
        )),
        BuildError::Calibration(why) => Failure::Refused(format!("--calibration: {why}")),
        error => Failure::Refused(error.to_string()),
    })?;
    Ok((device, runtime))
}

/// The NUMA node of a devdax device, where it is known.
pub(crate) fn node_of(location: &Location) -> Option<u32> {
    let Location::Device(path) = location else { return None };
    let devices = dax::devices().ok()?;
    devices.into_iter().find(|device| device.node() == *path)?.numa_node
}
