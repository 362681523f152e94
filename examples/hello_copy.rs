//! Copies a few bytes from one region to another and waits for them.
use std::{error::Error, io::Write};

use dmaring::Runtime;
use dmaring_cpu::CpuEngine;

fn main() -> Result<(), Box<dyn Error>> {
    let runtime = Runtime::builder().engine(CpuEngine::new()).build()?;
    let source = runtime.allocate(1 << 20)?;
    let destination = runtime.allocate(1 << 20)?;
    source.write_at(0, b"hello, ring")?;

    let copy = source.copy_to(0, &destination, 4096, 11); // a future, for any executor
    let copied = futures::executor::block_on(copy)?;

    let mut bytes = [0; 11];
    destination.read_at(4096, &mut bytes)?;
    writeln!(std::io::stdout(), "{copied} bytes: {}", str::from_utf8(&bytes)?)?;
    Ok(())
}
