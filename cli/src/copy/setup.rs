//! Everything that a copy needs, made ready: from here on it can only begin.
//!
//! Where `auto` took functions and the copy cannot be made ready with them, for memory that may not be locked as an
//! example, the CPU takes their place.

use dmaring::{BuildError, Calibration, Policy, Runtime, dax};
use dmaring_driver::pci::Sysfs;

use super::{
    bar::{self, Bars},
    ends::Ends,
    inspect::End,
    memcpy::Buffers,
    memory,
    plan::Plan,
    progress::Mapping,
};
use crate::{
    args::CopyArguments,
    emulated::Emulated,
    failure::Failure,
    location::Location,
    selection::{Selection, Wanted},
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
        let reads_bar = source.bar().is_some() && !arguments.engine_reads_mmio;
        let wanted =
            Wanted { near: node_of(destination), cpu: reads_bar.then(|| source.to_string()) };
        let selection = Selection::of(&arguments.engines, &arguments.emulated, wanted)
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
        let mut engine = selection.describe();
        let bars = Bars::new(selection.container(), arguments.engine_reads_mmio);
        for bar in [source, destination].into_iter().filter_map(Location::bar) {
            engine.push_str(&bar::way(&selection.addresses(), bar));
        }
        if let Some(container) = selection.container() {
            let mapping = Mapping::default();
            container.on_progress(move |progress| mapping.tell(progress));
        }
        let ring_entries = arguments.depth.next_power_of_two().max(2);
        let (device, runtime) = build(arguments, selection, ring_entries)?;
        let source = End::inspect(&runtime, "SRC", source, &bars)?;
        let destination = End::inspect(&runtime, "DST", destination, &bars)?;
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
    let mut builder = arguments.pollers.add_to(builder.ring_entries(ring_entries));
    if let Some(path) = &arguments.calibration {
        let calibration = Calibration::load(path)
            .map_err(|error| Failure::Refused(format!("--calibration {error}")))?;
        builder = builder.policy(Policy::Calibrated(calibration));
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

/// The NUMA node of a devdax device or of a BAR's function, where it is known.
pub(crate) fn node_of(location: &Location) -> Option<u32> {
    if let Some(bar) = location.bar() {
        return Sysfs::new().function(bar.address).ok()?.numa_node;
    }
    let Location::Device(path) = location else { return None };
    let devices = dax::devices().ok()?;
    devices.into_iter().find(|device| device.node() == *path)?.numa_node
}
