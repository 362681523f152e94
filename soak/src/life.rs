//! The life of a runtime: started, used by some threads, troubled, ended, and looked at.
//!
//! | who | does |
//! | --- | --- |
//! | each submitter | its steps; says that it has finished; waits for the runtime's end; compares |
//! | the conductor, here | waits for the number of steps at which something is planned, and does it; ends the runtime |
//!
//! The flag `ending` is set before the runtime hears of its end, so that whoever is refused because of it finds it set.

mod progress;

use std::{
    sync::{
        Arc, PoisonError, RwLock, Weak,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use dmaring::{ErrorKind, Region, Runtime};
use dmaring_driver::pci::Address;
use dmaring_emulated::Iommu;
use futures::executor::block_on;

use self::progress::Progress;
use crate::{
    counts::{self, Counts},
    devices::Devices,
    plan::{self, End, Trouble},
    region::{self, noise},
    run::Run,
    submitter,
};

/// How long a runtime has that is to finish all it has.
const LONG: Duration = Duration::from_secs(60);

/// What the submitters of a runtime share.
pub(crate) struct Life<'a> {
    pub(crate) run: &'a Run,
    pub(crate) plan: &'a plan::Life,
    pub(crate) source: Region,
    pub(crate) source_bytes: Arc<Vec<u8>>,
    pub(crate) progress: Progress,
    runtime: RwLock<Option<Arc<Runtime>>>,
    ending: AtomicBool,
}

impl Life<'_> {
    /// Does something with the runtime, unless it has ended.
    pub(crate) fn with_runtime<R>(&self, work: impl FnOnce(&Runtime) -> R) -> Option<R> {
        let runtime = self.runtime.read().unwrap_or_else(PoisonError::into_inner);
        runtime.as_deref().map(work)
    }

    /// Whether operations may be refused because the runtime ends.
    pub(crate) fn is_ending(&self) -> bool {
        self.ending.load(Ordering::SeqCst)
    }

    fn take_runtime(&self) -> Option<Arc<Runtime>> {
        self.runtime.write().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Lives a life.
///
/// # Errors
///
/// The first thing that was not as it should be.
pub(crate) fn live(
    run: &Run,
    plan: &plan::Life,
    domain: Arc<Iommu>,
    functions: &[Address],
) -> Result<Counts, String> {
    let (failures, window) = plan.retire_after;
    let mut builder = Runtime::builder()
        .ring_entries(plan.ring_entries)
        .retire_after(failures, window)
        .file_blocks(plan.file_blocks.0, plan.file_blocks.1);
    if let Some(on_error) = plan.on_error {
        builder = builder.on_error(on_error);
    }
    let (devices, builder) = Devices::start(&plan.engines, domain, functions, builder)?;
    let runtime = builder.build().map_err(|error| format!("starting a runtime: {error}"))?;
    let source_bytes = Arc::new(noise(plan.source.seed, plan.source.length as usize));
    let (source, file) = region::open(&runtime, &run.directories, plan.source.kind, &source_bytes)?;
    let runtime = Arc::new(runtime);
    let _state = run.watch.state(describe(&runtime));
    let life = Life {
        run,
        plan,
        source,
        source_bytes,
        progress: Progress::new(plan.submitters.len()),
        runtime: RwLock::new(Some(runtime)),
        ending: AtomicBool::new(false),
    };
    let mut counts = Counts { runtimes: 1, ..Counts::default() };
    counts::add(&mut counts.regions, plan.source.kind.name(), 1);
    let mut outcome = Ok(());
    thread::scope(|scope| {
        let submitters: Vec<_> = plan
            .submitters
            .iter()
            .enumerate()
            .map(|(number, plan)| {
                let life = &life;
                let builder = thread::Builder::new().name(format!("submitter{number}"));
                builder
                    .spawn_scoped(scope, move || submitter::play(life, number, plan))
                    // One that does not begin has finished.
                    .inspect_err(|_| drop(life.progress.begin()))
            })
            .collect();
        outcome = conduct(&life, &devices, &mut counts);
        life.progress.end();
        for submitter in submitters {
            let played = match submitter.map(thread::ScopedJoinHandle::join) {
                Ok(Ok(played)) => played,
                Ok(Err(_)) => Err("a submitter panicked".to_owned()),
                Err(error) => Err(format!("cannot start a thread: {error}")),
            };
            match (played, &outcome) {
                (Ok(played), _) => counts.add(&played),
                (Err(failure), Ok(())) => outcome = Err(failure),
                (Err(_), Err(_)) => {}
            }
        }
    });
    outcome?;
    counts.leaked_runtimes = counts.leaked_runtimes.min(1);
    let mut found = vec![0; life.source_bytes.len()];
    life.source.read_at(0, &mut found).map_err(|error| format!("reading the source: {error}"))?;
    if found != *life.source_bytes {
        return Err("the source has changed, which nobody writes".to_owned());
    }
    counts.bytes_checked += found.len() as u64;
    for (kind, count) in devices.end()? {
        counts::add(&mut counts.faults, &kind, count);
    }
    drop(file);
    Ok(counts)
}

/// Does what is planned at the number of steps at which it is planned, and ends the runtime.
fn conduct(life: &Life<'_>, devices: &Devices, counts: &mut Counts) -> Result<(), String> {
    for (at, trouble) in &life.plan.troubles {
        if !life.progress.reach(*at) {
            break;
        }
        match trouble {
            Trouble::End => break,
            Trouble::Restore => restore(life, counts)?,
            trouble => devices.make(trouble),
        }
    }
    let midway = matches!(life.plan.end, End::ShutDownMidway(_) | End::DroppedMidway);
    if !midway {
        life.progress.finish();
    }
    life.ending.store(true, Ordering::SeqCst);
    let Some(runtime) = life.take_runtime() else { return Ok(()) };
    let name = match life.plan.end {
        End::Drained => "shut down",
        End::Dropped => "dropped",
        End::ShutDownMidway(_) => "shut down in the midst",
        End::DroppedMidway => "dropped in the midst",
    };
    counts::add(&mut counts.ends, name, 1);
    let _note = life.run.watch.wait(|| format!("the end of a runtime, {name}"));
    let ended = match life.plan.end {
        End::Drained => shut_down(&runtime, LONG, false),
        End::ShutDownMidway(deadline) => shut_down(&runtime, deadline, deadline < LONG),
        End::Dropped | End::DroppedMidway => Ok(()),
    };
    note(&runtime, counts);
    let violations = runtime.stats().violations;
    drop(runtime);
    ended?;
    if violations > 0 {
        return Err(format!("{violations} completions named nothing outstanding"));
    }
    Ok(())
}

fn shut_down(runtime: &Runtime, deadline: Duration, may_give_up: bool) -> Result<(), String> {
    match block_on(runtime.shutdown(deadline)) {
        Ok(()) => {
            let left = runtime.stats().in_flight;
            if left == 0 { Ok(()) } else { Err(format!("{left} in flight after the shutdown")) }
        }
        Err(error) if may_give_up && error.kind() == ErrorKind::TimedOut => Ok(()),
        Err(error) => Err(format!("shutting down within {deadline:?}: {error}")),
    }
}

/// Asks for an engine back that is not at work.
fn restore(life: &Life<'_>, counts: &mut Counts) -> Result<(), String> {
    let restored = life.with_runtime(|runtime| {
        let engines = runtime.stats().engines;
        let Some(engine) = engines.iter().find(|engine| engine.lost || engine.retired) else {
            return Ok("not needed");
        };
        let name = &engine.name;
        let _note = life.run.watch.wait(|| format!("restore_engine({name})"));
        match block_on(runtime.restore_engine(name)) {
            Ok(()) => Ok("brought back"),
            Err(error) if error.kind() == ErrorKind::EngineLost => Ok("still lost"),
            Err(error) => Err(format!("restore_engine({name}): {error}")),
        }
    });
    if let Some(restored) = restored {
        counts::add(&mut counts.restores, restored?, 1);
    }
    Ok(())
}

fn note(runtime: &Runtime, counts: &mut Counts) {
    let stats = runtime.stats();
    counts.retried += stats.retried;
    for engine in &stats.engines {
        counts.device_errors += engine.errors;
        counts.resets += engine.recoveries;
        counts.replayed += engine.replayed;
        counts.retirements += engine.retirements;
    }
}

/// What a runtime is at, for as long as there is one.
fn describe(runtime: &Arc<Runtime>) -> impl Fn() -> String + Send + 'static {
    let runtime: Weak<Runtime> = Arc::downgrade(runtime);
    move || match runtime.upgrade() {
        Some(runtime) => {
            let stats = format!("{:?}", runtime.stats());
            // Were it the last handle, its drop would wait here.
            std::mem::forget(runtime);
            stats
        }
        None => "a runtime that has ended".to_owned(),
    }
}
