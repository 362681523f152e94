//! Drives an emulated I/OAT device with a planned fault: one copy fails, with its place, and the channel goes on.
use std::{error::Error, io::Write};

use dmaring::Runtime;
use dmaring_driver::ioat::{IoatChannel, MonotonicClock, Options};
use dmaring_emulated::{Device, Fault, FaultPlan, PlannedFault, Preset};
use futures::executor::block_on;

const SIZE: u64 = 4096;

fn main() -> Result<(), Box<dyn Error>> {
    let mut out = std::io::stdout();
    // The fourth descriptor fails: the first is the null descriptor by which the channel shows that it runs.
    let plan = FaultPlan::new().with(PlannedFault::nth(4, Fault::ChanErr(8)));
    let device = Device::builder(Preset::Skx).fault_plan(plan).build()?;
    let _clock = device.run()?;

    // The model is slower than silicon: what the driver allows a device is allowed in the device's time.
    let options = Options { clock: Box::new(MonotonicClock::slowed(50)), ..Options::default() };
    let (registers, config) = (device.registers(), Box::new(device.config()));
    let channel = IoatChannel::start(registers, Some(config), device.domain(), options)?;
    let runtime = Runtime::builder().engine(channel).build()?;

    let source = runtime.allocate(8 * SIZE as usize)?;
    let destination = runtime.allocate(8 * SIZE as usize)?;
    let copies: Vec<_> =
        (0..8).map(|n| source.copy_to(n * SIZE, &destination, n * SIZE, SIZE).submit()).collect();
    for (n, copy) in copies.into_iter().enumerate() {
        match block_on(copy) {
            Ok(bytes) => writeln!(out, "copy {n}: {bytes} bytes")?,
            Err(error) => writeln!(out, "copy {n}: {error}")?,
        }
    }
    let again = block_on(source.copy_to(2 * SIZE, &destination, 2 * SIZE, SIZE))?;
    let stats = runtime.stats();
    writeln!(out, "copy 2 again: {again} bytes; resets: {}", stats.engines[0].recoveries)?;
    drop(runtime);
    writeln!(out, "faults of the IOMMU: {}", device.domain().faults())?;
    Ok(())
}
