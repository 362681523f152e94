//! One PCI function: its configuration space, its registers and its channels.

mod bar;

use dmaring_ioat_spec::registers::{IntrControl, table};

use crate::{
    bus::Bus,
    channel::{Channel, Env, Ran},
    config_space::{ConfigSpace, Effect},
    fault::Schedule,
    knobs::Knobs,
    msix,
    preset::Part,
    store::Store,
    upstream::Upstream,
    violation::Log,
};

#[derive(Debug)]
pub(crate) struct FunctionModel {
    index: u8,
    part: Part,
    knobs: Knobs,
    store: Store,
    config: ConfigSpace,
    channels: Vec<Channel>,
    gone: bool,
}

/// What the rest of the device lends for an access.
pub(crate) struct Surroundings<'a> {
    pub(crate) upstream: &'a dyn Upstream,
    pub(crate) log: &'a mut Log,
}

impl FunctionModel {
    pub(crate) fn new(index: u8, part: Part, knobs: Knobs) -> Self {
        let mut config = ConfigSpace::new(&part, knobs);
        config.enable();
        let channels = (0..part.channels).map(|_| Channel::new()).collect();
        Self { index, part, knobs, store: Store::new(&part), config, channels, gone: false }
    }

    pub(crate) fn part(&self) -> &Part {
        &self.part
    }

    pub(crate) fn channels(&self) -> &[Channel] {
        &self.channels
    }

    pub(crate) fn channels_mut(&mut self) -> &mut [Channel] {
        &mut self.channels
    }

    pub(crate) fn is_gone(&self) -> bool {
        self.gone
    }

    pub(crate) fn bus_master(&self) -> bool {
        self.config.bus_master()
    }

    pub(crate) fn unplug(&mut self) {
        self.gone = true;
    }

    /// The function is there again, with its configuration as it was, if it was gone.
    pub(crate) fn plug(&mut self) {
        if self.gone {
            self.gone = false;
            self.reset();
        }
    }

    pub(crate) fn read_config(&self, offset: u16) -> Option<u32> {
        if self.gone { Some(u32::MAX) } else { self.config.read(offset) }
    }

    /// Writes the bits in `mask` of a word of configuration space. `false`: it cannot be reached.
    pub(crate) fn write_config(
        &mut self,
        offset: u16,
        mask: u32,
        value: u32,
        with: &Surroundings<'_>,
    ) -> bool {
        if self.gone {
            return true;
        }
        let effect = self.config.write(offset, mask, value);
        match effect {
            Some(Effect::Reset) => self.power_on(),
            Some(Effect::Interrupts) => {
                msix::release(&mut self.store, &self.config, with.upstream);
            }
            Some(Effect::None) | None => {}
        }
        effect.is_some()
    }

    /// Where BAR 0 begins, as was written to configuration space.
    pub(crate) fn bar_base(&self) -> u64 {
        self.config.bar_base()
    }

    /// How many interrupts all channels have raised.
    pub(crate) fn interrupts(&self) -> u64 {
        self.channels.iter().map(Channel::interrupts).sum()
    }

    /// A function-level reset as an operating system does it: configuration saved and restored.
    pub(crate) fn reset(&mut self) {
        let saved = self.config.clone();
        self.power_on();
        self.config.restore(&saved);
    }

    /// Carries out the next descriptor of a channel that can run.
    pub(crate) fn run(
        &mut self,
        channel: usize,
        schedule: &mut Schedule,
        with: &mut Surroundings<'_>,
    ) -> Ran {
        let raised = self.interrupts();
        let Some((channel, mut env)) = self.env(channel, with) else { return Ran::Stalled };
        let ran = channel.run(&mut env, schedule);
        self.gone |= ran == Ran::Gone;
        self.signal(raised, with);
        ran
    }

    /// Writes what a channel with nothing else to do has left to write.
    pub(crate) fn flush(&mut self, channel: usize, with: &mut Surroundings<'_>) {
        if let Some((channel, env)) = self.env(channel, with) {
            channel.flush_late_write(&env);
        }
    }

    fn env<'a>(
        &'a mut self,
        channel: usize,
        with: &'a mut Surroundings<'_>,
    ) -> Option<(&'a mut Channel, Env<'a>)> {
        let enable = IntrControl::MASTER_ENABLE.bits();
        let interrupt_enable = self.store.load(table::INTRCTRL.offset, 1) & u64::from(enable) != 0;
        let master = self.config.bus_master();
        let number = usize::from(self.index) * self.channels.len() + channel;
        let place = (self.index, u8::try_from(channel).ok()?);
        let env = Env {
            bus: Bus { upstream: with.upstream, channel: number, master },
            part: &self.part,
            knobs: &self.knobs,
            config: &mut self.config,
            log: with.log,
            place,
            interrupt_enable,
        };
        Some((self.channels.get_mut(channel)?, env))
    }

    /// Sends a message if channels have raised more interrupts than `raised`.
    fn signal(&mut self, raised: u64, with: &Surroundings<'_>) {
        if self.interrupts() > raised {
            msix::raise(&mut self.store, &self.config, with.upstream);
        }
    }

    /// The function as power leaves it: nothing decoded, no bus mastering, channels halted.
    pub(crate) fn power_on(&mut self) {
        self.config = ConfigSpace::new(&self.part, self.knobs);
        self.store = Store::new(&self.part);
        self.channels.fill_with(Channel::new);
    }
}
