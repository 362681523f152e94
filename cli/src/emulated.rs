//! The emulated I/OAT device as an engine: the model, its clock, and the driver on each of its channels.

use std::{fmt, time::Duration};

use dmaring::Builder;
use dmaring_driver::ioat::{IoatChannel, MonotonicClock, Options};
use dmaring_emulated::{Bar, Clock, Device, Preset};

use crate::args::EmulatedArguments;

/// How much slower than silicon the model may be, on a busy machine.
const SLOWNESS: u32 = 50;

/// After how long without progress the channel is taken for hung, in real time.
const HANG_AFTER: Duration = Duration::from_secs(2);

/// A running device. Its clock stops when this is dropped.
pub(crate) struct Emulated {
    device: Device,
    preset: Preset,
    /// Taken by the runtime.
    channels: Vec<IoatChannel<Bar>>,
    _clock: Clock,
}

impl Emulated {
    /// Builds the device, starts its clock, and brings its channels up.
    ///
    /// # Errors
    ///
    /// A message that says what the device or the driver refused.
    pub(crate) fn start(options: &EmulatedArguments) -> Result<Self, String> {
        let preset = options.preset.unwrap_or(Preset::Skx);
        let mut builder = Device::builder(preset).channels(options.channels.unwrap_or(1));
        if let Some(plan) = &options.fault_plan {
            builder = builder.fault_plan(plan.clone());
        }
        let device = builder.build().map_err(|error| format!("emulated device: {error}"))?;
        let clock = device
            .run()
            .map_err(|error| format!("the emulated device's clock does not start: {error}"))?;
        let functions = (0..device.functions()).filter_map(|index| device.function(index));
        let channels = functions
            .map(|function| {
                let options = Options {
                    name: format!("emulated{}", function.index()),
                    clock: Box::new(MonotonicClock::slowed(SLOWNESS)),
                    hang_after: Some(HANG_AFTER / SLOWNESS),
                    ..Options::default()
                };
                let (registers, config) = (function.registers(), function.config());
                IoatChannel::start(registers, Some(Box::new(config)), device.domain(), options)
                    .map_err(|error| format!("emulated channel {}: {error}", function.index()))
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { device, preset, channels, _clock: clock })
    }

    /// The device in words.
    pub(crate) fn describe(&self) -> String {
        format!(
            "emulated I/OAT device, {}, channels: {}, in software",
            self.preset.name(),
            self.device.channels()
        )
    }

    /// Gives every channel to a runtime.
    pub(crate) fn add_to(&mut self, mut builder: Builder) -> Builder {
        for channel in self.channels.drain(..) {
            builder = builder.engine(channel);
        }
        builder
    }
}

impl fmt::Debug for Emulated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Emulated").field("preset", &self.preset).finish_non_exhaustive()
    }
}
