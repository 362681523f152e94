//! Bounce or map? Measures both ways: on the CPU, and behind the IOMMU of an emulated I/OAT device.
//!
//! `cargo run --release -p dmaring-examples --example bounce_or_map`
use std::{error::Error, io::Write};

use dmaring::{Runtime, bounce};
use dmaring_cpu::CpuEngine;
use dmaring_driver::ioat::{IoatChannel, MonotonicClock, Options};
use dmaring_emulated::{Device, Preset};
use futures::executor::block_on;

fn main() -> Result<(), Box<dyn Error>> {
    let device = Device::builder(Preset::Skx).build()?;
    let _clock = device.run()?;
    // The model is slower than silicon: what the driver allows a device is allowed in the device's time.
    let options = Options { clock: Box::new(MonotonicClock::slowed(50)), ..Options::default() };
    let (registers, config) = (device.registers(), Box::new(device.config()));
    let channel = IoatChannel::start(registers, Some(config), device.domain(), options)?;

    let cpu = Runtime::builder().engine(CpuEngine::new()).build()?;
    let emulated = Runtime::builder().engine(channel).build()?;
    for (name, runtime) in [("CPU", cpu), ("emulated I/OAT", emulated)] {
        let crossover = block_on(bounce::measure(&runtime))?;
        let mut out = std::io::stdout();
        match crossover.bytes {
            Some(bytes) => writeln!(out, "{name}: map from {bytes} bytes on")?,
            None => writeln!(out, "{name}: bounce whatever the length")?,
        }
        writeln!(out, "| bytes | bounced | mapped |\n| ---: | ---: | ---: |")?;
        for point in &crossover.points {
            let [bounced, mapped] =
                [point.bounced, point.mapped].map(|time| time.as_secs_f64() * 1e6);
            writeln!(out, "| {} | {bounced:.1} µs | {mapped:.1} µs |", point.bytes)?;
        }
    }
    Ok(())
}
