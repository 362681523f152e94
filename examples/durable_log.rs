//! A log in persistent memory: a record is copied and made durable, then eight bytes commit it and are made durable.
//!
//! The order is what makes it a log. The word that commits is written after the record's bytes are durable, so a machine
//! that comes up again finds no word for a record that is not there; and an append returns after the word is durable, so
//! it finds every record whose append returned. The word is written by one aligned store of the CPU, which is whole or not
//! at all.
//!
//! Here the memory is a model whose power is cut at every step of a run, one run after the other. A copy by the emulated
//! I/OAT device is visible and not durable, as on a machine that places a device's writes in a cache.
use std::{error::Error, io::Write};

use dmaring::{CacheLines, Durability, Region, Runtime, WriteBack};
use dmaring_driver::ioat::{IoatChannel, MonotonicClock, Options};
use dmaring_emulated::{Device, PersistentMemory, Preset};
use futures::executor::block_on;

pub(crate) type Outcome<T> = Result<T, Box<dyn Error>>;

const MEMORY: usize = 8192;
/// Where the first record begins. Before it there is the word that commits, in a line of its own.
const RECORDS: u64 = 64;
/// How many records are appended in a run.
const APPENDS: u64 = 6;

fn main() -> Outcome<()> {
    let seed = 1;
    let steps = run(seed, None, true)?.steps;
    let mut kept = 0;
    for cut in 1..=steps {
        kept += run(seed, Some(cut), true)?.found;
    }
    writeln!(
        std::io::stdout(),
        "the power was cut at each of {steps} steps: no committed record was lost, {kept} were found"
    )?;
    Ok(())
}

/// What a run came to.
#[derive(Debug)]
pub(crate) struct Run {
    /// How many steps the memory saw before the cut.
    pub(crate) steps: u64,
    /// How many records there were afterwards.
    pub(crate) found: u64,
}

/// Appends records to a fresh log, cuts the power before step `cut`, or at the end, and looks what the machine finds.
/// Without `flush` nothing is written back, and the log is none.
pub(crate) fn run(seed: u64, cut: Option<u64>, flush: bool) -> Outcome<Run> {
    let memory = PersistentMemory::new(MEMORY, seed)?;
    if let Some(step) = cut {
        memory.cut_at(step);
    }
    let caches = Caches { memory: memory.clone(), flush };
    let device = Device::builder(Preset::Skx).build()?;
    let _clock = device.run()?;
    let options = Options { clock: Box::new(MonotonicClock::slowed(50)), ..Options::default() };
    let (registers, config) = (device.registers(), Box::new(device.config()));
    let channel = IoatChannel::start(registers, Some(config), device.domain(), options)?;
    let runtime = Runtime::builder().engine(channel).write_back(caches).build()?;
    let mut log = Log::open(&runtime, &memory)?;
    let buffer = runtime.allocate(4096)?;
    let mut returned = 0;
    for number in 0..APPENDS {
        let record = record(number);
        buffer.write_at(0, &record)?;
        block_on(log.append(&buffer, record.len() as u64, &memory))?;
        // What returned before the cut must be found after it.
        if !memory.is_cut() {
            returned = number + 1;
        }
    }
    let steps = memory.steps();
    drop(log);
    let found = recover(&memory.restart()?.durable())?;
    if found < returned {
        let cut = cut.unwrap_or(steps);
        return Err(format!(
            "seed {seed}, step {cut}: {returned} appends returned, {found} records are there"
        )
        .into());
    }
    Ok(Run { steps, found })
}

/// A log, and where it ends.
struct Log {
    region: Region,
    end: u64,
}

impl Log {
    fn open(runtime: &Runtime, memory: &PersistentMemory) -> Outcome<Self> {
        let region = runtime.open_file(memory.path())?;
        // The model's visible image is memory that the system knows to be volatile. We know better.
        region.assume_durability(Durability::NeedsFlush)?;
        memory.mapped_at(region.as_mut_ptr().map_or(0, |base| base.addr().get()));
        Ok(Self { region, end: RECORDS })
    }

    /// Appends the first `length` bytes of `buffer`. When it returns they outlive a loss of power.
    async fn append(
        &mut self,
        buffer: &Region,
        length: u64,
        memory: &PersistentMemory,
    ) -> Result<(), dmaring::Error> {
        buffer.copy_to(0, &self.region, self.end, length).durable().await?;
        memory.step();
        self.end += length;
        self.region.write_at(0, &self.end.to_le_bytes())?;
        memory.step();
        self.region.persist(0..8).await?;
        memory.step();
        Ok(())
    }
}

/// How many records a machine that came up again finds. Every one up to the committed end must be whole.
fn recover(bytes: &[u8]) -> Outcome<u64> {
    let (word, _) = bytes.split_first_chunk().ok_or("no memory")?;
    let committed = u64::from_le_bytes(*word).max(RECORDS) as usize;
    let (mut at, mut number) = (RECORDS as usize, 0);
    while at < committed {
        let expected = record(number);
        let found = bytes.get(at..at + expected.len()).ok_or("the log ends beyond the memory")?;
        if found != expected {
            return Err(format!("record {number} is committed and torn").into());
        }
        (at, number) = (at + expected.len(), number + 1);
    }
    if at != committed { Err("the log ends inside a record".into()) } else { Ok(number) }
}

/// Record number `number`: its length is no multiple of a line, and no byte of it is zero.
fn record(number: u64) -> Vec<u8> {
    let length = 40 + (number * 89) % 230;
    (0..length).map(|place| (place * 7 + number * 31) as u8 | 1).collect()
}

/// The caches of the machine that has the memory.
#[derive(Debug)]
struct Caches {
    memory: PersistentMemory,
    flush: bool,
}

impl WriteBack for Caches {
    fn write_back(&self, lines: &CacheLines<'_>) {
        if self.flush {
            lines.addresses().for_each(|line| self.memory.write_back(line));
        }
    }

    fn fence(&self) {
        self.memory.fence();
    }
}
