//! Several engines on several nodes: where operations go, how large ones are striped, what a vectored copy is, what a
//! calibration leads to, and engines with threads of their own.
#![cfg(all(not(loom), not(miri)))]

mod calibrated;
#[path = "../common/mod.rs"]
mod common;
#[path = "../bars/device.rs"]
#[allow(dead_code, reason = "each suite uses a part of it")]
mod device;
mod durable;
mod nodes;
mod peers;
#[path = "../durable/recorder.rs"]
#[allow(dead_code, reason = "each suite uses a part of it")]
mod recorder;
#[path = "../emulated/rig.rs"]
mod rig;
mod stripes;
mod stripes_trouble;
mod stuck;
mod vectored;
mod vectored_trouble;
mod workers;

use dmaring::{Builder, Runtime, Stats};
use dmaring_emulated::{Device, Preset};
use dmaring_manual::{Control, ManualBuilder, ManualEngine};
use rig::Rig;

/// Two emulated devices of four channels each, on nodes 0 and 1. The rigs outlive the runtime.
fn eight_channels(builder: Builder) -> (Runtime, [Rig; 2]) {
    let rigs = [0, 1].map(|_| Rig::new(Device::builder(Preset::Bdx).channels(4).xfercap(14)));
    let mut builder = builder;
    for (node, rig) in (0..).zip(&rigs) {
        builder = rig.add_on(builder, 64, node);
    }
    (builder.build().unwrap(), rigs)
}

/// So many manual engines, made alike.
fn manual<const N: usize>(
    builder: Builder,
    make: impl Fn(usize, ManualBuilder) -> ManualBuilder,
) -> (Runtime, [Control; N]) {
    let mut builder = builder;
    let controls = std::array::from_fn(|number| {
        let engine = ManualEngine::builder().name(format!("engine{number}"));
        let (engine, control) = make(number, engine).build();
        builder = std::mem::take(&mut builder).engine(engine);
        control
    });
    (builder.build().unwrap(), controls)
}

/// How many bytes each engine has moved.
fn moved(stats: &Stats) -> Vec<u64> {
    stats.engines.iter().map(|engine| engine.bytes).collect()
}
