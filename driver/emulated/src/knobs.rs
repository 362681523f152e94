//! What silicon does is unknown here and there: these choose.

/// Which error a data address that does not translate is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FaultStyle {
    /// An error of the address: CHANERR bits 0 and 1.
    #[default]
    Address,
    /// An error of the data: CHANERR bits 8 and 9.
    Data,
}

/// The state in the completion word of the last descriptor that DMACOUNT covers. An earlier one always
/// says active.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CompletionState {
    /// Idle, which is what CHANSTS says then.
    #[default]
    Idle,
    /// Active, as if the word were written before the channel saw that nothing is left.
    Active,
}

/// Which errors show in CHANERR_INT, which holds a channel halted as CHANERR does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum InternalErrors {
    /// Every error whose bit is clear in CHANERRMSK_INT: a driver must write both back.
    #[default]
    Mirrored,
    /// None: a driver that forgets CHANERR_INT gets by.
    Never,
}

/// What lies past the first 256 bytes of configuration space.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ExtendedConfig {
    /// The registers.
    #[default]
    Present,
    /// All ones, and writes have no effect; CHANERR_INT then never holds a channel.
    AllOnes,
    /// Nothing: an access fails; CHANERR_INT then never holds a channel.
    Unreachable,
}

/// Which kind of memory BAR 0 is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum BarWidth {
    /// 64 bits, as parts have it: it takes the place of BAR 1 too.
    #[default]
    Bits64,
    /// 32 bits, for a host that takes every BAR for one of these.
    Bits32,
}

/// All of them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Knobs {
    pub(crate) fault_style: FaultStyle,
    pub(crate) completion_state: CompletionState,
    pub(crate) internal_errors: InternalErrors,
    pub(crate) extended_config: ExtendedConfig,
    pub(crate) bar_width: BarWidth,
    /// How many reads of CHANCMD, or steps, still see the reset bit.
    pub(crate) reset_polls: u32,
    /// Whether bus mastering is on when the device is made.
    pub(crate) bus_master: bool,
}

impl Default for Knobs {
    fn default() -> Self {
        Self {
            fault_style: FaultStyle::default(),
            completion_state: CompletionState::default(),
            internal_errors: InternalErrors::default(),
            extended_config: ExtendedConfig::default(),
            bar_width: BarWidth::default(),
            reset_polls: 2,
            bus_master: true,
        }
    }
}
