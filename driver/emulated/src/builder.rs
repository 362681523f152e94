//! Describing a device.

use std::sync::Arc;

use dmaring_ioat_spec::registers::{DmaCapability, MAX_CHANNELS, Version};

use crate::{
    CompletionState, Device, ExtendedConfig, FaultPlan, FaultStyle, InternalErrors, Iommu, Preset,
    function::FunctionModel,
    knobs::{BarWidth, Knobs},
    model::{Model, Shared},
    preset::{Part, XFERCAP_LOG2},
};

/// What the model can announce: fill, which it does, and what changes nothing of a copy.
const ANNOUNCED: DmaCapability = DmaCapability::FILL_BLOCK
    .union(DmaCapability::DCA)
    .union(DmaCapability::APIC)
    .union(DmaCapability::COMPLETION_TIMEOUT)
    .union(DmaCapability::DESCRIPTOR_PREFETCH);

/// Describes a [`Device`]; made by [`Device::builder`].
#[derive(Clone, Debug)]
pub struct DeviceBuilder {
    preset: Preset,
    channels: u8,
    channels_per_function: u8,
    device_id: Option<u16>,
    version: Option<Version>,
    xfercap_log2: u8,
    capabilities: Option<DmaCapability>,
    knobs: Knobs,
    plan: FaultPlan,
    seed: u64,
    iommu: Option<Arc<Iommu>>,
    multi_function: bool,
}

impl DeviceBuilder {
    pub(crate) fn new(preset: Preset) -> Self {
        Self {
            preset,
            channels: 1,
            channels_per_function: 1,
            device_id: None,
            version: None,
            xfercap_log2: XFERCAP_LOG2,
            capabilities: None,
            knobs: Knobs::default(),
            plan: FaultPlan::new(),
            seed: 0,
            iommu: None,
            multi_function: false,
        }
    }

    /// How many channels there are in all; 1 unless set.
    #[must_use]
    pub fn channels(self, channels: u8) -> Self {
        Self { channels, ..self }
    }

    /// How many channels a function has, as CHANCNT says; 1 unless set, which is what parts have.
    #[must_use]
    pub fn channels_per_function(self, channels_per_function: u8) -> Self {
        Self { channels_per_function, ..self }
    }

    /// The PCI device id of every function.
    #[must_use]
    pub fn device_id(self, device_id: u16) -> Self {
        Self { device_id: Some(device_id), ..self }
    }

    /// What CBVER says.
    #[must_use]
    pub fn version(self, version: Version) -> Self {
        Self { version: Some(version), ..self }
    }

    /// Log2 of the longest transfer in bytes, as XFERCAP says; 20 unless set. With 0, XFERCAP is 0 and
    /// the longest is what a descriptor can say.
    #[must_use]
    pub fn xfercap(self, log2: u8) -> Self {
        Self { xfercap_log2: log2, ..self }
    }

    /// What DMACAPABILITY says.
    #[must_use]
    pub fn capabilities(self, capabilities: DmaCapability) -> Self {
        Self { capabilities: Some(capabilities), ..self }
    }

    /// What goes wrong; nothing unless set.
    #[must_use]
    pub fn fault_plan(self, plan: FaultPlan) -> Self {
        Self { plan, ..self }
    }

    /// What the order of steps follows from, and the addresses of the IOMMU that the device gets by itself.
    #[must_use]
    pub fn seed(self, seed: u64) -> Self {
        Self { seed, ..self }
    }

    /// The address space of the device, to share one with others; one of its own unless set.
    #[must_use]
    pub fn iommu(self, iommu: Arc<Iommu>) -> Self {
        Self { iommu: Some(iommu), ..self }
    }

    /// Which error a data address that does not translate is.
    #[must_use]
    pub fn fault_style(mut self, style: FaultStyle) -> Self {
        self.knobs.fault_style = style;
        self
    }

    /// The state in the completion word of the last descriptor.
    #[must_use]
    pub fn completion_state(mut self, state: CompletionState) -> Self {
        self.knobs.completion_state = state;
        self
    }

    /// Which errors show in CHANERR_INT.
    #[must_use]
    pub fn internal_errors(mut self, errors: InternalErrors) -> Self {
        self.knobs.internal_errors = errors;
        self
    }

    /// What lies past the first 256 bytes of configuration space.
    #[must_use]
    pub fn extended_config(mut self, config: ExtendedConfig) -> Self {
        self.knobs.extended_config = config;
        self
    }

    /// How many reads of CHANCMD, or steps, still see the bit of a reset; 2 unless set.
    #[must_use]
    pub fn reset_polls(mut self, polls: u32) -> Self {
        self.knobs.reset_polls = polls;
        self
    }

    /// Whether bus mastering is on at first; it is unless set.
    #[must_use]
    pub fn bus_master(mut self, on: bool) -> Self {
        self.knobs.bus_master = on;
        self
    }

    /// The device.
    ///
    /// # Errors
    ///
    /// [`BuildError`] where it would be one that cannot exist, or that the model cannot be.
    pub fn build(self) -> Result<Device, BuildError> {
        let (given, seed) = (self.iommu.clone(), self.seed);
        let model = self.model()?;
        let iommu = given.unwrap_or_else(|| Arc::new(Iommu::with_seed(seed)));
        let upstream = Arc::clone(&iommu);
        Ok(Device::new(Shared::new(upstream, model), iommu))
    }

    /// Which kind of memory BAR 0 is.
    pub(crate) fn bar_width(mut self, width: BarWidth) -> Self {
        self.knobs.bar_width = width;
        self
    }

    /// Whether the function is one of several in its slot, which a device of several functions is by itself.
    pub(crate) fn multi_function(self, multi_function: bool) -> Self {
        Self { multi_function, ..self }
    }

    /// The model alone, for a device that works elsewhere than behind an [`Iommu`].
    pub(crate) fn model(self) -> Result<Model, BuildError> {
        let (channels, per_function) = (self.channels, self.channels_per_function);
        let functions = channels.checked_div(per_function).unwrap_or(0);
        if functions == 0 || functions * per_function != channels || per_function > MAX_CHANNELS {
            return Err(BuildError::Channels { channels, per_function });
        }
        if self.xfercap_log2 > 31 {
            return Err(BuildError::TransferLimit { log2: self.xfercap_log2 });
        }
        let capabilities = self.capabilities.unwrap_or_else(|| self.preset.capabilities());
        let beyond = capabilities.difference(ANNOUNCED);
        if !beyond.is_empty() {
            return Err(BuildError::Capabilities { bits: beyond.bits() });
        }
        let function = |index| {
            let part = Part {
                device_id: self.device_id.unwrap_or_else(|| self.preset.device_id(index)),
                version: self.version.unwrap_or_else(|| self.preset.version()),
                xfercap_log2: self.xfercap_log2,
                capabilities,
                channels: per_function,
                multi_function: self.multi_function || functions > 1,
            };
            FunctionModel::new(index, part, self.knobs)
        };
        let functions = (0..functions).map(function).collect();
        Ok(Model::new(functions, &self.plan, self.seed))
    }
}

/// Why a device cannot be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// No channels, more in a function than CHANCNT can say, or functions that differ.
    #[error(
        "{channels} channels cannot be had with {per_function} in each function: a multiple of it is \
         needed, and 1 to 31 in a function"
    )]
    Channels {
        /// How many in all.
        channels: u8,
        /// How many in a function.
        per_function: u8,
    },
    /// A limit that XFERCAP cannot say.
    #[error("a transfer limit of 2^{log2} bytes does not fit XFERCAP: 0 to 31 do")]
    TransferLimit {
        /// Log2 of the limit.
        log2: u8,
    },
    /// Capabilities that promise operations the model has not.
    #[error("capability bits {bits:#x} promise what the model does not do")]
    Capabilities {
        /// The bits.
        bits: u32,
    },
}
