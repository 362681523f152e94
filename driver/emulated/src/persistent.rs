//! Persistent memory of a machine whose caches a loss of power empties.
//!
//! Two images. The *visible* one is what programs and devices read and write: pages that can be mapped. The *durable* one
//! is what the machine finds when it comes up again. A line of 64 bytes moves from the one to the other when it was
//! written back *and* that was fenced, or by itself, at random: caches evict when they like. When the power is cut, each
//! line that differs is found as it was or as it would have become, at random.
//!
//! Everything that is told to the model is a step: a line that begins to be written back, a fence, and what a test calls a
//! step. The power can be cut at any of them, and what happens is decided by the seed. A line is lost or kept as a
//! whole; what stood in it is what the model read at that moment, so a line that was being written may be torn at words of
//! eight bytes.

mod pages;

use std::{
    collections::BTreeMap,
    io,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use self::pages::Pages;
use crate::random::Random;

const LINE: usize = 64;

/// One in so many steps evicts a line.
const EVICTS: u64 = 3;
/// In how many lines one is looked for.
const NEAR: usize = 64;

/// Persistent memory of a machine whose power can be cut. Clones are the same memory.
#[derive(Clone, Debug)]
pub struct PersistentMemory(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    visible: Pages,
    state: Mutex<State>,
}

type Line = [u64; LINE / 8];

#[derive(Debug)]
struct State {
    /// What was fenced or evicted.
    durable: Vec<Line>,
    /// Written back and not yet fenced: as they were then.
    pending: BTreeMap<usize, Line>,
    /// Where the program has the visible image.
    base: Option<usize>,
    random: Random,
    steps: u64,
    /// Before which step the power is cut.
    cut_at: Option<u64>,
    /// What is found afterwards, once it was cut.
    survived: Option<Vec<Line>>,
}

impl PersistentMemory {
    /// Zeroed memory of so many bytes, rounded up to whole pages; `seed` decides on what is evicted and what survives.
    ///
    /// # Errors
    ///
    /// The kernel's, where there is no memory.
    pub fn new(length: usize, seed: u64) -> io::Result<Self> {
        let visible = Pages::new(length)?;
        let durable = vec![Line::default(); visible.length() / LINE];
        let state = State {
            durable,
            pending: BTreeMap::new(),
            base: None,
            random: Random::new(seed),
            steps: 0,
            cut_at: None,
            survived: None,
        };
        Ok(Self(Arc::new(Inner { visible, state: Mutex::new(state) })))
    }

    /// A path by which the visible image can be opened and mapped while this value lives, in this process.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.0.visible.path()
    }

    /// Says at which address a program has mapped the visible image, to go by in [`write_back`](Self::write_back).
    pub fn mapped_at(&self, address: usize) {
        self.state().base = Some(address);
    }

    /// The line that begins at this address begins to be written back. It is durable after the next
    /// [`fence`](Self::fence). What is not within the memory is ignored.
    pub fn write_back(&self, address: usize) {
        self.step();
        let mut state = self.state();
        let offset = state.base.and_then(|base| address.checked_sub(base));
        let Some(line) =
            offset.map(|offset| offset / LINE).filter(|line| *line < state.durable.len())
        else {
            return;
        };
        let now = self.line(line);
        state.pending.insert(line, now);
    }

    /// What was written back before becomes durable.
    pub fn fence(&self) {
        self.step();
        let mut state = self.state();
        for (line, then) in std::mem::take(&mut state.pending) {
            if let Some(durable) = state.durable.get_mut(line) {
                *durable = then;
            }
        }
    }

    /// Something happened: a line may be evicted, or the power be cut.
    pub fn step(&self) {
        let mut state = self.state();
        if state.survived.is_some() {
            return;
        }
        state.steps += 1;
        if state.random.below(EVICTS) == 0 {
            self.evict_some(&mut state);
            // A line is evicted soon after it was written, or much later: both are to happen.
            if let Some((&line, _)) = state.pending.first_key_value() {
                self.evict(&mut state, line);
            }
        }
        if state.cut_at == Some(state.steps) {
            self.cut_now(&mut state);
        }
    }

    /// How many steps there were before the power was cut.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.state().steps
    }

    /// Cuts the power before what step number `step` announces, counted from 1. Programs go on; nothing they do is found
    /// afterwards.
    pub fn cut_at(&self, step: u64) {
        self.state().cut_at = Some(step);
    }

    /// Whether the power was cut.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.state().survived.is_some()
    }

    /// Cuts the power, if that was not done, and starts the machine again: memory in which both images are what survived.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn restart(&self) -> io::Result<Self> {
        let mut state = self.state();
        self.cut_now(&mut state);
        let lines = state.survived.clone().unwrap_or_default();
        let again = Self::new(lines.len() * LINE, state.random.next())?;
        for (number, line) in lines.iter().enumerate() {
            again.0.visible.write_line(number, line);
        }
        again.state().durable = lines;
        Ok(again)
    }

    /// The bytes of the visible image.
    #[must_use]
    pub fn visible(&self) -> Vec<u8> {
        let lines = self.0.visible.length() / LINE;
        (0..lines).flat_map(|line| self.line(line)).flat_map(u64::to_le_bytes).collect()
    }

    /// The bytes of the durable image: what is certain to survive.
    #[must_use]
    pub fn durable(&self) -> Vec<u8> {
        self.state().durable.iter().flatten().copied().flat_map(u64::to_le_bytes).collect()
    }

    fn line(&self, line: usize) -> Line {
        self.0.visible.read_line(line)
    }

    /// Evicts the next line that differs after a random place, if one is near.
    fn evict_some(&self, state: &mut State) {
        let lines = state.durable.len();
        let start = state.random.below(lines as u64) as usize;
        let near = (start..lines).chain(0..start).take(NEAR);
        let differs = |line: &usize| {
            state.durable.get(*line).is_some_and(|durable| *durable != self.line(*line))
        };
        if let Some(line) = near.into_iter().find(differs) {
            self.evict(state, line);
        }
    }

    /// A line goes by itself: what was written back of it before is older.
    fn evict(&self, state: &mut State, line: usize) {
        if let Some(durable) = state.durable.get_mut(line) {
            *durable = self.line(line);
            state.pending.remove(&line);
        }
    }

    fn cut_now(&self, state: &mut State) {
        if state.survived.is_some() {
            return;
        }
        let mut survived = state.durable.clone();
        for (number, line) in survived.iter_mut().enumerate() {
            let visible = self.line(number);
            let then = state.pending.get(&number).copied();
            if *line == visible && then.is_none() {
                continue;
            }
            // As it was, as it was written back, or as it was seen last.
            *line = match state.random.below(3) {
                0 => *line,
                1 => then.unwrap_or(*line),
                _ => visible,
            };
        }
        state.survived = Some(survived);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
#[cfg(not(miri))]
mod tests {
    use std::{fs::File, os::unix::fs::FileExt};

    use super::*;

    const BASE: usize = 0x10_0000;
    const LENGTH: usize = 16 << 10;

    /// Memory that evicts nothing by itself in the few steps of a test, and a program's view of it.
    fn memory(seed: u64) -> (PersistentMemory, File) {
        let memory = PersistentMemory::new(LENGTH, seed).unwrap();
        memory.mapped_at(BASE);
        let file = File::options().read(true).write(true).open(memory.path()).unwrap();
        (memory, file)
    }

    #[test]
    fn a_line_is_durable_when_it_was_written_back_and_fenced_and_not_before() {
        let seed = (0..).find(|&seed| {
            let mut random = Random::new(seed);
            (0..4).all(|_| random.below(EVICTS) != 0)
        });
        let (memory, program) = memory(seed.unwrap());
        program.write_all_at(&[7; 128], 64).unwrap();
        memory.write_back(BASE + 64);
        assert_eq!(memory.durable()[64..192], [0; 128]);
        // Written after it was written back: that is not durable with the fence.
        program.write_all_at(&[8], 64).unwrap();
        memory.fence();
        assert_eq!(memory.durable()[64..128], [7; 64]);
        assert_eq!(memory.durable()[128..192], [0; 64], "it was not written back");
        assert_eq!(memory.visible()[64], 8);
        assert_eq!(memory.steps(), 2);
        memory.write_back(BASE - 64);
        memory.write_back(BASE + LENGTH);
        assert_eq!(memory.steps(), 4, "lines of other memory are steps and nothing else");
    }

    #[test]
    fn a_cut_keeps_a_random_part_of_what_was_not_fenced_and_all_that_was() {
        let mut kept = [0; 2];
        for seed in 0..200 {
            let (memory, program) = memory(seed);
            program.write_all_at(&[7; 64], 0).unwrap();
            memory.write_back(BASE);
            memory.fence();
            program.write_all_at(&[9; 64], 64).unwrap();
            memory.cut_at(3);
            memory.step();
            assert!(memory.is_cut());
            memory.write_back(BASE + 64);
            memory.fence();
            let after = memory.restart().unwrap();
            assert_eq!(after.visible(), after.durable());
            assert_eq!(after.visible()[..64], [7; 64]);
            let line = &after.visible()[64..128];
            assert!(line == [0; 64] || line == [9; 64], "whole lines survive or do not");
            kept[usize::from(line[0] == 9)] += 1;
        }
        assert!(kept.iter().all(|&times| times > 20), "{kept:?}");
    }

    #[test]
    fn lines_are_evicted_at_random_without_anybody_asking() {
        let (memory, program) = memory(3);
        program.write_all_at(&vec![5; LENGTH], 0).unwrap();
        (0..300).for_each(|_| memory.step());
        let evicted = memory.durable().chunks(64).filter(|line| line[0] == 5).count();
        assert!((60..140).contains(&evicted), "{evicted} of 256");
    }
}
