//! The pieces under way: a table of as many places as there are blocks.

use dmaring_ring::Key;

use super::step::Step;

#[derive(Debug)]
pub(super) struct Steps(Vec<Place>);

#[derive(Debug)]
struct Place {
    /// Tells this step from an earlier one at the same place.
    generation: u32,
    step: Option<Step>,
}

impl Steps {
    pub(super) fn new(places: u32) -> Self {
        Self((0..places).map(|_| Place { generation: 0, step: None }).collect())
    }

    /// Enters a step. `None`: there is no place.
    pub(super) fn insert(&mut self, step: Step) -> Option<Key> {
        let (index, place) = (0..).zip(&mut self.0).find(|(_, place)| place.step.is_none())?;
        place.generation = place.generation.wrapping_add(1);
        place.step = Some(step);
        Some(Key { index, generation: place.generation })
    }

    /// The step of this name; `None` for one that names none any more.
    pub(super) fn get_mut(&mut self, key: Key) -> Option<&mut Step> {
        let place = self.0.get_mut(key.index as usize)?;
        place.step.as_mut().filter(|_| place.generation == key.generation)
    }

    pub(super) fn remove(&mut self, key: Key) -> Option<Step> {
        self.get_mut(key)?;
        self.0.get_mut(key.index as usize)?.step.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::staging::{job::Cut, step::Phase};

    #[test]
    fn a_name_names_one_step_only() {
        let cut = Cut { offset: 0, length: 1, input_lead: 0, output_lead: 0 };
        let step = Step {
            job: 0,
            cut,
            input: None,
            output: None,
            phase: Phase::Copy,
            done: 0,
            direct: false,
            detail: 0,
            is_captive: false,
        };
        let mut steps = Steps::new(2);
        let (first, second) = (steps.insert(step).unwrap(), steps.insert(step).unwrap());
        assert!(steps.insert(step).is_none());
        assert!(steps.remove(first).is_some() && steps.remove(first).is_none());
        let third = steps.insert(step).unwrap();
        assert_eq!(third.index, first.index);
        assert!(steps.get_mut(first).is_none());
        assert!(steps.get_mut(second).is_some() && steps.get_mut(third).is_some());
        assert!(steps.get_mut(Key::from_word(u64::MAX)).is_none());
    }
}
