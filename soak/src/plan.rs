//! What a round does, drawn from the seed and the round's number before anything is started.
//!
//! Nothing that happens changes the plan, so a round that failed can be run again alone: the same operations are
//! submitted in the same order by each thread, and the same faults are planned at the same points. When threads run, and
//! which descriptor of which operation meets a fault, differs from run to run.

mod faults;
mod steps;

use std::time::Duration;

use dmaring::OnError;
use dmaring_emulated::Preset;
use fastrand::Rng;

pub(crate) use self::{
    faults::Trouble,
    steps::{Fate, GENEROUS, Manner, Operation, Place, Step, Work},
};

/// How large rounds are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scale {
    /// Threads that submit, in all.
    pub(crate) threads: usize,
    /// Steps of each in the life of a runtime.
    pub(crate) steps: usize,
    /// The longest operation, in bytes.
    pub(crate) longest: u64,
    /// Functions of the machine's to use; 0: the emulated device.
    pub(crate) functions: usize,
    /// The device is to lie about some copies.
    pub(crate) short_copies: bool,
}

/// What a round does.
#[derive(Clone, Debug)]
pub(crate) struct Round {
    /// They run at the same time.
    pub(crate) stations: Vec<Station>,
    /// The emulated devices of all stations work in one address space.
    pub(crate) one_domain: bool,
}

/// The lives of runtimes, one after the other.
#[derive(Clone, Debug)]
pub(crate) struct Station {
    pub(crate) lives: Vec<Life>,
}

/// What happens from the start of a runtime to its end.
#[derive(Clone, Debug)]
pub(crate) struct Life {
    pub(crate) engines: Engines,
    pub(crate) ring_entries: u32,
    pub(crate) on_error: Option<OnError>,
    pub(crate) retire_after: (u32, Duration),
    /// Number and bytes of the buffers for files.
    pub(crate) file_blocks: (u32, u32),
    pub(crate) source: Source,
    pub(crate) submitters: Vec<Submitter>,
    /// By the number of steps that all submitters have made, in order.
    pub(crate) troubles: Vec<(u64, Trouble)>,
    pub(crate) end: End,
}

/// The engines of a runtime.
#[derive(Clone, Debug)]
pub(crate) struct Engines {
    pub(crate) preset: Preset,
    pub(crate) channels: u8,
    /// Log2 of the longest transfer in bytes.
    pub(crate) xfercap: u8,
    /// Descriptors of each channel.
    pub(crate) ring_entries: u32,
    /// After how many polls without news the driver reads CHANSTS.
    pub(crate) status_interval: u32,
    pub(crate) seed: u64,
    pub(crate) cpu: bool,
    /// There is the CPU and no device.
    pub(crate) alone: bool,
    /// Something may go wrong.
    pub(crate) faulty: bool,
    pub(crate) hang_after: Duration,
}

impl Engines {
    /// Whether one of them can fill.
    pub(crate) fn can_fill(&self) -> bool {
        self.cpu || self.preset != Preset::Icx
    }
}

/// Where most copies come from: nobody writes it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Source {
    pub(crate) kind: Kind,
    /// In bytes.
    pub(crate) length: u64,
    /// What its bytes follow from.
    pub(crate) seed: u64,
}

/// What a thread does.
#[derive(Clone, Debug)]
pub(crate) struct Submitter {
    pub(crate) regions: Vec<Destination>,
    pub(crate) steps: Vec<Step>,
}

/// A region that one thread writes: a row of lots, each the place of one operation at a time.
#[derive(Clone, Debug)]
pub(crate) struct Destination {
    pub(crate) kind: Kind,
    /// Bytes of each lot.
    pub(crate) lots: Vec<u64>,
    /// What its bytes are at first.
    pub(crate) seed: u64,
}

/// How a region is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Allocated,
    Vector,
    Boxed,
    /// On tmpfs, which is mapped.
    MappedFile,
    /// Where temporary files are: staged unless that is tmpfs.
    StagedFile,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Allocated => "allocated",
            Self::Vector | Self::Boxed => "registered",
            Self::MappedFile => "mapped file",
            Self::StagedFile => "staged file",
        }
    }

    pub(crate) fn is_file(self) -> bool {
        matches!(self, Self::MappedFile | Self::StagedFile)
    }
}

/// How a runtime ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// It is shut down when all is done, and has the time.
    Drained,
    /// It is dropped when all is done.
    Dropped,
    /// It is shut down in the midst, and has this long.
    ShutDownMidway(Duration),
    /// It is dropped in the midst.
    DroppedMidway,
}

/// A round in so many forgets futures, up to this one: what is lost so is bounded.
const FORGETS: (u64, u64) = (40, 1280);
/// What a copy through transfers of the least length may take: so many of them.
const MOST_TRANSFERS: u64 = 2048;

/// Draws a round.
pub(crate) fn draw(seed: u64, number: u64, scale: Scale) -> Round {
    // The rounds of one run have nothing in common with those of the next seed.
    let mut random = Rng::with_seed(seed ^ (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let most = if scale.functions == 0 { 3 } else { scale.functions.min(2) };
    let stations = random.usize(1..=most).min(scale.threads);
    let forgets = number % FORGETS.0 == 7 && number < FORGETS.1;
    let stations = (0..stations)
        .map(|station| {
            let threads = (scale.threads + station) / stations;
            let lives = random.usize(1..=2);
            let forgets = forgets && station == 0;
            let life = |life| self::life(&mut random, scale, threads, forgets && life == 0);
            Station { lives: (0..lives).map(life).collect() }
        })
        .collect();
    Round { stations, one_domain: random.u8(..4) == 0 }
}

fn life(random: &mut Rng, scale: Scale, threads: usize, forgets: bool) -> Life {
    let engines = engines(random, scale);
    let on_error = match random.u8(..4) {
        0 => Some(OnError::Fail),
        1 if engines.cpu => Some(OnError::RetryOnCpu),
        _ => None,
    };
    let longest = scale.longest.min(MOST_TRANSFERS << engines.xfercap);
    let source = Source { kind: kind(random), length: longest * 2, seed: random.u64(..) };
    let steps = scale.steps;
    let total = (threads * steps) as u64;
    let submitters =
        (0..threads).map(|_| steps::submitter(random, steps, longest, &engines, forgets)).collect();
    let troubles = faults::troubles(random, total, &engines, scale);
    let midway = random.u64(total / 3..total.max(2));
    let (end, at) = match random.u8(..8) {
        0 => (End::ShutDownMidway(Duration::from_micros(random.u64(..3000))), midway),
        1 => (End::ShutDownMidway(Duration::from_secs(60)), midway),
        2 => (End::DroppedMidway, midway),
        3 | 4 => (End::Dropped, u64::MAX),
        _ => (End::Drained, u64::MAX),
    };
    let mut troubles: Vec<_> = troubles.into_iter().filter(|(when, _)| *when < at).collect();
    if at < u64::MAX {
        troubles.push((at, Trouble::End));
    }
    Life {
        engines,
        ring_entries: 2 << random.u32(..9),
        on_error,
        retire_after: (random.u32(..8), Duration::from_secs(10)),
        file_blocks: (random.u32(4..=16), (16 << 10) << random.u32(..6)),
        source,
        submitters,
        troubles,
        end,
    }
}

fn engines(random: &mut Rng, scale: Scale) -> Engines {
    let alone = scale.functions == 0 && !scale.short_copies && random.u8(..8) == 0;
    let faulty = !alone && (scale.functions > 0 || random.u8(..5) > 0);
    let presets = Preset::ALL;
    let preset = presets[random.usize(..presets.len())];
    Engines {
        // Nobody knows what the machine's can do: that of the part that can do least.
        preset: if scale.functions > 0 { Preset::Icx } else { preset },
        channels: random.u8(1..=4),
        xfercap: random.u8(9..=20),
        ring_entries: 8 << random.u32(..7),
        status_interval: 1 << random.u32(..=10),
        seed: random.u64(..),
        cpu: alone || random.u8(..3) > 0,
        alone,
        faulty,
        hang_after: if faulty {
            Duration::from_millis(random.u64(50..400))
        } else {
            Duration::from_secs(60)
        },
    }
}

fn kind(random: &mut Rng) -> Kind {
    match random.u8(..10) {
        0..=3 => Kind::Allocated,
        4 | 5 => Kind::Vector,
        6 => Kind::Boxed,
        7 | 8 => Kind::MappedFile,
        _ => Kind::StagedFile,
    }
}

#[cfg(test)]
mod tests {
    use super::{Fate, Scale, Step, draw};

    const SCALE: Scale =
        Scale { threads: 6, steps: 50, longest: 1 << 20, functions: 0, short_copies: false };

    #[test]
    fn a_round_follows_from_seed_and_number_alone() {
        let text = |seed, number| format!("{:?}", draw(seed, number, SCALE));
        assert_eq!(text(1, 5), text(1, 5));
        assert_ne!(text(1, 5), text(1, 6));
        assert_ne!(text(1, 5), text(2, 5));
    }

    #[test]
    fn every_thread_is_placed_and_every_operation_stays_within_its_lot() {
        for number in 0..40 {
            let round = draw(3, number, SCALE);
            let first = round.stations.iter().map(|station| station.lives[0].submitters.len());
            assert_eq!(first.sum::<usize>(), SCALE.threads);
            for life in round.stations.iter().flat_map(|station| &station.lives) {
                for submitter in &life.submitters {
                    for operation in submitter.steps.iter().flat_map(Step::operations) {
                        let lots = &submitter.regions[operation.to.region].lots;
                        let end = operation.offset + operation.length;
                        assert!(end <= lots[operation.to.lot] && operation.length > 0);
                    }
                }
            }
        }
    }

    #[test]
    fn few_rounds_forget_futures_and_none_does_later() {
        let forgets = |number| {
            let round = draw(9, number, Scale { steps: 300, ..SCALE });
            let lives = round.stations.iter().flat_map(|station| &station.lives);
            lives.flat_map(|life| &life.submitters).any(|submitter| {
                submitter.steps.iter().any(|step| {
                    matches!(
                        step,
                        Step::One { fate: Fate::Forgotten, .. }
                            | Step::Batch { fate: Fate::Forgotten, .. }
                    )
                })
            })
        };
        assert_eq!((0..100).filter(|number| forgets(*number)).count(), 3);
        assert!((1280..1330).all(|number| !forgets(number)));
    }
}
