//! A contender with engines: a runtime with what one `--engine` names, and its two regions.

use std::time::Duration;

use dmaring::{BuildError, Error, Region, Runtime};
use futures::executor::block_on;

use super::{
    areas::{Areas, Blocks},
    point::{self, Probe, Totals},
    settings::Settings,
    stopwatch::Limits,
    submit::{self, Part},
    verify,
};
use crate::{
    args::EmulatedArguments,
    emulated::Emulated,
    engine_spec::EngineSpec,
    failure::Failure,
    selection::{Selection, Wanted},
};

/// How long the end of a runtime may take. Nothing is in flight by then.
const SHUTDOWN: Duration = Duration::from_secs(5);

/// A contender. Regions go before the runtime, and the runtime, which still halts its channels, before the emulated
/// device.
#[derive(Debug)]
pub(super) struct Lane {
    name: String,
    description: String,
    source: Region,
    destination: Region,
    runtime: Runtime,
    emulated: Option<Emulated>,
}

impl Lane {
    /// Builds the runtime with the engine and hands it memory of `length` bytes twice. The CPU takes the place of
    /// functions that `auto` took, where it cannot be built with these.
    ///
    /// # Errors
    ///
    /// A refusal that says what the engine, the runtime or the system refused.
    pub(super) fn open(
        spec: EngineSpec,
        emulated: &EmulatedArguments,
        settings: &Settings,
        length: u64,
    ) -> Result<Self, Failure> {
        let selection =
            Selection::of(&[spec], emulated, Wanted::default()).map_err(Failure::Refused)?;
        let functions = selection.may_fall_back().then(|| selection.functions());
        match (Self::with(selection, spec, settings, length), functions) {
            (Err(why), Some(functions)) => {
                let cpu = Selection::instead(&functions, &why.to_string());
                Self::with(cpu, spec, settings, length)
            }
            (lane, _) => lane,
        }
    }

    fn with(
        selection: Selection,
        spec: EngineSpec,
        settings: &Settings,
        length: u64,
    ) -> Result<Self, Failure> {
        let description = selection.describe();
        let (builder, emulated) = selection.add_to(Runtime::builder());
        let mut builder = builder.ring_entries(settings.ring_entries);
        if let Some(core) = settings.core {
            builder = builder.poller_core(core);
        }
        let runtime = builder.build().map_err(|error| match error {
            BuildError::Core { core, allowed } => Failure::Refused(format!(
                "--core {core}: there is no such core, or this process may not use it: use one of {allowed}"
            )),
            error => Failure::refused(format!("--engine {spec}"), error),
        })?;
        let Areas { source, destination } = Areas::new(length).map_err(|error| {
            Failure::refused(format!("{length} bytes of memory cannot be had twice"), error)
        })?;
        let region = |memory| {
            let region = runtime.register(memory);
            region.map_err(|error| Failure::refused(format!("--engine {spec}"), error))
        };
        let (source, destination) = (region(source)?, region(destination)?);
        let name = match (spec, runtime.stats().engines.as_slice()) {
            (EngineSpec::Auto, [engine]) => engine.name.clone(),
            _ => spec.to_string(),
        };
        Ok(Self { name, description, source, destination, runtime, emulated })
    }

    /// What `--engine` was; where `auto` took one engine, the name of that.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The engines in words, and why they were taken.
    pub(super) fn description(&self) -> &str {
        &self.description
    }

    /// Whether the engine is a model in this process.
    pub(super) fn is_emulated(&self) -> bool {
        self.emulated.is_some()
    }

    /// Measures one point and checks the destination.
    ///
    /// # Errors
    ///
    /// A message that says what failed.
    pub(super) fn measure(
        &self,
        blocks: &Blocks,
        depth: u32,
        limits: Limits,
        probe: &mut Probe,
    ) -> Result<Totals, String> {
        let workers = (0..blocks.threads)
            .map(|thread| Part {
                source: &self.source,
                destination: &self.destination,
                begin: u64::from(thread) * blocks.stride,
                blocks,
                depth: depth as usize,
            })
            .map(|part| move || submit::copy(&part, limits))
            .collect();
        let totals = point::run(workers, &probe.placement.beside, &mut probe.cycles)?;
        verify::check(&self.destination, blocks, &totals.copies)
            .map_err(|error| error.to_string())?;
        Ok(totals)
    }

    /// Ends the runtime.
    ///
    /// # Errors
    ///
    /// [`Error`] of an engine that does not stop.
    pub(super) fn close(self) -> Result<(), Error> {
        let Self { source, destination, runtime, emulated, .. } = self;
        drop((source, destination));
        let ended = block_on(runtime.shutdown(SHUTDOWN));
        drop(runtime);
        drop(emulated);
        ended
    }
}
