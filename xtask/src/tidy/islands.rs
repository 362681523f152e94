//! The files that may contain `unsafe`. Each opts in at its top with a reason, and `docs/safety.md` has
//! its argument.

/// Paths from the workspace's root.
pub(super) const ISLANDS: &[&str] = &[
    "driver/cpu/src/domain.rs",
    "driver/cpu/src/engine.rs",
    "driver/cpu/src/mover.rs",
    "driver/cpu/src/portable.rs",
    "driver/cpu/src/routines/tests.rs",
    "driver/cpu/src/x86/copy.rs",
    "driver/cpu/src/x86/fence.rs",
    "driver/cpu/src/x86/fill.rs",
    "driver/cpu/src/x86/small.rs",
    "driver/cpu/tests/allocation.rs",
    "driver/cpu/tests/engine.rs",
    "driver/engine/src/engine.rs",
    "driver/engine/src/map.rs",
    "driver/manual/src/domain.rs",
    "driver/manual/src/engine.rs",
    "driver/manual/src/memory.rs",
    "driver/manual/tests/engine.rs",
    "runtime/ring/src/memory.rs",
    "runtime/src/fork.rs",
    "runtime/src/inflight/slot.rs",
    "runtime/src/inflight/table.rs",
    "runtime/src/memory.rs",
    "runtime/src/op/pending.rs",
    "runtime/src/poller/lane.rs",
    "runtime/src/region/access.rs",
    "runtime/src/region/mapping.rs",
    "runtime/src/region/register.rs",
    "runtime/src/submit.rs",
];
