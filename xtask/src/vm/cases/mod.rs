//! The cases of `cargo xtask vm test`.

mod boot;
mod copy;
mod durable;
mod ends;
mod engines;
mod faults;
mod limits;
mod linux;
mod locations;
mod peers;
mod refusals;
mod setup;
mod soak;
mod tests;
mod trouble;

use super::{
    machine::Machine,
    suite::{Case, Kind},
};
use crate::failure::Outcome;

const STANDARD: &[Kind] = &[Kind::Standard];
const BOTH: &[Kind] = &[Kind::Standard, Kind::TwoProcessors];
const WITH_PASS_THROUGH: &[Kind] = &[Kind::Standard, Kind::TwoProcessors, Kind::PassThrough];

/// All cases, in the order in which those of one machine run.
pub(crate) const ALL: &[Case] = &[
    case("boot", BOTH, boot::boot),
    case("linux-ioatdma", WITH_PASS_THROUGH, linux::ioatdma),
    case("linux-restart", STANDARD, linux::restart),
    case("doctor", STANDARD, setup::doctor),
    case("unbind", STANDARD, setup::unbind),
    case("in-use", STANDARD, setup::in_use),
    case("list-bind-copy", WITH_PASS_THROUGH, copy::list_bind_copy),
    case("odd-copies", BOTH, copy::odd),
    case("peer-to-peer", BOTH, peers::copies),
    case("peer-through-vfio", STANDARD, peers::through_vfio),
    case("peer-refusals", STANDARD, peers::refusals),
    case("locations", STANDARD, locations::every_pair),
    case("limits", STANDARD, limits::limits),
    case("striped", BOTH, engines::striped),
    case("calibrate", BOTH, engines::calibrate),
    case("driver-tests", BOTH, tests::driver),
    case("runtime-tests", BOTH, tests::runtime),
    case("ends", BOTH, ends::ends),
    case_restarted("durable", STANDARD, durable::appending, durable::found),
    case("killed", STANDARD, trouble::killed),
    case("injected-error", BOTH, trouble::injected),
    case("faults", STANDARD, faults::faults),
    case("busy", BOTH, trouble::busy),
    case("soak", STANDARD, soak::soak),
    case("version", STANDARD, refusals::version),
    case("transfer-limit", STANDARD, refusals::transfer_limit),
    case("not-ioat", STANDARD, refusals::not_ioat),
    case("not-loaded", STANDARD, refusals::not_loaded),
    case("not-viable", STANDARD, refusals::not_viable),
    case("permission", STANDARD, refusals::permission),
    case("device-range", STANDARD, refusals::device_range),
    case("namespaces", STANDARD, setup::namespaces),
    case("no-iommu", &[Kind::NoIommu], refusals::no_iommu),
];

const fn case(
    name: &'static str,
    machines: &'static [Kind],
    run: fn(&mut Machine) -> Outcome,
) -> Case {
    Case { name, machines, run, restarted: None }
}

/// A case that goes on after the machine was stopped dead.
const fn case_restarted(
    name: &'static str,
    machines: &'static [Kind],
    run: fn(&mut Machine) -> Outcome,
    restarted: fn(&mut Machine) -> Outcome,
) -> Case {
    Case { name, machines, run, restarted: Some(restarted) }
}
