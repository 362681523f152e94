//! The matrix of faults and situations: every cell is run, and `docs/reliability.md` says what came of it.
//!
//! `DMARING_CELL=mid-batch/stall` runs the cells whose names contain this, and prints them. `DMARING_BLESS=1` writes the
//! page instead of comparing it.
#![cfg(all(not(loom), not(miri)))]

mod cell;
#[path = "../common/mod.rs"]
mod common;
mod memory;
mod outcome;
mod page;
#[path = "../random/random.rs"]
mod random;
mod run;
mod stage;
mod waiting;

use cell::{Cell, Column, Policy, Row};
use dmaring_emulated::Fault;
use page::Page;
use run::{Ran, run, run_with};

/// After so many cells that failed the rest is not run.
const ENOUGH: usize = 8;

#[test]
fn every_cell_is_run_and_the_page_shows_what_came_of_it() {
    let wanted = std::env::var("DMARING_CELL").unwrap_or_default();
    let mut page = Page::default();
    let mut failures = Vec::new();
    for cell in Cell::all().into_iter().filter(|cell| cell.name().contains(&wanted)) {
        let [alone, with_cpu] = [Policy::Fail, Policy::RetryOnCpu].map(|policy| {
            let Ran { seen, complaints } = run(cell, policy);
            if !complaints.is_empty() {
                failures.push(failure(cell, policy, &complaints));
            }
            seen
        });
        page.add(cell, alone, with_cpu);
        if failures.len() >= ENOUGH {
            break;
        }
    }
    assert!(failures.is_empty(), "{}", failures.concat());
    if wanted.is_empty() {
        page.check_or_bless();
    } else {
        assert!(!page.is_empty(), "no cell has a name with {wanted} in it");
        page.check_cells();
    }
}

fn failure(cell: Cell, policy: Policy, complaints: &[String]) -> String {
    let (name, seed) = (cell.name(), cell.seed());
    let complaints = complaints.join("\n    ");
    format!(
        "\n{name}, {policy:?}, seed {seed:04x}:\n    {complaints}\n  alone: DMARING_CELL={name} {}\n",
        page::COMMAND
    )
}

#[test]
fn the_page_has_every_cell_once() {
    page::check_complete(&page::read());
}

/// The control of every zero in the column *outside*, and of the bytes of operations that failed.
#[test]
fn a_byte_that_is_nobodys_is_found() {
    let runtime = common::cpu(8);
    let mut random = random::Random::new(1);
    let mut memory = memory::Memory::new(&runtime, &mut random);
    let work = memory.plan(&mut random, 100);
    assert_eq!(memory.compare(|_| false), (vec![], 0));
    let (region, offset) = memory.work(work).destination;
    let length = memory.work(work).length;
    let mut turned = [0];
    for (place, outside, lies) in [(offset - 1, 1, 0), (offset + length, 1, 0), (offset + 3, 0, 1)]
    {
        let region = memory.region(region);
        region.read_at(place, &mut turned).unwrap();
        region.write_at(place, &[!turned[0]]).unwrap();
        let (complaints, changed) = memory.compare(|_| false);
        assert_eq!((complaints.len(), changed), (lies, outside), "{complaints:?}");
        region.write_at(place, &turned).unwrap();
    }
    assert_eq!(memory.compare(|_| true).0.len(), 1, "nothing was written");
}

/// The control of every cell in which nothing is to complain about.
#[test]
fn a_device_that_lies_is_found_out() {
    for column in Column::ALL {
        // During a reset the culprit is the null descriptor, of which nothing can be missing.
        if column == Column::DuringReset {
            continue;
        }
        let cell = Cell { column, row: Row::LostWriteBack };
        let Ran { complaints, .. } = run_with(cell, Policy::Fail, Fault::SilentShort(10));
        assert!(complaints.iter().any(|found| found.contains("which said Ok")), "{complaints:?}");
    }
}
