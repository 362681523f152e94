//! What goes wrong in the life of a runtime, and when.

use dmaring_emulated::{Fault, FaultPlan, PlannedFault, When};
use fastrand::Rng;

use super::{Engines, Scale};

/// Something that happens to a runtime or to its device.
#[derive(Clone, Debug)]
pub(crate) enum Trouble {
    /// The device gets this plan, whose faults are all of this kind.
    Plan { kind: &'static str, plan: FaultPlan },
    /// The function is taken away.
    Unplug(u8),
    /// Somebody else resets the function.
    Reset(u8),
    /// Bus mastering of the function is turned off, or on.
    BusMaster(u8, bool),
    /// An engine that is not at work is brought back, if there is one.
    Restore,
    /// The runtime ends.
    End,
}

/// Draws what goes wrong within `steps` steps, in order.
pub(super) fn troubles(
    random: &mut Rng,
    steps: u64,
    engines: &Engines,
    scale: Scale,
) -> Vec<(u64, Trouble)> {
    let mut troubles = Vec::new();
    if scale.short_copies {
        let fault = PlannedFault::every(50, Fault::SilentShort(0));
        let plan = FaultPlan::new().with(fault);
        troubles.push((0, Trouble::Plan { kind: "silent-short", plan }));
        return troubles;
    }
    if !engines.faulty {
        return troubles;
    }
    let function = |random: &mut Rng| random.u8(..engines.channels);
    for _ in 0..random.usize(4..16) {
        let (at, function) = (random.u64(..steps), function(random));
        let trouble = match random.u8(..40) {
            0 => Trouble::Unplug(function),
            1 | 2 => Trouble::Reset(function),
            3 => {
                troubles.push((at + steps / 20, Trouble::BusMaster(function, true)));
                Trouble::BusMaster(function, false)
            }
            _ => plan(random, engines.channels),
        };
        troubles.push((at, trouble));
    }
    for _ in 0..random.usize(5..20) {
        troubles.push((random.u64(..steps), Trouble::Restore));
    }
    if scale.functions > 0 {
        // What happens to these happens from outside.
        troubles.retain(|(_, trouble)| matches!(trouble, Trouble::Restore));
    }
    troubles.sort_by_key(|(at, _)| *at);
    troubles
}

fn plan(random: &mut Rng, channels: u8) -> Trouble {
    let draw = random.u8(..24);
    let mut kind = "";
    let mut plan = FaultPlan::new();
    for _ in 0..random.usize(1..=3) {
        let fault = match draw {
            0..=12 => Fault::ChanErr(random.u8(..32)),
            13..=16 => Fault::Short(random.u32(..5000)),
            17 | 18 => Fault::Stall,
            19 | 20 => Fault::LostWriteBack,
            21 | 22 => Fault::DuplicateWriteBack,
            _ => Fault::Gone,
        };
        kind = name(fault);
        // One that costs a reset is rarer than what costs a look at a register, and one that ends a channel happens once.
        let when = match fault {
            Fault::Gone | Fault::Stall => When::Nth(random.u64(1..2000)),
            Fault::LostWriteBack | Fault::DuplicateWriteBack => When::Every(random.u64(2..200)),
            _ if random.bool() => When::Nth(random.u64(1..500)),
            _ => When::Every(random.u64(50..2000)),
        };
        let channel = random.bool().then(|| random.usize(..usize::from(channels)));
        plan = plan.with(PlannedFault { when, channel, fault });
    }
    Trouble::Plan { kind, plan }
}

fn name(fault: Fault) -> &'static str {
    match fault {
        Fault::ChanErr(_) => "chanerr",
        Fault::Short(_) => "short",
        Fault::Stall => "stall",
        Fault::LostWriteBack => "lost-writeback",
        Fault::DuplicateWriteBack => "duplicate-writeback",
        Fault::Gone => "gone",
        _ => "other",
    }
}
