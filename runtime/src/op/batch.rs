//! Many operations under one doorbell.

mod bundle;
mod submitted;

use std::sync::Arc;

use dmaring_ring::{Key, beside::Beside};

use self::bundle::Open;
pub(super) use self::submitted::Told;
pub use self::submitted::{All, Submitted};
use super::{
    future::{Copy, CopyVectored, Fill, Op, Persist},
    lists::{self, Lists},
    pending::{Flight, refusal},
    request::Request,
};
use crate::{
    bundle::Words,
    collect::Collected,
    error::{Error, ErrorKind},
    handle::Handles,
    memory::RingMemory,
    region::{Cargo, Region, RegionInner},
    shared::Shared,
    submit::Refusal,
};

/// Operations that are collected and then submitted together: one claim of the ring, one doorbell.
///
/// Made by [`Runtime::batch`](crate::Runtime::batch). Nothing is submitted before [`submit`](Batch::submit); a
/// dropped batch does nothing. A batch may have more operations than the ring has entries: the rest
/// follows as entries become free.
#[derive(Debug)]
#[must_use = "a batch does nothing until it is submitted"]
pub struct Batch {
    submitted: Submitted,
    /// Handles at hand of the region that was copied from last, and of the one that was copied to.
    sources: Option<Handles<RegionInner>>,
    destinations: Option<Handles<RegionInner>>,
    /// The longest copy that goes into a bundle, in bytes; 0: none does.
    bundled: u64,
    /// What can join the operation that was put last.
    open: Open,
}

impl Batch {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        // In a child of fork nothing is taken.
        let spare = shared.check_process().map(|()| shared.batches.take());
        let lists = spare.unwrap_or_default();
        let bundled = shared.bundled();
        let submitted = Submitted { shared, lists };
        Self { submitted, sources: None, destinations: None, bundled, open: Open::default() }
    }

    /// Adds a copy as [`Region::copy_to`] makes it, without options. Of many between the same regions each costs less than one that
    /// is made before and [pushed](Batch::push); where each is between other regions it costs more.
    ///
    /// Of those that follow each other, are between the same two regions and have at most 1024 bytes, up to 16 share one place in the ring, where
    /// the engine that is to have them is one that carries them out at once, such as the CPU. Each is made and has its outcome by itself. If an
    /// engine is lost with one of them and does not let go of it, all that share its place are told so.
    #[inline]
    pub fn copy(
        &mut self,
        source: &Region,
        source_offset: u64,
        destination: &Region,
        destination_offset: u64,
        length: u64,
    ) {
        let offsets = (source_offset, destination_offset);
        if !self.open.join(&mut self.submitted.lists, (source, destination), offsets, length) {
            self.copy_first(source, source_offset, destination, destination_offset, length);
        }
    }

    /// Adds a [`struct@Copy`], a [`CopyVectored`], a [`Fill`] or a [`Persist`]. One that was submitted already is not
    /// submitted again.
    #[inline]
    pub fn push(&mut self, operation: impl Into<Operation>) {
        self.close_bundle();
        let Lists { operations, told, .. } = self.submitted.lists.get();
        operations.push(operation.into().0);
        told.left += 1;
    }

    /// How many operations there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.submitted.lists.peek().map_or(0, |lists| lists.told.left + lists.others())
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.submitted.lists.peek().is_none_or(|lists| lists.operations.is_empty())
    }

    /// Submits all, in order. What is refused gives its error as its outcome.
    #[inline]
    pub fn submit(mut self) -> Submitted {
        self.submit_all();
        self.submitted
    }

    fn submit_all(&mut self) {
        self.close_bundle();
        let Submitted { shared, lists } = &mut self.submitted;
        let Lists { operations, parts, entries, .. } = lists.get();
        // In a child of fork nothing is taken, not even a lock.
        if shared.check_process().is_err() {
            return operations.iter_mut().for_each(|operation| operation.refuse(Error::forked));
        }
        let parts_of =
            |request: &Request| request.bundle().and_then(|(places, _)| parts.get(places));
        if let [operation] = &mut operations[..] {
            operation.be_one_copy(parts);
            return operation.submit_alone(|request, cargo, flight| {
                submit_alone(shared, request, (cargo, parts_of(request)), flight)
            });
        }
        let wanted = operations.iter().filter(|operation| operation.wants_a_place()).count();
        let mut collected = shared.client.collect(wanted, entries);
        for operation in operations {
            operation.be_one_copy(parts);
            operation.submit_with(|request, cargo| {
                prepare(shared, request, (cargo, parts_of(request)), &mut collected)
            });
        }
        drop(collected);
        lists::trim(entries);
    }
}

/// Submits an operation that has its batch to itself.
#[inline]
fn submit_alone(
    shared: &Arc<Shared>,
    request: &Request,
    (cargo, parts): (Cargo, Option<&[Words]>),
    flight: &mut Option<Flight>,
) -> Result<(), Error> {
    check_runtime(shared, &cargo)?;
    let entry = request.entry(&cargo);
    let beside = |key| beside(shared, key, parts);
    Flight::submit(flight, shared, (cargo, entry), beside).map_err(|why| match why {
        // As those of a larger batch.
        Refusal::Closed => Error::shutdown(),
        why => refusal(why),
    })
}

/// Gives an operation its slot and appends its entry.
#[inline]
fn prepare(
    shared: &Arc<Shared>,
    request: &Request,
    (cargo, parts): (Cargo, Option<&[Words]>),
    collected: &mut Collected<'_, Cargo, RingMemory>,
) -> Result<Flight, Error> {
    check_runtime(shared, &cargo)?;
    let entry = request.entry(&cargo);
    let Ok(key) = collected.add(cargo, entry) else { return Err(refusal(Refusal::TableFull)) };
    // It is not pushed before all are prepared.
    if let Some(beside) = beside(shared, key, parts) {
        beside.write();
    }
    Ok(Flight::new(key))
}

/// Refuses what belongs to a different runtime than its batch.
#[inline]
fn check_runtime(shared: &Arc<Shared>, cargo: &Cargo) -> Result<(), Error> {
    if Arc::ptr_eq(shared, &cargo.destination.0.shared) {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Unmapped,
        "the operation belongs to a different runtime than its batch",
    ))
}

/// Where the copies of a bundle are, to be written before its entry is published.
#[inline]
fn beside<'a>(shared: &'a Shared, key: Key, parts: Option<&'a [Words]>) -> Option<Beside<'a>> {
    let parts = parts?;
    Some(shared.bundles.get_or_make(key.index)?.beside(parts))
}

/// What a batch or a chain takes: a [`struct@Copy`], a [`CopyVectored`], a [`Fill`] or a [`Persist`].
#[derive(Debug)]
pub struct Operation(pub(super) Op);

impl From<Copy> for Operation {
    fn from(copy: Copy) -> Self {
        Self(copy.0)
    }
}

impl From<CopyVectored> for Operation {
    fn from(copy: CopyVectored) -> Self {
        Self(copy.0)
    }
}

impl From<Fill> for Operation {
    fn from(fill: Fill) -> Self {
        Self(fill.0)
    }
}

impl From<Persist> for Operation {
    fn from(persist: Persist) -> Self {
        Self(persist.0)
    }
}

#[cfg(all(test, not(miri)))]
mod tests {
    use dmaring_manual::ManualEngine;
    use futures::{FutureExt, StreamExt, executor::block_on};

    use super::{submitted::KEPT, *};
    use crate::{Region, Runtime, inflight, region::eventually};

    /// So many that the slots go back more than once, and not only once.
    const MANY: u64 = 2 * KEPT as u64 + 3;

    fn submitted(runtime: &Runtime, region: &Region) -> Submitted {
        let mut batch = runtime.batch();
        (0..MANY).for_each(|n| batch.push(region.fill(n * 64, 64, n)));
        batch.submit()
    }

    /// A runtime whose engine carries out at once, and two regions of 256 copies each.
    fn at_once() -> (Runtime, [Region; 2]) {
        let (engine, control) = ManualEngine::builder().at_once(8192).build();
        let runtime = Runtime::builder().engine(engine).build().unwrap();
        let regions = [(); 2].map(|()| runtime.allocate(256 * 64).unwrap());
        control.release();
        (runtime, regions)
    }

    #[test]
    fn every_slot_goes_back_whatever_becomes_of_the_batch() {
        let (engine, control) = ManualEngine::new();
        let runtime = Runtime::builder().engine(engine).ring_entries(64).build().unwrap();
        let region = runtime.allocate(MANY as usize * 64).unwrap();
        let client = &runtime.shared().client;
        let free = || {
            client.reap();
            inflight::free(&client.inflight)
        };
        let all = free();
        let waiting = submitted(&runtime, &region);
        assert_eq!(u64::from(all - free()), MANY);
        drop(waiting);
        assert_eq!(u64::from(all - free()), MANY, "they are in flight");
        control.release();
        let all_are_back = || eventually("the slots", || free() == all);
        all_are_back();
        assert_eq!(block_on(submitted(&runtime, &region).all()).unwrap(), MANY * 64);
        all_are_back();
        let mut some = submitted(&runtime, &region);
        for _ in 0..KEPT + 1 {
            block_on(some.next()).unwrap().unwrap();
        }
        drop(some);
        all_are_back();
        // With one that was submitted before, and one whose outcome is known.
        let mut mixed = runtime.batch();
        for fill in [region.fill(0, 64, 1), region.fill(64, 64, 2).submit(), region.fill(0, 0, 3)] {
            mixed.push(fill);
        }
        mixed.push(region.fill(128, 64, 4));
        let mut mixed = mixed.submit();
        for bytes in [64, 64, 0] {
            assert_eq!(block_on(mixed.next()).unwrap().unwrap(), bytes);
        }
        drop(mixed);
        all_are_back();
        let mut asked = submitted(&runtime, &region);
        while block_on(asked.next()).is_some() {}
        // While it is still there.
        all_are_back();
        drop(asked);
        eventually("the permits", || client.permits.out() == 0);
    }

    #[test]
    fn what_a_batch_copies_between_is_let_go_with_its_copies() {
        let (engine, control) = ManualEngine::new();
        let runtime = Runtime::builder().engine(engine).build().unwrap();
        let regions = [(); 3].map(|()| runtime.allocate(4096).unwrap());
        let counts = || regions.each_ref().map(|region| region.0.count());
        let [one, two, three] = &regions;
        let batch = || {
            let mut batch = runtime.batch();
            (0..MANY).for_each(|n| batch.copy(one, n * 64, two, n * 64, 64));
            (0..MANY)
                .for_each(|n| batch.copy(if n % 2 == 0 { two } else { three }, 0, one, 64, 64));
            batch
        };
        let unused = batch();
        assert_eq!(unused.len() as u64, 2 * MANY);
        drop(unused);
        assert_eq!(counts(), [1; 3]);
        let submitted = batch().submit();
        assert_eq!(counts(), [2 * MANY, MANY + MANY / 2 + 1, MANY / 2].map(|count| count + 1));
        control.release();
        assert_eq!(block_on(submitted.all()).unwrap(), 2 * MANY * 64);
        eventually("the handles", || counts() == [1; 3]);
    }

    /// A batch takes a permit for each of its operations before it knows which are refused.
    #[test]
    fn what_is_refused_gives_its_permit_back() {
        let (engine, control) = ManualEngine::new();
        let runtime = Runtime::builder().engine(engine).ring_entries(4).build().unwrap();
        let region = runtime.allocate(4096).unwrap();
        let mut batch = runtime.batch();
        for offset in [4096, 0, 4096, 8192] {
            batch.push(region.fill(offset, 64, 1));
        }
        batch.push(region.fill(0, 0, 1));
        let batch = batch.submit();
        assert_eq!(runtime.shared().client.permits.out(), 1);
        control.release();
        let outcomes: Vec<_> = block_on(batch.collect());
        let outcomes: Vec<_> = outcomes.into_iter().map(|outcome| outcome.ok()).collect();
        assert_eq!(outcomes, [None, Some(64), None, None, Some(0)]);
        eventually("the permit", || runtime.shared().client.permits.out() == 0);
    }

    #[test]
    fn a_batch_of_as_many_as_are_kept_keeps_its_room() {
        let (runtime, [one, two]) = at_once();
        let mut batch = runtime.batch();
        batch.copy(&one, 0, &two, 0, 64);
        batch.push(two.fill(64, 64, 1));
        (2..256).for_each(|n| batch.copy(&one, n * 64, &two, n * 64, 64));
        assert_eq!(block_on(batch.submit().all()).unwrap(), 256 * 64);
        let mut lists = runtime.shared().batches.take();
        assert!((255..=256).contains(&lists.get().parts.capacity()), "{lists:?}");
    }

    /// What one batch needed more than is kept is had once again, and not by each that follows.
    #[test]
    fn a_large_batch_costs_those_behind_it_nothing() {
        let (runtime, [one, two]) = at_once();
        let run = |rows: [u64; 2]| {
            let mut batch = runtime.batch();
            (0..rows[0]).for_each(|_| batch.copy(&two, 0, &one, 0, 64));
            (0..rows[1]).for_each(|_| batch.copy(&one, 0, &two, 0, 64));
            assert_eq!(block_on(batch.submit().all()).unwrap(), (rows[0] + rows[1]) * 64);
            let mut lists = runtime.shared().batches.take();
            let room = lists.get().parts.capacity();
            runtime.shared().batches.put(&mut lists);
            room
        };
        assert_eq!([[5, 200], [0, 600], [5, 200], [5, 200]].map(run), [256; 4]);
    }

    /// Its lists serve another, which has nothing of it.
    #[test]
    fn what_was_put_in_a_batch_that_was_dropped_is_in_no_other() {
        let (runtime, [one, two]) = at_once();
        for begun in [1, 3, 16, 17] {
            let mut dropped = runtime.batch();
            (0..begun).for_each(|n| dropped.copy(&one, n * 64, &two, n * 64, 64));
            assert_eq!(dropped.len() as u64, begun);
            drop(dropped);
            let mut batch = runtime.batch();
            assert_eq!((batch.len(), batch.is_empty()), (0, true));
            (0..3).for_each(|n| batch.copy(&two, n * 32, &one, n * 32, 32));
            assert_eq!(batch.len(), 3);
            let outcomes: Vec<_> = block_on(batch.submit().collect());
            assert!(outcomes.into_iter().map(Result::ok).eq([Some(32); 3]), "after {begun}");
        }
    }

    #[test]
    fn the_sum_comes_when_all_have_ended_and_keeps_nothing_then() {
        let (engine, control) = ManualEngine::new();
        let runtime = Runtime::builder().engine(engine).build().unwrap();
        let region = runtime.allocate(4096).unwrap();
        let holds = || Arc::strong_count(runtime.shared());
        let before = holds();
        let mut batch = runtime.batch();
        batch.push(region.fill(4096, 64, 1));
        batch.push(region.fill(0, 64, 1));
        let mut all = batch.submit().all();
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(all.poll_unpin(&mut context).is_pending(), "one has failed, and one is to come");
        control.release();
        assert_eq!(block_on(&mut all).unwrap_err().kind(), ErrorKind::OutOfBounds);
        eventually("the holds", || holds() == before);
        assert_eq!(block_on(all).unwrap_err().kind(), ErrorKind::Aborted, "it was given");
    }
}
