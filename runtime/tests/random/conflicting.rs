//! With conflicts: when all is quiet, every byte is the old one or one that somebody could have put there.
//!
//! All threads write all over the same two regions. What a byte may be is a set: its value before, and for
//! every operation that covers it whatever its source byte may be. Copies of copies make it a closure, which
//! grows until nothing changes. A byte that no destination covers has a set of one.

use std::{mem, thread};

use dmaring::{Region, Runtime};
use futures::executor::block_on;

use crate::{
    Kind, THREADS, chain,
    common::{LONG, bytes, poll_once},
    random::Random,
    runtime,
};

const SIZE: u64 = 2048;
const PHASES: usize = 4;
const STEPS: usize = 16;

/// What was asked for. A place is a region and an offset in it.
#[derive(Clone, Debug)]
struct Work {
    source: Source,
    destination: (usize, u64),
    length: u64,
}

#[derive(Clone, Debug)]
enum Source {
    Place(usize, u64),
    Pattern(u64),
    /// Written by the thread itself.
    Bytes(Vec<u8>),
}

pub(crate) fn run(random: &mut Random, kind: Kind) {
    let (backstage, runtime) = runtime(random, kind);
    let forgets = random.once_in(4);
    let regions = [(); 2].map(|()| {
        let region = runtime.allocate(SIZE as usize).unwrap();
        region.write_at(0, &random.bytes(SIZE as usize)).unwrap();
        region
    });
    for phase in 0..PHASES {
        let before = snapshot(&regions);
        let works: Vec<Vec<Work>> = thread::scope(|scope| {
            let threads: Vec<_> = (0..THREADS)
                .map(|_| {
                    let (random, regions, runtime) = (random.fork(), &regions, &runtime);
                    scope.spawn(move || play(random, runtime, regions, forgets))
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        // All threads have submitted what they had: a fence waits for the dropped and the forgotten, too.
        let quiet = chain::region(&runtime);
        assert_eq!(block_on(quiet.fill(0, 8, 0).fence()).unwrap(), 8);
        let sets = closure(&before, &works.concat());
        for (place, (byte, set)) in snapshot(&regions).into_iter().zip(&sets).enumerate() {
            assert!(
                set.contains(byte),
                "phase {phase}: byte {place} is {byte}, which nobody wrote"
            );
        }
    }
    block_on(runtime.shutdown(LONG)).unwrap();
    backstage.assert_clean(&runtime);
}

/// Both regions, one after the other.
fn snapshot(regions: &[Region; 2]) -> Vec<u8> {
    regions.iter().flat_map(|region| bytes(region, 0, SIZE as usize)).collect()
}

fn play(mut random: Random, runtime: &Runtime, regions: &[Region; 2], forgets: bool) -> Vec<Work> {
    let chain = chain::region(runtime);
    let mut works = Vec::new();
    let (mut copies, mut fills) = (Vec::new(), Vec::new());
    for _ in 0..STEPS {
        let work = any(&mut random);
        let (region, at) = work.destination;
        let to = &regions[region];
        let fate = random.below(5);
        match &work.source {
            Source::Place(region, from) => {
                let mut copy = regions[*region].copy_to(*from, to, at, work.length);
                if random.once_in(8) {
                    copy = copy.fence();
                }
                match fate {
                    0 => drop(copy.submit()),
                    1 if forgets => mem::forget(copy.submit()),
                    2 => assert_eq!(block_on(copy).unwrap(), work.length),
                    3 => {
                        if poll_once(&mut copy).is_pending() {
                            copies.push(copy);
                        }
                    }
                    _ => copies.push(copy.submit()),
                }
            }
            Source::Pattern(pattern) => match fate {
                0 => drop(to.fill(at, work.length, *pattern).submit()),
                _ => fills.push(to.fill(at, work.length, *pattern).submit()),
            },
            Source::Bytes(bytes) => to.write_at(at, bytes).unwrap(),
        }
        works.push(work);
        if random.once_in(10) {
            chain::run(&mut random, &chain, forgets);
        }
    }
    for copy in copies {
        block_on(copy).unwrap();
    }
    for fill in fills {
        block_on(fill).unwrap();
    }
    works
}

fn any(random: &mut Random) -> Work {
    let length = random.length(600);
    let mut place = || (random.below(2) as usize, random.below(SIZE - length + 1));
    let (destination, mut from) = (place(), place());
    while from.0 == destination.0 && from.1.abs_diff(destination.1) < length {
        from = place();
    }
    let source = match random.below(6) {
        0 => Source::Pattern(random.word()),
        1 => Source::Bytes(random.bytes(length as usize)),
        _ => Source::Place(from.0, from.1),
    };
    Work { source, destination, length }
}

/// A set of byte values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Set([u64; 4]);

impl Set {
    fn of(byte: u8) -> Self {
        let mut set = Self::default();
        set.0[usize::from(byte / 64)] = 1 << (byte % 64);
        set
    }

    fn contains(self, byte: u8) -> bool {
        self.0[usize::from(byte / 64)] & 1 << (byte % 64) != 0
    }

    /// Whether `other` brought anything new.
    fn add(&mut self, other: Self) -> bool {
        let before = *self;
        for (word, other) in self.0.iter_mut().zip(other.0) {
            *word |= other;
        }
        *self != before
    }
}

fn closure(before: &[u8], works: &[Work]) -> Vec<Set> {
    let mut sets: Vec<Set> = before.iter().map(|&byte| Set::of(byte)).collect();
    let at = |(region, offset): (usize, u64)| region * SIZE as usize + offset as usize;
    loop {
        let mut grown = false;
        for Work { source, destination, length } in works {
            for n in 0..*length as usize {
                let new = match source {
                    Source::Place(region, offset) => sets[at((*region, *offset)) + n],
                    Source::Pattern(pattern) => Set::of(pattern.to_le_bytes()[n % 8]),
                    Source::Bytes(bytes) => Set::of(bytes[n]),
                };
                grown |= sets[at(*destination) + n].add(new);
            }
        }
        if !grown {
            return sets;
        }
    }
}

#[test]
fn a_set_follows_copies_of_copies_and_nothing_else() {
    let before: Vec<u8> = (0..SIZE * 2).map(|n| (n % 200) as u8).collect();
    let copy = |from, to| Work { source: Source::Place(0, from), destination: (0, to), length: 1 };
    // In whichever order they ran: 20 may hold what 0 had, by way of 10.
    let sets = closure(&before, &[copy(10, 20), copy(0, 10)]);
    let holds =
        |place: usize| (0..=255).filter(|&byte| sets[place].contains(byte)).collect::<Vec<_>>();
    assert_eq!(
        (holds(0), holds(10), holds(20), holds(30)),
        (vec![0], vec![0, 10], vec![0, 10, 20], vec![30])
    );
}
