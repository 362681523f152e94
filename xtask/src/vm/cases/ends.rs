//! Regions of real devdax that end while functions have them mapped, handles are there and threads read them.

use super::tests;
use crate::{failure::Outcome, vm::machine::Machine};

/// Closed with copies in flight, and replaced with zeroes under readers.
pub(crate) fn ends(machine: &mut Machine) -> Outcome {
    tests::suite(machine, "runtime-vfio", "ends::")
}
