//! Staged files: durable is `fdatasync`, which a tracer of the process could see; here, that it comes and ends.

use std::fs;

use dmaring::{Durability, DurabilitySource, ErrorKind};
use futures::executor::block_on;

use crate::{
    common::{kind, pattern, region_of},
    recorder::{persistent, recording},
    staged::{self, BLOCK},
};

#[test]
fn a_file_is_synchronised_before_it_is_told() {
    let Some(directory) = staged::directory() else { return };
    let runtime = staged::cpu(4);
    let path = directory.path().join("file");
    let length = 5 * BLOCK as usize + 333;
    fs::write(&path, vec![0; length]).unwrap();
    let file = runtime.open_file(&path).unwrap();
    assert_eq!(file.durability(), Durability::NeedsFlush);
    assert_eq!(file.durability_source(), DurabilitySource::File);
    let refused = file.assume_durability(Durability::PowerFailSafe).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unsupported);
    assert!(refused.to_string().contains("fdatasync"), "{refused}");
    let source = region_of(&runtime, &pattern(1, length));
    let copied = block_on(source.copy_to(0, &file, 0, length as u64).durable());
    assert_eq!(copied.unwrap(), length as u64);
    assert_eq!(fs::read(&path).unwrap(), pattern(1, length));
    assert_eq!(block_on(file.fill(3, 100, 0).durable()).unwrap(), 100);
    assert_eq!(block_on(file.persist(..)).unwrap(), length as u64);
    // More at a time than are synchronised at a time.
    let mut batch = runtime.batch();
    (0..200).for_each(|n| batch.push(file.fill(n * 8, 8, n).durable()));
    (0..200).for_each(|n| batch.push(file.persist(n..n + 1)));
    assert_eq!(block_on(batch.submit().all()).unwrap(), 1600 + 200);
    file.assume_durability(Durability::Volatile).unwrap();
    assert_eq!(kind(block_on(file.persist(..))), ErrorKind::Volatile);
}

#[test]
fn what_comes_from_a_file_is_written_back_in_memory() {
    let Some(directory) = staged::directory() else { return };
    let (builder, recorder) = recording();
    let runtime =
        builder.engine(dmaring_cpu::CpuEngine::new()).file_blocks(4, BLOCK as u32).build().unwrap();
    let path = directory.path().join("file");
    let length = 3 * BLOCK as usize + 77;
    fs::write(&path, pattern(2, length)).unwrap();
    let file = runtime.open_file_read_only(&path).unwrap();
    let region = persistent(&runtime, length + 64);
    assert_eq!(
        block_on(file.copy_to(0, &region, 1, length as u64).durable()).unwrap(),
        length as u64
    );
    assert_eq!(recorder.take(&region), (0..(1 + length).div_ceil(64)).collect());
    assert_eq!(recorder.fences(), 1);
}
