//! One round: some runtimes at the same time, one life after the other, and nothing left of them.

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use dmaring_driver::pci::Address;
use dmaring_emulated::Iommu;

use crate::{
    args::Defect,
    counts::Counts,
    life,
    plan::{self, Station},
    run::Run,
};

/// How long the last unmapping may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// What a planted loss of memory loses, in bytes.
const LOSS: usize = 24 << 20;

/// Plays a round.
///
/// # Errors
///
/// The first thing that was not as it should be.
pub(crate) fn play(run: &Run, seed: u64, number: u64) -> Result<Counts, String> {
    let plan = plan::draw(seed, number, run.scale);
    let shared = Arc::new(Iommu::with_seed(seed ^ number));
    let mut domains = vec![Arc::clone(&shared)];
    let mut counts = Counts { rounds: 1, ..Counts::default() };
    let outcomes: Vec<_> = thread::scope(|scope| {
        let stations: Vec<_> = plan
            .stations
            .iter()
            .enumerate()
            .map(|(index, station)| {
                let domain = if plan.one_domain {
                    Arc::clone(&shared)
                } else {
                    let own = Arc::new(Iommu::with_seed(seed ^ number ^ index as u64));
                    domains.push(Arc::clone(&own));
                    own
                };
                let functions = run.functions.iter().skip(index).step_by(plan.stations.len());
                let functions: Vec<_> = functions.copied().collect();
                scope.spawn(move || play_station(run, station, &domain, &functions))
            })
            .collect();
        stations
            .into_iter()
            .map(|station| station.join().unwrap_or_else(|_| Err("a station panicked".to_owned())))
            .collect()
    });
    for outcome in outcomes {
        counts.add(&outcome?);
    }
    domains.iter().try_for_each(|domain| check_domain(domain))?;
    plant(run)?;
    Ok(counts)
}

fn play_station(
    run: &Run,
    station: &Station,
    domain: &Arc<Iommu>,
    functions: &[Address],
) -> Result<Counts, String> {
    let mut counts = Counts::default();
    for (number, plan) in station.lives.iter().enumerate() {
        let lived = life::live(run, plan, Arc::clone(domain), functions);
        let told = |failure| {
            let (engines, end, faults) = (&plan.engines, plan.end, &plan.troubles);
            format!(
                "life {number} of a runtime on {engines:?}, end {end:?}: {failure}\nplanned by step: {faults:?}"
            )
        };
        counts.add(&lived.map_err(told)?);
    }
    Ok(counts)
}

/// Nothing is mapped, nothing was reached that was not mapped, and nothing was unmapped that was not mapped.
fn check_domain(domain: &Iommu) -> Result<(), String> {
    let end = Instant::now() + PATIENCE;
    while domain.mappings() > 0 {
        if Instant::now() > end {
            return Err(format!("{} mappings are left in the IOMMU", domain.mappings()));
        }
        thread::yield_now();
    }
    if let Some(fault) = domain.fault_list().first() {
        return Err(format!("{} faults of the IOMMU, the first: {fault:?}", domain.faults()));
    }
    match domain.misuse().first() {
        None => Ok(()),
        Some(misuse) => Err(format!("the IOMMU was misused: {misuse:?}")),
    }
}

/// Leaves behind what is to be found.
fn plant(run: &Run) -> Result<(), String> {
    let planted = |error| format!("planting a defect: {error}");
    match run.plant {
        Some(Defect::Descriptor) => {
            std::mem::forget(std::fs::File::open("/proc/self/status").map_err(planted)?);
        }
        Some(Defect::Mapping) => {
            let engine = dmaring_cpu::CpuEngine::new();
            let runtime = dmaring::Runtime::builder().engine(engine).build();
            let runtime = runtime.map_err(|error| format!("planting a defect: {error}"))?;
            let region = runtime.allocate(4096);
            std::mem::forget(region.map_err(|error| format!("planting a defect: {error}"))?);
        }
        Some(Defect::Thread) => drop(thread::spawn(thread::park)),
        Some(Defect::Memory) => {
            std::hint::black_box(vec![1u8; LOSS].leak());
        }
        Some(Defect::ShortCopy | Defect::StrayByte | Defect::Hang) | None => {}
    }
    Ok(())
}
