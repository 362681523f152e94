//! Streams memory to a file at the disk's rate, through staging buffers that do not grow with it.
//!
//! `cargo run --release -p dmaring-examples --example stream_to_file -- PATH MIB [BLOCK_KIB [BLOCKS]]`
use std::{env, error::Error, fs, io::Write, time::Instant};

use dmaring::{Region, Runtime};
use dmaring_cpu::CpuEngine;

/// Bytes of the memory that is written to the file again and again.
const WINDOW: u64 = 64 << 20;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let number =
        |at: usize, default: u64| arguments.get(at).map_or(Ok(default), |text| text.parse::<u64>());
    let Some(path) = arguments.first() else {
        return Err("usage: stream_to_file PATH MIB [BLOCK_KIB [BLOCKS]]".into());
    };
    let length = number(1, 256)? << 20;
    let (block, blocks) = (number(2, 512)? << 10, number(3, 16)?);
    // A region has its file's length: the file is made as long as what will be in it.
    fs::File::create(path)?.set_len(length)?;
    let runtime = Runtime::builder()
        .engine(CpuEngine::new())
        .file_blocks(u32::try_from(blocks)?, u32::try_from(block)?)
        .build()?;
    let source = runtime.allocate(usize::try_from(WINDOW)?)?;
    let file = runtime.open_file(path)?;
    let start = Instant::now();
    futures::executor::block_on(async {
        source.fill(0, WINDOW, 0x0123_4567_89ab_cdef).await?;
        stream(&source, &file).await?;
        file.close().await
    })?;
    let seconds = start.elapsed().as_secs_f64();
    let rate = length as f64 / seconds / 1e6;
    writeln!(std::io::stdout(), "{length} bytes, {seconds:.3} s, {rate:.0} MB/s")?;
    for line in fs::read_to_string("/proc/self/status")?.lines() {
        if ["VmHWM:", "VmPin:"].iter().any(|name| line.starts_with(name)) {
            writeln!(std::io::stdout(), "{line}")?;
        }
    }
    Ok(())
}

/// Writes the whole file, a window at a time, with the next one begun before the last has ended.
async fn stream(source: &Region, file: &Region) -> Result<(), dmaring::Error> {
    let mut last = None;
    let mut at = 0;
    while at < file.len() {
        let length = WINDOW.min(file.len() - at);
        let next = source.copy_to(0, file, at, length).submit();
        if let Some(last) = last.replace(next) {
            last.await?;
        }
        at += length;
    }
    if let Some(last) = last {
        last.await?;
    }
    Ok(())
}
