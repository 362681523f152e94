//! What an engine can do.

/// What an engine can do. Constant for the life of an engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// The longest single transfer, in bytes; at least 64.
    pub max_transfer: u64,
    /// How many transfers the engine holds at most: those enqueued and not yet reported by
    /// [`Engine::poll`](crate::Engine::poll). At least 2.
    pub depth: usize,
    /// Whether the engine fills by itself; where it does not, `enqueue` refuses
    /// [`Operation::Fill`](crate::Operation::Fill) as unsupported.
    pub fill: bool,
    /// Whether the engine is the host's CPU on the host's own addresses: it reaches every mapping and is
    /// never lost, so that it can stand in for an engine that failed. Such an engine has
    /// [`Operation::DeviceCopy`](crate::Operation::DeviceCopy), and `DeviceFill` if it fills.
    pub host_memory: bool,
    /// From how many bytes on a transfer leaves no modified whole line of 64 bytes of its destination in a cache of
    /// the host: each, at a multiple of 64, is written with non-temporal stores, which are fenced before the
    /// completion. What comes before the first such line and after the last goes through the caches, and so does,
    /// whatever its length, all that [`Operation::DeviceCopy`](crate::Operation::DeviceCopy) and
    /// [`Operation::DeviceFill`](crate::Operation::DeviceFill) write.
    ///
    /// `None`: every byte may be in a cache when the transfer is done, as it is where the platform places
    /// a device's writes there (Intel's DDIO). Whoever makes a destination durable goes by this.
    pub streams_from: Option<u64>,
    /// The longest transfer, in bytes, that the engine carries out within a call of [`Engine::run`](crate::Engine::run) or
    /// [`Engine::run_all`](crate::Engine::run_all); 0: none.
    pub at_once: u64,
    /// How many bytes at most of a source to come such a call reads ahead where it is told of one; 0: none.
    pub reads_ahead: u64,
}
