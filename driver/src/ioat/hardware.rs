//! What a reset works on: the channel's registers, its memory, configuration space and the clock.
#![forbid(unsafe_code)]

use dmaring_ioat_spec::{
    ConfigIo, RegisterIo,
    device::Platform,
    registers::{ChannelControl, config},
};

use super::{Clock, dma_memory::DmaMemory, host::Loan, mastering, registers::Registers};

pub(super) struct Hardware<R: RegisterIo> {
    pub(super) registers: Registers<R>,
    pub(super) config: Option<Box<dyn ConfigIo>>,
    /// Whose the function is. Goes before the memory, as registers and configuration space do.
    pub(super) loan: Loan,
    pub(super) memory: DmaMemory,
    pub(super) clock: Box<dyn Clock>,
    /// Whether the channel is ours, by CHANCTRL.
    pub(super) claimed: bool,
    /// Its bus mastering was switched off because it did not answer.
    pub(super) is_muted: bool,
}

impl<R: RegisterIo> Hardware<R> {
    /// Writes CHANERR_INT back to itself: a channel does not leave the halted state until CHANERR and
    /// this are clear, whatever its version. It is beyond the first 256 bytes, which is all that some
    /// platforms give: that is a warning, and no reason to stop.
    pub(super) fn clear_internal_errors(&self) {
        let Some(config) = &self.config else { return };
        // All ones is what a space of 256 bytes gives instead of a failure.
        let errors = config.read_config32(config::CHANERR_INT).filter(|errors| *errors != u32::MAX);
        let cleared = errors.is_some_and(|errors| {
            if errors != 0 {
                tracing::warn!(errors, "internal channel errors are being cleared");
            }
            config.write_config32(config::CHANERR_INT, errors)
        });
        if !cleared {
            tracing::warn!(
                "CHANERR_INT cannot be reached: internal errors, if any, keep the channel halted"
            );
        }
        self.clear_spurious_parity(config.as_ref());
    }

    /// On Tylersburg a parity error of configuration registers stands spuriously after a restart.
    fn clear_spurious_parity(&self, config: &dyn ConfigIo) {
        let Some(ids) = config.read_config32(config::VENDOR_ID) else { return };
        let platform = Platform::of((ids & 0xffff) as u16, (ids >> 16) as u16);
        if platform.spec().is_some_and(|spec| spec.spurious_config_parity) {
            config.write_config32(config::DMAUNCERRSTS, config::DMAUNCERRSTS_CONFIG_PARITY);
        }
    }

    /// Whether nothing answers any more: CHANSTS was all ones, and a register is too that never was.
    pub(super) fn is_gone(&self) -> bool {
        self.registers.read_chansts().is_absent() && self.registers.read_cbver().bits() == u8::MAX
    }

    /// Lets go of registers that are somebody else's from here on.
    pub(super) fn leave(&mut self) {
        if self.is_gone() && self.cut_off() {
            self.memory.take_back();
        }
        self.release();
    }

    /// Whether a device that does not answer is shown to make no more requests. Its bus mastering is off then, if it is there.
    pub(super) fn cut_off(&mut self) -> bool {
        let Some(config) = self.config.as_deref() else { return false };
        // Whatever can be shown: the write may have come through.
        self.is_muted = true;
        mastering::cut_off(config)
    }

    /// Lets a channel that a reset has stopped reach memory again.
    pub(super) fn unmute(&mut self) {
        if let Some(config) = self.config.as_deref().filter(|_| self.is_muted) {
            mastering::restore(config);
        }
        self.is_muted = false;
    }

    /// Gives up the claim on the channel, once: afterwards it may be somebody else's.
    pub(super) fn release(&mut self) {
        if self.claimed {
            self.registers.write_chanctrl(ChannelControl::empty());
            self.claimed = false;
        }
    }
}
