//! `dmaring bench`: copies by memcpy and by engines, measured side by side.
//!
//! Everything that a run needs is made before its first point: memory for memcpy and for each engine, and a runtime for
//! each. Points of one size follow each other, memcpy first, so that what changes on the machine meanwhile
//! touches all contenders alike. A point whose copies fail or are not equal ends the run.

mod areas;
mod arguments;
mod axes;
mod crossover;
mod cycles;
mod figures;
mod lane;
mod machine;
mod memcpy;
mod pinning;
mod plot;
mod point;
mod progress;
mod settings;
mod shuffle;
mod stopwatch;
mod submit;
mod table;
mod verify;

use std::{fs, path::Path, time::Instant};

pub(crate) use self::arguments::BenchArguments;
use self::{
    areas::{Areas, Lengths},
    cycles::Cycles,
    figures::{Engine, Point, Report},
    lane::Lane,
    machine::Machine,
    pinning::Placement,
    point::Probe,
    progress::Progress,
    settings::{BadSettings, Place, Settings},
    table::plural,
};
use crate::{
    args::EmulatedArguments, engine_spec::EngineSpec, failure::Failure, machine::Roots, output,
};

/// Carries out the command, prints its table and writes its files.
pub(crate) fn run(arguments: &BenchArguments) -> Result<(), Failure> {
    let begin = Instant::now();
    // Before any thread is started: threads inherit the counter.
    let probe = Probe { cycles: Cycles::open(), placement: Placement::choose(arguments.core) };
    let specs = engines(arguments)?;
    let mut settings = Settings::new(arguments).map_err(refused)?;
    settings.core = probe.placement.poller;
    let machine = Machine::look(&Roots::system());
    let lengths = Lengths::choose(&settings, arguments.working_set, &machine, specs.len())
        .map_err(refused)?;
    let lanes = open(&specs, &arguments.emulated, &settings, lengths.area_bytes)?;
    let areas = Areas::new(lengths.area_bytes)
        .map_err(|error| Failure::refused("memory for memcpy cannot be had", error))?;

    let mut report = Report::new(&settings, machine, lengths);
    report.engines = lanes.iter().map(describe).collect();
    report.no_cycles = probe.cycles.why_not().map(str::to_owned);
    let mut run = Run { settings, lengths, areas, lanes, probe };
    run.measure(&mut report.points)?;
    for lane in run.lanes {
        lane.close().map_err(|error| Failure::Failed(error.to_string()))?;
    }
    report.finish(begin.elapsed());

    output::print(&report, false)?;
    if let Some(path) = &arguments.json {
        let json = serde_json::to_string(&report)
            .map_err(|error| Failure::Failed(format!("the figures cannot be written: {error}")))?;
        write("--json", path, json + "\n")?;
    }
    if let Some(path) = &arguments.plot {
        let drawing = plot::draw(&report)
            .map_err(|error| Failure::Failed(format!("--plot: it cannot be drawn: {error}")))?;
        write("--plot", path, drawing)?;
    }
    Ok(())
}

fn refused(why: BadSettings) -> Failure {
    Failure::Refused(why.to_string())
}

/// The engines to measure, each by itself.
fn engines(arguments: &BenchArguments) -> Result<Vec<EngineSpec>, Failure> {
    EngineSpec::check(&arguments.engines).map_err(Failure::Refused)?;
    let specs = match arguments.engines.as_slice() {
        [] => vec![EngineSpec::Auto],
        named => named.to_vec(),
    };
    match arguments.emulated.given() {
        Some(option) if !specs.contains(&EngineSpec::Emulated) => Err(Failure::Refused(format!(
            "{option} is of the emulated device: add --engine emulated"
        ))),
        _ => Ok(specs),
    }
}

fn open(
    specs: &[EngineSpec],
    emulated: &EmulatedArguments,
    settings: &Settings,
    length: u64,
) -> Result<Vec<Lane>, Failure> {
    const PLAIN: EmulatedArguments =
        EmulatedArguments { preset: None, channels: None, fault_plan: None };
    let lanes = specs.iter().map(|spec| {
        let options = if *spec == EngineSpec::Emulated { emulated } else { &PLAIN };
        Lane::open(*spec, options, settings, length)
    });
    lanes.collect()
}

fn describe(lane: &Lane) -> Engine {
    Engine {
        name: lane.name().to_owned(),
        description: lane.description().to_owned(),
        emulated: lane.is_emulated(),
    }
}

/// What a run has, made ready.
#[derive(Debug)]
struct Run {
    settings: Settings,
    lengths: Lengths,
    areas: Areas,
    lanes: Vec<Lane>,
    probe: Probe,
}

impl Run {
    fn measure(&mut self, points: &mut Vec<Point>) -> Result<(), Failure> {
        let Self { settings, lengths, areas, lanes, probe } = self;
        let limits = settings.limits();
        let progress = Progress::new(settings.points(lanes.len()));
        for Place { cache, threads, size } in settings.places() {
            let blocks = lengths.blocks(cache, size, threads);
            let (count, cache_name) = (plural(threads, "thread"), cache.name());
            let place = format!("{size} bytes, {cache_name}, {count}");
            let failed = |by: &str, why: String| Failure::Failed(format!("{by}, {place}: {why}"));
            progress.next(&place);
            let totals = memcpy::measure(areas, &blocks, limits, probe)
                .map_err(|why| failed("memcpy", why))?;
            let memcpy = Point::of_memcpy(cache, &blocks, &totals);
            points.push(memcpy.clone());
            for lane in &*lanes {
                for depth in &settings.depths {
                    progress.next(&place);
                    let totals = lane
                        .measure(&blocks, *depth, limits, probe)
                        .map_err(|why| failed(lane.name(), why))?;
                    points.push(Point::of_engine(&memcpy, lane.name(), *depth, &blocks, &totals));
                }
            }
        }
        Ok(())
    }
}

fn write(option: &str, path: &Path, text: String) -> Result<(), Failure> {
    fs::write(path, text).map_err(|error| {
        Failure::Failed(format!("{option} {}: it cannot be written: {error}", path.display()))
    })
}
