//! Building a runtime: every setting is checked before a thread is started.

use std::{
    io,
    sync::{Arc, OnceLock},
    thread,
    time::Duration,
};

use dmaring_engine::{DmaMap, Engine};
use dmaring_ring::{Layout, LayoutError};

use crate::{
    bundle::Blocks,
    calibration::EngineFacts,
    client::Client,
    clock::{Clock, MonotonicClock},
    fork::Origin,
    housekeeper::{self, Housekeeper},
    lifecycle::Lifecycle,
    memory::RingMemory,
    op::{LINGER, Linger, OnError, Policy, SpareLists},
    persist::{Persist, Processor, WriteBack},
    placement::{self, CoreError, Placement, Steering, Striping},
    poller::{Idle, LaneSettings, Lanes, Poller, Retirement},
    quiesce::Quiesce,
    region::table::RegionTable,
    remote::{Pollers, RemoteEngine, Worker, Workers},
    restore::Restores,
    runtime::Runtime,
    segments::SegmentTable,
    shared::{Domain, Shared},
    staging::{BlockSettings, Staging},
    stats::Counters,
};

/// The smallest transfer limit an engine may have, in bytes.
const MIN_TRANSFER: u64 = 64;
/// The fewest transfers an engine must hold.
const MIN_DEPTH: usize = 2;

/// Settings of a [`Runtime`], which [`build`](Builder::build) checks and starts.
#[must_use = "a builder does nothing until `build` is called"]
pub struct Builder {
    engines: Vec<Adder>,
    poller_core: Option<usize>,
    ring_entries: u32,
    idle: Idle,
    linger: Duration,
    blocks: BlockSettings,
    clock: Arc<dyn Clock>,
    on_error: Option<OnError>,
    retirement: Retirement,
    write_back: Option<Box<dyn WriteBack>>,
    placement: Placement,
    striping: Striping,
    policy: placement::Policy,
    pollers: Pollers,
}

/// What is known of an engine before its lane is built; the engine itself is inside `add`.
struct Adder {
    name: String,
    domain: Arc<dyn DmaMap>,
    max_transfer: u64,
    depth: usize,
    host_memory: bool,
    node: Option<u32>,
    add: Add,
}

type Add = Box<dyn FnOnce(&mut Lanes, LaneSettings, Option<&Worker>) + Send>;

/// Why a runtime could not be built. Nothing is left behind.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// There is no engine to copy with.
    #[error("no engine was given: add one with `engine`, for example dmaring_cpu::CpuEngine")]
    NoEngine,
    /// The number of ring entries will not do.
    #[error("ring_entries: {0}")]
    RingEntries(#[source] LayoutError),
    /// The poller's core does not exist, or the process may not use it.
    #[error(
        "poller_core: core {core} does not exist or is not allowed for this process: use one of {allowed}"
    )]
    Core {
        /// The core that was asked for.
        core: usize,
        /// The cores that would do, as ranges.
        allowed: String,
    },
    /// An engine says of itself what cannot be.
    #[error("engine {engine}: {what} of {value} is below the least of {least}")]
    Engine {
        /// The engine's name.
        engine: String,
        /// Which capability.
        what: &'static str,
        /// Its value.
        value: u64,
        /// The least that will do.
        least: u64,
    },
    /// The staging buffers for files will not do.
    #[error(
        "file_blocks: {what} of {value} is not within {least} and {most}, or no power of two where it must be one"
    )]
    FileBlocks {
        /// Which setting.
        what: &'static str,
        /// Its value.
        value: u32,
        /// The least that will do.
        least: u32,
        /// The most that will do.
        most: u32,
    },
    /// What an engine fails to do is to be done by the CPU, and no engine is that.
    #[error(
        "on_error: nothing can be retried on the CPU, since no engine is the host's CPU: add one with `engine`, for example dmaring_cpu::CpuEngine, or ask for OnError::Fail"
    )]
    NoCpu,
    /// More failures are to be counted than can be.
    #[error("retire_after: {failures} failures are more than the {most} that are remembered")]
    RetireAfter {
        /// How many were asked for.
        failures: u32,
        /// How many can be.
        most: u32,
    },
    /// Stripes are too short.
    #[error("striping: stripes of {stripe} bytes are below the least of {least}")]
    Striping {
        /// What was asked for, in bytes.
        stripe: u64,
        /// The least that will do, in bytes.
        least: u64,
    },
    /// The calibration is one of another machine or of other engines.
    #[error("policy: {0}")]
    Calibration(String),
    /// The rings' shared memory could not be had.
    #[error("cannot create the rings' shared memory: {0}")]
    Memory(#[source] io::Error),
    /// The memory for statistics could not be had.
    #[error("cannot create the memory for statistics: {0}")]
    Statistics(#[source] io::Error),
    /// The poller's thread could not be started.
    #[error("cannot start the poller's thread: {0}")]
    Thread(#[source] io::Error),
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            engines: Vec::new(),
            poller_core: None,
            ring_entries: 1024,
            idle: Idle::default(),
            linger: LINGER,
            blocks: BlockSettings::default(),
            clock: Arc::new(MonotonicClock::default()),
            on_error: None,
            retirement: Retirement::default(),
            write_back: None,
            placement: Placement::default(),
            striping: Striping::default(),
            policy: placement::Policy::default(),
            pollers: Pollers::default(),
        }
    }
}

impl Builder {
    /// Adds an engine. Of several, each operation goes to the one with the fewest bytes to do of those that are
    /// [near](Placement), and large ones are [striped](Builder::striping) over them.
    pub fn engine<E: Engine + 'static>(mut self, engine: E) -> Self {
        let capabilities = engine.capabilities();
        self.engines.push(Adder {
            name: engine.name().to_owned(),
            domain: engine.domain(),
            max_transfer: capabilities.max_transfer,
            depth: capabilities.depth,
            host_memory: capabilities.host_memory,
            node: engine.numa_node(),
            add: Box::new(move |lanes, settings, worker| match worker {
                Some(worker) => lanes.add(RemoteEngine::new(engine, worker), settings),
                None => lanes.add(engine, settings),
            }),
        });
        self
    }

    /// Binds the poller to a core, best one that nothing else uses. Without it the poller floats, and
    /// latencies do with it.
    pub fn poller_core(mut self, core: usize) -> Self {
        self.poller_core = Some(core);
        self
    }

    /// How many operations may be in the rings at a time: a power of two, 1024 unless told. More wait in line. Short copies of a
    /// [batch](crate::Batch::copy) that share a place count as one.
    pub fn ring_entries(mut self, entries: u32) -> Self {
        self.ring_entries = entries;
        self
    }

    /// What the poller does when there is nothing to do.
    pub fn idle(mut self, idle: Idle) -> Self {
        self.idle = idle;
        self
    }

    /// For how long the first poll of a copy may look for its end before it returns `Pending`: 1 µs unless told. Where it is zero it looks once.
    ///
    /// It does so for operations of at most 4 KiB that are alone in flight, and less and less often where it is in vain. A short
    /// copy by a poller that is awake ends within this time, and the task is spared the way to sleep and back, which takes some
    /// 5 to 50 µs of both threads.
    pub fn linger(mut self, limit: Duration) -> Self {
        self.linger = limit;
        self
    }

    /// How files that cannot be mapped are staged: through `count` buffers of `bytes` bytes each, 16 of 1 MiB
    /// unless told. They are allocated and locked in memory when the first such file is opened.
    ///
    /// `count` is from 4 to 32, `bytes` a power of two from 16 KiB to 16 MiB. Where the limit of locked memory
    /// does not allow buffers of this length, shorter ones are taken, down to 64 KiB.
    pub fn file_blocks(mut self, count: u32, bytes: u32) -> Self {
        self.blocks = BlockSettings { count, bytes };
        self
    }

    /// Where the poller reads the time; the system's monotonic clock unless told.
    pub fn clock(mut self, clock: impl Clock + 'static) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// What is done about parts that an engine fails to copy, where an operation does not say. Unless told,
    /// [`RetryOnCpu`](OnError::RetryOnCpu) if one of the engines is the host's CPU, else [`Fail`](OnError::Fail).
    pub fn on_error(mut self, on_error: OnError) -> Self {
        self.on_error = Some(on_error);
        self
    }

    /// Retires an engine that fails so many times within `window`: 8 times in 10 s unless told, never if `failures` is 0.
    ///
    /// A failure is one however many operations it hits. What a retired engine had to do goes to the others; if there are
    /// none that can do it, operations resolve to [`EngineLost`](crate::ErrorKind::EngineLost).
    /// [`Runtime::restore_engine`] brings it back. At most 1024 failures are counted.
    pub fn retire_after(mut self, failures: u32, window: Duration) -> Self {
        self.retirement = Retirement { failures, window };
        self
    }

    /// How cache lines are brought to memory that outlives a loss of power: by the processor's own instructions unless
    /// told. Another way is for tests.
    pub fn write_back(mut self, write_back: impl WriteBack + 'static) -> Self {
        self.write_back = Some(Box::new(write_back));
        self
    }

    /// Which engines are near to an operation; unless told, those on the node of its destination.
    pub fn placement(mut self, placement: Placement) -> Self {
        self.placement = placement;
        self
    }

    /// How large operations are striped over engines; unless told, from 4 MiB on, in stripes of 1 MiB.
    ///
    /// Each engine has two stripes of an operation at a time and no more than half of what it holds, and whichever is
    /// through takes the next. Without effect under [`Policy::Calibrated`](crate::Policy::Calibrated).
    pub fn striping(mut self, striping: Striping) -> Self {
        self.striping = striping;
        self
    }

    /// How an engine is chosen among those that are near; [`Policy::Balanced`](crate::Policy::Balanced) unless told.
    pub fn policy(mut self, policy: crate::Policy) -> Self {
        self.policy = policy;
        self
    }

    /// Which threads drive the engines; unless told, the poller drives all.
    pub fn pollers(mut self, pollers: Pollers) -> Self {
        self.pollers = pollers;
        self
    }

    /// Checks the settings, creates the rings and starts the poller.
    ///
    /// # Errors
    ///
    /// See [`BuildError`]; each names the value, the limit and the remedy.
    pub fn build(self) -> Result<Runtime, BuildError> {
        let facts = self.facts();
        let steering = self.steering(&facts)?;
        let Self {
            engines, poller_core, ring_entries, idle, linger, blocks, clock, on_error, ..
        } = self;
        let Self { retirement, write_back, striping, pollers, .. } = self;
        check_engines(&engines)?;
        check_blocks(blocks)?;
        let policy = policy(&engines, on_error)?;
        let most = Retirement::MAX_FAILURES;
        if retirement.failures > most {
            return Err(BuildError::RetireAfter { failures: retirement.failures, most });
        }
        let layout = Layout::new(ring_entries).map_err(BuildError::RingEntries)?;
        if let Some(core) = poller_core {
            placement::check_core(core)?;
        }
        let pair = RingMemory::create(layout).map_err(BuildError::Memory)?;
        let mut lanes = Lanes::default();
        let mut domains: Vec<Domain> = Vec::new();
        let names = engines.iter().map(|engine| engine.name.clone()).collect();
        let one_cpu = placement::allowed_cores().len() == 1;
        let mut workers = Workers::new(pollers, (idle, one_cpu));
        for Adder { name, domain, node, add, .. } in engines {
            let worker = workers.for_engine(node).map_err(BuildError::Thread)?;
            let known = domains.iter().position(|known| Arc::ptr_eq(&known.map, &domain));
            let index = known.unwrap_or_else(|| {
                domains.push(Domain { map: domain, engine: name });
                domains.len() - 1
            });
            let operations = Poller::operations(ring_entries);
            add(&mut lanes, LaneSettings { domain: index, operations, retirement }, worker);
        }
        let write_back = write_back.unwrap_or_else(|| Box::new(Processor::detect()));
        let persist = Arc::new(Persist::new(write_back, Poller::operations(ring_entries)));
        let shared = Arc::new(Shared {
            client: Client::new(pair, ring_entries, idle != Idle::Spin),
            linger: Linger::new(if one_cpu { Duration::ZERO } else { linger }),
            batches: SpareLists::new(),
            regions: RegionTable::new(domains.len()),
            segments: SegmentTable::new(),
            bundles: Blocks::new(),
            at_once: lanes.at_once(),
            steering,
            striping,
            engines: facts,
            pollers: pollers.name(),
            domains,
            counters: Counters::new(names).map_err(BuildError::Statistics)?,
            lifecycle: Lifecycle::new(),
            housekeeper: Housekeeper::new(persist.clone()),
            persist,
            staging: Staging::new(blocks),
            restores: Restores::new(),
            quiesce: Quiesce::new(),
            registered: Arc::default(),
            policy,
            event: OnceLock::new(),
            start: clock.now(),
            clock,
            origin: Origin::here(),
        });
        let poller = Poller::new(shared.clone(), lanes, ring_entries, (idle, one_cpu));
        let thread = placement::without_signals(|| {
            thread::Builder::new().name("dmaring-poller".into()).spawn(move || {
                housekeeper::enter_service_thread();
                if let Some(core) = poller_core
                    && let Err(error) = placement::pin(core)
                {
                    tracing::warn!(core, %error, "the poller could not be bound to its core and floats");
                }
                poller.run();
            })
        })
        .map_err(BuildError::Thread)?;
        Ok(Runtime::new(shared, thread))
    }
}

impl Builder {
    /// What is known of the engines.
    fn facts(&self) -> Vec<EngineFacts> {
        let facts = self.engines.iter().map(|engine| EngineFacts {
            name: engine.name.clone(),
            max_transfer: engine.max_transfer,
            host_memory: engine.host_memory,
            node: engine.node,
        });
        facts.collect()
    }

    fn steering(&self, engines: &[EngineFacts]) -> Result<Steering, BuildError> {
        let (stripe, least) = (self.striping.stripe, Striping::LEAST);
        if stripe < least {
            return Err(BuildError::Striping { stripe, least });
        }
        let course = self.policy.course(self.striping, engines, self.pollers.name());
        Ok(Steering::new(self.placement, course.map_err(BuildError::Calibration)?))
    }
}

fn check_engines(engines: &[Adder]) -> Result<(), BuildError> {
    if engines.is_empty() {
        return Err(BuildError::NoEngine);
    }
    for Adder { name, max_transfer, depth, .. } in engines {
        let least = |what, value, least| {
            if value >= least {
                return Ok(());
            }
            Err(BuildError::Engine { engine: name.clone(), what, value, least })
        };
        least("max_transfer", *max_transfer, MIN_TRANSFER)?;
        least("depth", *depth as u64, MIN_DEPTH as u64)?;
    }
    Ok(())
}

/// What becomes of failures where an operation does not say.
fn policy(engines: &[Adder], on_error: Option<OnError>) -> Result<Policy, BuildError> {
    let has_cpu = engines.iter().any(|engine| engine.host_memory);
    let on_error = match on_error {
        Some(OnError::RetryOnCpu) if !has_cpu => return Err(BuildError::NoCpu),
        Some(on_error) => on_error,
        None if has_cpu => OnError::RetryOnCpu,
        None => OnError::Fail,
    };
    Ok(Policy { on_error, has_cpu })
}

fn check_blocks(blocks: BlockSettings) -> Result<(), BuildError> {
    let within = |what, value, (least, most), fits| {
        if (least..=most).contains(&value) && fits {
            return Ok(());
        }
        Err(BuildError::FileBlocks { what, value, least, most })
    };
    within("count", blocks.count, BlockSettings::COUNT, true)?;
    within("bytes", blocks.bytes, BlockSettings::BYTES, blocks.bytes.is_power_of_two())
}

impl From<CoreError> for BuildError {
    fn from(error: CoreError) -> Self {
        Self::Core { core: error.core, allowed: placement::ranges(&error.allowed) }
    }
}

impl std::fmt::Debug for Builder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let engines: Vec<_> = self.engines.iter().map(|engine| &engine.name).collect();
        f.debug_struct("Builder")
            .field("engines", &engines)
            .field("poller_core", &self.poller_core)
            .field("ring_entries", &self.ring_entries)
            .field("idle", &self.idle)
            .field("blocks", &self.blocks)
            .field("clock", &self.clock)
            .field("on_error", &self.on_error)
            .field("retirement", &self.retirement)
            .field("placement", &self.placement)
            .field("striping", &self.striping)
            .field("policy", &self.policy)
            .field("pollers", &self.pollers)
            .finish()
    }
}
