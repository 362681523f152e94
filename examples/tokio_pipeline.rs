//! A pipeline on tokio's threads: one task makes blocks, one has them copied in batches, one checks the copies.
//!
//! Blocks travel in slots, places of the same offset in both regions. A slot goes round: free, made, copied,
//! checked, free again. There are `SLOTS` of them, so no more blocks than that are under way, and no
//! block is overwritten before it was checked. Whoever has the slot's number owns its bytes.
//!
//! Each batch ends with a fenced fill of the journal: it starts when every copy submitted before it has ended, so a
//! number in the journal means that so many blocks are where they belong.

use std::{
    error::Error,
    io::{self, Write},
    sync::Arc,
    time::Duration,
};

use dmaring::{Region, Runtime};
use dmaring_cpu::CpuEngine;
use tokio::sync::mpsc::{Receiver, Sender, channel};

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// The length of a block, in bytes.
const BLOCK: usize = 256 << 10;
/// How many blocks are under way at a time.
const SLOTS: usize = 16;
/// How many blocks are copied under one doorbell, at most.
const BATCH: usize = 8;
/// How many blocks go through.
const BLOCKS: u64 = 512;

/// A block on its way.
struct Block {
    slot: usize,
    /// What its bytes add up to.
    sum: u64,
}

impl Block {
    fn offset(&self) -> u64 {
        (self.slot * BLOCK) as u64
    }
}

#[tokio::main]
async fn main() -> Outcome<()> {
    let runtime = Arc::new(Runtime::builder().engine(CpuEngine::new()).build()?);
    let input = runtime.allocate(SLOTS * BLOCK)?;
    let output = runtime.allocate(SLOTS * BLOCK)?;
    let journal = runtime.allocate(4096)?;

    let (free, freed) = channel(SLOTS);
    let (made, to_copy) = channel(SLOTS);
    let (copied, to_check) = channel(SLOTS);
    for slot in 0..SLOTS {
        free.send(slot).await?;
    }
    let producer = tokio::spawn(produce(input.clone(), freed, made));
    let copier = tokio::spawn(copy(
        runtime.clone(),
        [input, output.clone(), journal.clone()],
        to_copy,
        copied,
    ));
    let checker = tokio::spawn(check([output, journal], to_check, free));
    // The last stage first: when one gives up, those before it find only that nobody listens.
    let checked = checker.await??;
    let batches = copier.await??;
    producer.await??;

    runtime.shutdown(Duration::from_secs(1)).await?;
    let bytes = checked * BLOCK as u64;
    writeln!(
        io::stdout(),
        "{checked} blocks, {bytes} bytes: copied in {batches} batches, sums agree"
    )?;
    Ok(())
}

/// Fills slots as they become free.
async fn produce(input: Region, mut freed: Receiver<usize>, made: Sender<Block>) -> Outcome<()> {
    let mut bytes = vec![0; BLOCK];
    for number in 0..BLOCKS {
        let Some(slot) = freed.recv().await else { break };
        for (word, index) in bytes.chunks_exact_mut(8).zip(number..) {
            word.copy_from_slice(&index.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
        }
        let block = Block { slot, sum: sum(&bytes) };
        input.write_at(block.offset(), &bytes)?;
        made.send(block).await?;
    }
    Ok(())
}

/// Copies what is there, up to `BATCH` blocks at once, and returns how many batches that took.
async fn copy(
    runtime: Arc<Runtime>,
    [input, output, journal]: [Region; 3],
    mut to_copy: Receiver<Block>,
    copied: Sender<Block>,
) -> Outcome<u64> {
    let mut blocks = Vec::with_capacity(BATCH);
    let (mut batches, mut total) = (0, 0);
    while to_copy.recv_many(&mut blocks, BATCH).await > 0 {
        let mut batch = runtime.batch();
        for block in &blocks {
            let offset = block.offset();
            batch.copy(&input, offset, &output, offset, BLOCK as u64);
        }
        total += blocks.len() as u64;
        batches += 1;
        batch.push(journal.fill(0, 8, total).fence());
        batch.submit().all().await?;
        for block in blocks.drain(..) {
            copied.send(block).await?;
        }
    }
    Ok(batches)
}

/// Sums the copies up, gives their slots back, and returns how many there were.
async fn check(
    [output, journal]: [Region; 2],
    mut to_check: Receiver<Block>,
    free: Sender<usize>,
) -> Outcome<u64> {
    let mut bytes = vec![0; BLOCK];
    let mut journalled = [0; 8];
    let mut checked = 0;
    while let Some(block) = to_check.recv().await {
        output.read_at(block.offset(), &mut bytes)?;
        if sum(&bytes) != block.sum {
            return Err(format!("block {checked} was copied wrongly").into());
        }
        checked += 1;
        journal.read_at(0, &mut journalled)?;
        if u64::from_le_bytes(journalled) < checked {
            return Err(format!("block {checked} is here before the journal says so").into());
        }
        // The producer stops listening once it has made its last block.
        let _ = free.send(block.slot).await;
    }
    Ok(checked)
}

fn sum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |sum, byte| sum.rotate_left(5) ^ u64::from(*byte))
}
