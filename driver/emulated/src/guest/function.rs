//! One function, as a virtual machine and whoever tests it have it.

use std::sync::Arc;

use dmaring_ioat_spec::registers::{BAR_BYTES, ChannelState};

use super::{
    Chipset, ChipsetError, GuestFault, MemoryError, MemoryRegion, Slot, memory::Memory,
    upstream::GuestUpstream,
};
use crate::{
    BuildError, DeviceBuilder, ExtendedConfig, FaultPlan, Function, Violation, clock,
    function::FunctionModel, knobs::BarWidth, model::Shared,
};

/// Configuration space ends here: QEMU's proxy is a conventional device.
const CONFIG_BYTES: u32 = 256;

/// An emulated function in a virtual machine. Clones are the same function.
///
/// Nothing happens by itself: [`tick`](Self::tick) is its clock.
#[derive(Clone, Debug)]
pub struct GuestFunction {
    shared: Arc<Shared>,
    upstream: Arc<GuestUpstream>,
    slot: Slot,
}

/// What a function is at.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FunctionStatus {
    /// How many descriptors have ended, well or badly.
    pub executed: u64,
    /// How many planned faults have happened since the plan was set.
    pub faults_fired: u64,
    /// How many interrupts it has raised since it was last reset.
    pub interrupts: u64,
    /// How often its driver did what it must not.
    pub violations: u64,
    /// How many accesses and interrupts were refused.
    pub iommu_faults: u64,
    /// How many interrupts were lost, since too many messages waited to be sent.
    pub interrupts_dropped: u64,
    /// Whether bus mastering is on.
    pub bus_master: bool,
    /// Whether the clock leaves descriptors alone.
    pub paused: bool,
    /// The state of each channel; `None` where the function is gone.
    pub states: Option<Vec<ChannelState>>,
}

impl GuestFunction {
    /// The first function of a device like this, at `slot`, as power leaves it: nothing decoded, bus
    /// mastering off. It has all the device's channels.
    ///
    /// # Errors
    ///
    /// [`BuildError`], as for a device that is no guest's.
    pub fn new(
        builder: DeviceBuilder,
        slot: Slot,
        multi_function: bool,
        chipset: Arc<dyn Chipset>,
    ) -> Result<Self, BuildError> {
        let builder = builder
            .extended_config(ExtendedConfig::AllOnes)
            .bar_width(BarWidth::Bits32)
            .multi_function(multi_function);
        let model = builder.model()?;
        let upstream = Arc::new(GuestUpstream::new(slot, chipset));
        let above = Arc::clone(&upstream);
        let function = Self { shared: Arc::new(Shared::new(above, model)), upstream, slot };
        function.reset();
        Ok(function)
    }

    /// Where it stands.
    #[must_use]
    pub fn slot(&self) -> Slot {
        self.slot
    }

    /// Puts these regions in the place of the memory that was there.
    ///
    /// # Errors
    ///
    /// [`MemoryError`]; the memory stays as it was.
    pub fn set_memory(&self, regions: Vec<MemoryRegion>) -> Result<(), MemoryError> {
        self.upstream.set_memory(Memory::new(regions)?);
        Ok(())
    }

    /// Takes all memory away.
    pub fn clear_memory(&self) {
        self.upstream.set_memory(Memory::default());
    }

    /// Resets it as power does: configuration, registers, channels, what is known of VT-d, and messages that wait
    /// to be sent. What whoever tests it said and counts stays: pause, fault plan, counts and lists; a
    /// function that is gone stays so until [`plug`](Self::plug).
    pub fn reset(&self) {
        self.function().with(|function| {
            function.power_on();
            self.upstream.forget();
        });
    }

    /// Reads 1, 2 or 4 bytes of configuration space; ones past its end.
    #[must_use]
    pub fn read_config(&self, offset: u32, bytes: u32) -> u32 {
        let config = self.function();
        let byte = |at: u32| {
            let word = u16::try_from(at & !3).ok().filter(|word| u32::from(*word) < CONFIG_BYTES);
            let read = |word| config.with(|function| function.read_config(word)).flatten();
            word.and_then(read).unwrap_or(u32::MAX) >> (8 * (at & 3)) & 0xff
        };
        (0..bytes.min(4)).fold(0, |value, at| value | byte(offset.saturating_add(at)) << (8 * at))
    }

    /// Writes 1, 2 or 4 bytes of configuration space; nothing past its end. Bytes of a word that are not
    /// written do not count as written with what they hold.
    pub fn write_config(&self, offset: u32, bytes: u32, value: u32) {
        let (config, bytes) = (self.function(), bytes.min(4));
        let mut done = 0;
        while done < bytes {
            let at = offset.saturating_add(done);
            let piece = (4 - at % 4).min(bytes - done);
            let mask = (u32::MAX >> (32 - 8 * piece)) << (8 * (at % 4));
            let part = (value >> (8 * done)) << (8 * (at % 4));
            if let Ok(word) = u16::try_from(at & !3)
                && u32::from(word) < CONFIG_BYTES
            {
                config.write_config(word, mask, part);
            }
            done += piece;
        }
    }

    /// Reads 1, 2, 4 or 8 bytes at a guest-physical address; ones outside BAR 0.
    #[must_use]
    pub fn read_bar(&self, address: u64, bytes: u32) -> u64 {
        self.bar_offset(address, bytes)
            .map_or(u64::MAX, |offset| self.function().read(offset, bytes))
    }

    /// Writes 1, 2, 4 or 8 bytes at a guest-physical address; nothing outside BAR 0.
    pub fn write_bar(&self, address: u64, bytes: u32, value: u64) {
        if let Some(offset) = self.bar_offset(address, bytes) {
            self.function().write(offset, bytes, value);
        }
    }

    /// Lets time pass until `stopped` holds; whoever makes it hold calls [`wake`](Self::wake).
    ///
    /// # Errors
    ///
    /// [`ChipsetError`] where QEMU does not answer: the function cannot go on.
    pub fn tick(&self, stopped: impl Fn() -> bool) -> Result<(), ChipsetError> {
        clock::tick_until(&self.shared, stopped)
    }

    /// Wakes a clock that waits for work, to look again.
    pub fn wake(&self) {
        self.shared.ring();
    }

    /// Whether the clock is to leave descriptors alone. Accesses and resets work all the same.
    pub fn set_paused(&self, paused: bool) {
        self.shared.with(|model, _| model.set_paused(paused));
    }

    /// Pauses as soon as so many more descriptors have ended; at once for 0.
    pub fn pause_after(&self, descriptors: u64) {
        self.shared.with(|model, _| model.pause_after(descriptors));
    }

    /// Carries out up to `descriptors` descriptors, paused or not, and returns how many ended.
    ///
    /// # Errors
    ///
    /// As for [`tick`](Self::tick).
    pub fn step(&self, descriptors: u64) -> Result<u64, ChipsetError> {
        self.shared.attend()?;
        self.shared.with(|model, upstream| model.tick(upstream));
        let mut ended = 0;
        while ended < descriptors {
            self.shared.attend()?;
            let one = self
                .shared
                .with(|model, upstream| upstream.is_ready().then(|| model.step_one(upstream)));
            match one {
                // A doorbell came after the question.
                None => {}
                Some(None) => break,
                Some(Some(one)) => ended += u64::from(one),
            }
        }
        self.shared.attend()?;
        Ok(ended)
    }

    /// Replaces the fault plan; the new one counts from here.
    pub fn set_fault_plan(&self, plan: &FaultPlan) {
        self.shared.with(|model, _| model.set_plan(plan));
    }

    /// Takes the function away: every read gives all ones from now on, and nothing happens any more.
    pub fn unplug(&self) {
        self.function().unplug();
    }

    /// Brings a function back that was taken away: its configuration is as it was, all else as after a function-level
    /// reset. Nothing happens to one that is there.
    pub fn plug(&self) {
        self.function().plug();
        self.wake();
    }

    /// What it is at.
    #[must_use]
    pub fn status(&self) -> FunctionStatus {
        let (iommu_faults, interrupts_dropped) = (self.upstream.faults(), self.upstream.dropped());
        self.shared.with(|model, _| {
            let function = model.functions().first();
            let states = function.filter(|function| !function.is_gone());
            let state = |found: &FunctionModel| {
                found.channels().iter().map(|channel| channel.state()).collect()
            };
            FunctionStatus {
                executed: model.executed(),
                faults_fired: model.schedule().fired(),
                interrupts: function.map_or(0, FunctionModel::interrupts),
                violations: model.log().count(),
                iommu_faults,
                interrupts_dropped,
                bus_master: function.is_some_and(FunctionModel::bus_master),
                paused: model.is_paused(),
                states: states.map(state),
            }
        })
    }

    /// What its driver did that it must not, oldest first; the first 1024 are kept.
    #[must_use]
    pub fn violations(&self) -> Vec<Violation> {
        self.shared.with(|model, _| model.log().kept().to_vec())
    }

    /// The accesses and interrupts that were refused, oldest first; the first 1024 are kept.
    #[must_use]
    pub fn iommu_faults(&self) -> Vec<GuestFault> {
        self.upstream.fault_list()
    }

    fn function(&self) -> Function {
        Function::new(Arc::clone(&self.shared), 0)
    }

    fn bar_offset(&self, address: u64, bytes: u32) -> Option<u32> {
        if !matches!(bytes, 1 | 2 | 4 | 8) {
            return None;
        }
        let base = self.function().with(|function| function.bar_base())?;
        let offset = u32::try_from(address.checked_sub(base)?).ok()?;
        (offset < BAR_BYTES).then_some(offset)
    }
}
