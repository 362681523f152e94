use std::collections::BTreeMap;

use proptest::prelude::*;

use super::{END, GRANULE, Space};

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

fn space(ranges: &[(u64, u64)]) -> Space {
    let mut space = Space::default();
    space.set_ranges(Some(ranges));
    space
}

#[test]
fn addresses_are_never_zero_nor_the_interrupts_nor_unsafe() {
    let mut everything = Space::default();
    everything.set_ranges(None);
    assert_eq!(everything.windows, [(GRANULE, 0xfee0_0000), (0xfef0_0000, END)]);
    assert_eq!(everything.take(0, GRANULE), Some(GRANULE));
    let odd = space(&[(0x5001, 0x8fff), (END - 0x1800, u64::MAX), (1 << 40, 1 << 41)]);
    assert_eq!(odd.windows, [(0x6000, 0x9000), (END - 0x1000, END)]);
    assert_eq!(space(&[(u64::MAX, u64::MAX), (0, 4095)]).windows, []);
}

#[test]
fn neighbours_keep_a_granule_apart_in_both_directions() {
    let mut space = space(&[(0, 0x8fff)]);
    assert_eq!(space.take(0, GRANULE), Some(0x1000));
    assert_eq!(space.take(0, GRANULE), Some(0x3000));
    assert_eq!(space.take(0, GRANULE), Some(0x5000));
    space.give_back(0x3000);
    assert_eq!(space.take(0, 2 * GRANULE), Some(0x7000));
    assert_eq!(space.take(0, 2 * GRANULE), None, "there is a hole, but no gap beside it");
    assert_eq!(space.take(0, GRANULE), Some(0x3000));
}

#[test]
fn an_aligned_place_right_behind_a_neighbour_is_none() {
    let mut space = space(&[(0, 3 * MIB - 1)]);
    assert_eq!(space.take(0, GRANULE), Some(0x1000));
    let rest = space.take(0, 3 * MIB - 0x3000).unwrap();
    space.give_back(rest);
    assert_eq!(space.take(0x2000, 2 * MIB), Some(0x3000));
}

#[test]
fn addresses_given_back_are_given_again_late() {
    let mut space = space(&[(0, 0xffff)]);
    let first = space.take(0, GRANULE).unwrap();
    space.give_back(first);
    assert_eq!(space.take(0, GRANULE), Some(first + 2 * GRANULE));
    while space.take(0, GRANULE).is_some() {}
    assert!(space.holds(first, GRANULE));
}

#[test]
fn long_mappings_equal_their_virtual_address_modulo_a_large_page() {
    let mut space = space(&[(0, u64::MAX)]);
    let memory = 0x7f12_3456_7000;
    let large = space.take(memory, GIB + MIB).unwrap();
    assert_eq!(large % GIB, memory % GIB);
    let middle = space.take(memory, 2 * MIB).unwrap();
    assert_eq!(middle % (2 * MIB), memory % (2 * MIB));
    assert!(middle - (large + GIB + MIB) < 4 * MIB, "no more is lost than alignment needs");
    space.take(memory, GRANULE).unwrap();
}

#[test]
fn where_no_place_is_aligned_another_is_taken() {
    let mut space = space(&[(GIB, 2 * GIB + 2 * MIB - 1)]);
    let at = space.take(0x7f12_3456_7000, GIB).unwrap();
    assert_eq!(at % (2 * MIB), 0x0016_7000);
    let mut tight = super::Space::default();
    tight.set_ranges(Some(&[(MIB, 3 * MIB - 1)]));
    assert_eq!(tight.take(0x1000, 2 * MIB), Some(MIB));
}

#[test]
fn lengths_beyond_all_addresses_are_refused() {
    let mut space = space(&[(0, u64::MAX)]);
    for length in [END, u64::MAX - GRANULE + 1, 1 << 63] {
        assert_eq!(space.take(u64::MAX - GRANULE + 1, length), None);
    }
    assert_eq!(space.take(0, END - GIB), Some(GIB));
}

#[derive(Clone, Debug)]
enum Step {
    Take { memory: u64, granules: u64 },
    GiveBack { index: usize },
    Ranges { cut: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    let granules = prop_oneof![1_u64..6, Just(512), Just(1024), Just(600)];
    prop_oneof![
        4 => (0_u64..4096, granules)
            .prop_map(|(page, granules)| Step::Take { memory: page * GRANULE, granules }),
        3 => any::<usize>().prop_map(|index| Step::GiveBack { index }),
        1 => (0_u64..4096).prop_map(|cut| Step::Ranges { cut }),
    ]
}

proptest! {
    /// Against a model that looks at every place.
    #[test]
    fn no_two_meet_and_none_is_refused_that_fits(steps in prop::collection::vec(step(), 1..60)) {
        let mut windows = vec![(GRANULE, 16 * MIB)];
        let mut space = space(&[(0, 16 * MIB - 1)]);
        let mut model: BTreeMap<u64, u64> = BTreeMap::new();
        for step in steps {
            match step {
                Step::Take { memory, granules } => {
                    let length = granules * GRANULE;
                    let free = |at: u64| {
                        windows.iter().any(|&(start, end)| start <= at && at + length <= end)
                            && model.iter().all(|(&start, &end)| {
                                end + GRANULE <= at || at + length + GRANULE <= start
                            })
                    };
                    match space.take(memory, length) {
                        Some(at) => {
                            prop_assert!(free(at) && at % GRANULE == 0, "{at:#x} {model:x?}");
                            let aligned = (at ^ memory) % (2 * MIB) == 0;
                            let possible = (0..16 * MIB / GRANULE)
                                .map(|page| page * GRANULE)
                                .any(|at| (at ^ memory) % (2 * MIB) == 0 && free(at));
                            prop_assert!(length < 2 * MIB || aligned || !possible);
                            model.insert(at, at + length);
                        }
                        None => prop_assert!(!(0..16 * MIB / GRANULE).any(|page| free(page * GRANULE))),
                    }
                }
                Step::GiveBack { index } => {
                    if let Some(&start) = model.keys().nth(index % model.len().max(1)) {
                        let length = model[&start] - start;
                        prop_assert!(space.holds(start, length) && !space.holds(start, length + 1));
                        model.remove(&start);
                        space.give_back(start);
                        prop_assert!(!space.holds(start, length));
                    }
                }
                Step::Ranges { cut } => {
                    let cut = cut * GRANULE;
                    space.set_ranges(Some(&[(0, cut.saturating_sub(1)), (cut + MIB, 16 * MIB - 1)]));
                    windows = vec![(GRANULE, cut), (cut + MIB, 16 * MIB)];
                }
            }
            prop_assert_eq!(space.count(), model.len());
        }
    }
}
