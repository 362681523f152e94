//! Without conflicts: memory equals a plain vector, byte for byte.
//!
//! Every thread has an arena of its own, the same range of two regions. An operation may begin while others
//! are under way if its destination meets none of their sources and destinations, and its source none of their
//! destinations; or if it is fenced. So each applies to the model at once, in the order of submission.
//!
//! An operation is under way until it was awaited, or a fenced one after it was: those whose futures were
//! dropped or forgotten are still copied.

use std::{mem, ops::Range, thread};

use dmaring::{Region, Runtime};
use futures::executor::block_on;

use crate::{
    Kind, THREADS, chain,
    common::{LONG, bytes},
    random::Random,
    runtime,
    work::{Future, Held, Place, Source, Work},
};

/// Bytes of a region that one thread has to itself.
const ARENA: u64 = 6000;
/// Bytes between arenas that nobody may touch.
const GUARD: u64 = 40;
const STEPS: usize = 120;

pub(crate) fn run(random: &mut Random, kind: Kind) {
    let (backstage, runtime) = runtime(random, kind);
    let size = (GUARD + ARENA) * THREADS as u64 + GUARD;
    // Leaks are real: the rings and a thread stay behind, so not every time.
    let forgets = random.once_in(4);
    let initial: [Vec<u8>; 2] = [(); 2].map(|()| random.bytes(size as usize));
    let regions = initial.each_ref().map(|initial| {
        let region = runtime.allocate(initial.len()).unwrap();
        region.write_at(0, initial).unwrap();
        region
    });
    let arenas: Vec<Arena> = thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS as u64)
            .map(|number| {
                let start = GUARD + number * (GUARD + ARENA);
                let mut arena = Arena::new(&runtime, &regions, start, random.fork());
                arena.forgets = forgets;
                scope.spawn(move || arena.play())
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    block_on(runtime.shutdown(LONG)).unwrap();
    let mut expected = initial;
    for arena in &arenas {
        for (expected, model) in expected.iter_mut().zip(&arena.model) {
            expected[arena.start as usize..][..ARENA as usize].copy_from_slice(model);
        }
    }
    for (region, expected) in regions.iter().zip(&expected) {
        assert!(bytes(region, 0, size as usize) == *expected, "the regions differ from the model");
    }
    backstage.assert_clean(&runtime);
}

struct Arena<'a> {
    runtime: &'a Runtime,
    regions: [Region; 2],
    chain: Region,
    start: u64,
    random: Random,
    forgets: bool,
    model: [Vec<u8>; 2],
    /// The number of the next operation.
    next: usize,
    /// What is under way, by number.
    under_way: Vec<(usize, Work)>,
    /// The futures kept, with the numbers of their operations.
    held: Vec<(Range<usize>, Held)>,
}

impl<'a> Arena<'a> {
    fn new(runtime: &'a Runtime, regions: &[Region; 2], start: u64, random: Random) -> Self {
        let model = regions.each_ref().map(|region| bytes(region, start, ARENA as usize));
        Self {
            runtime,
            regions: regions.clone(),
            chain: chain::region(runtime),
            start,
            random,
            forgets: false,
            model,
            next: 0,
            under_way: Vec::new(),
            held: Vec::new(),
        }
    }

    fn play(mut self) -> Self {
        for _ in 0..STEPS {
            match self.random.below(20) {
                0 => chain::run(&mut self.random, &self.chain, self.forgets),
                1..4 => self.submit_batch(),
                4..8 => self.await_one(),
                _ => self.submit_one(),
            }
        }
        while !self.held.is_empty() {
            self.await_one();
        }
        // Whatever was dropped or forgotten has ended once this has.
        let last = Work {
            source: Source::Pattern(1),
            destination: Place { region: 0, range: 0..8 },
            fenced: true,
        };
        let number = self.begin(&last);
        let held = self.future(&last).submit();
        self.settle(number..number + 1, held.into());
        for (region, model) in self.regions.iter().zip(&self.model) {
            assert!(bytes(region, self.start, ARENA as usize) == *model, "an arena differs");
        }
        self
    }

    fn submit_one(&mut self) {
        let work = self.choose();
        let number = self.begin(&work);
        let mut future = self.future(&work);
        match self.random.below(5) {
            0 => self.settle(number..number + 1, future.submit().into()),
            1 if self.forgets => future.submit().forget(),
            2 => match future.try_submit() {
                Ok(submitted) => drop(submitted),
                Err(rejected) => self.held.push((number..number + 1, rejected.submit().into())),
            },
            3 => {
                if !future.poll() {
                    self.held.push((number..number + 1, future.into()));
                }
            }
            _ => self.held.push((number..number + 1, future.submit().into())),
        }
    }

    fn submit_batch(&mut self) {
        let mut batch = self.runtime.batch();
        let first = self.next;
        for _ in 0..=self.random.below(8) {
            let work = self.choose();
            self.begin(&work);
            if let Source::Place(source) = &work.source
                && !work.fenced
            {
                let ((from, start), (to, at)) = (self.at(source), self.at(&work.destination));
                let Range { start: begin, end } = &work.destination.range;
                batch.copy(from, start, to, at, end - begin);
                continue;
            }
            match self.future(&work) {
                Future::Copy(copy) => batch.push(copy),
                Future::Fill(fill) => batch.push(fill),
            }
        }
        let held = Held::Batch(batch.submit());
        if self.forgets && self.random.once_in(3) {
            mem::forget(held);
        } else {
            self.held.push((first..self.next, held));
        }
    }

    fn await_one(&mut self) {
        if !self.held.is_empty() {
            let place = self.random.below(self.held.len() as u64) as usize;
            let (numbers, held) = self.held.swap_remove(place);
            self.settle(numbers, held);
        }
    }

    /// Waits for operations, which are not under way then, nor is what a fence among them waited for.
    fn settle(&mut self, numbers: Range<usize>, held: Held) {
        held.wait().unwrap();
        let (ended, rest): (Vec<_>, _) =
            mem::take(&mut self.under_way).into_iter().partition(|(n, _)| numbers.contains(n));
        let fence = ended.iter().filter(|(_, work)| work.fenced).map(|&(n, _)| n).max();
        self.under_way = rest;
        self.under_way.retain(|&(n, _)| fence.is_none_or(|fence| n > fence));
        for (_, Work { destination: Place { region, range }, .. }) in &ended {
            let place = Place { region: *region, range: range.clone() };
            if self.under_way.iter().all(|(_, other)| !other.destination.meets(&place)) {
                let length = (range.end - range.start) as usize;
                let found = bytes(&self.regions[*region], self.start + range.start, length);
                let expected = &self.model[*region][range.start as usize..range.end as usize];
                assert!(found == expected, "{place:?} differs after its operation has ended");
            }
        }
    }

    /// An operation that conflicts with none under way, or is fenced.
    fn choose(&mut self) -> Work {
        for _ in 0..4 {
            let work = self.any();
            if work.fenced || self.under_way.iter().all(|(_, other)| !work.conflicts(other)) {
                return work;
            }
        }
        Work { fenced: true, ..self.any() }
    }

    fn any(&mut self) -> Work {
        let length = self.random.length(3000);
        let destination = self.place(length);
        let fenced = self.random.once_in(12);
        if self.random.once_in(4) {
            return Work { source: Source::Pattern(self.random.word()), destination, fenced };
        }
        loop {
            let source = self.place(length);
            if !source.meets(&destination) {
                return Work { source: Source::Place(source), destination, fenced };
            }
        }
    }

    fn place(&mut self, length: u64) -> Place {
        let start = self.random.below(ARENA - length + 1);
        Place { region: self.random.below(2) as usize, range: start..start + length }
    }

    /// Applies an operation to the model and notes it as under way. Gives its number.
    fn begin(&mut self, work: &Work) -> usize {
        let Range { start, end } = work.destination.range;
        let (start, end) = (start as usize, end as usize);
        let new = match &work.source {
            Source::Place(Place { region, range }) => {
                self.model[*region][range.start as usize..range.end as usize].to_vec()
            }
            Source::Pattern(value) => {
                value.to_le_bytes().into_iter().cycle().take(end - start).collect()
            }
        };
        self.model[work.destination.region][start..end].copy_from_slice(&new);
        self.under_way.push((self.next, work.clone()));
        self.next += 1;
        self.next - 1
    }

    /// Where a place begins.
    fn at(&self, place: &Place) -> (&Region, u64) {
        (&self.regions[place.region], self.start + place.range.start)
    }

    fn future(&self, work: &Work) -> Future {
        let Range { start: begin, end } = &work.destination.range;
        let ((to, at), length) = (self.at(&work.destination), end - begin);
        match &work.source {
            Source::Place(source) => {
                let (from, start) = self.at(source);
                let copy = from.copy_to(start, to, at, length);
                Future::Copy(if work.fenced { copy.fence() } else { copy })
            }
            Source::Pattern(value) => {
                let fill = to.fill(at, length, *value);
                Future::Fill(if work.fenced { fill.fence() } else { fill })
            }
        }
    }
}
