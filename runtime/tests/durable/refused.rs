//! What cannot become durable is refused before anything is written, and what is known can be overridden.

use dmaring::{Durability, DurabilitySource, ErrorKind};
use dmaring_cpu::CpuEngine;
use futures::executor::block_on;
use tempfile::NamedTempFile;

use crate::{
    common::{bytes, cpu, kind, pattern, region_of},
    recorder::{persistent, recording},
};

#[test]
fn ordinary_memory_is_volatile_and_says_why() {
    let runtime = cpu(16);
    let file = NamedTempFile::new_in("/dev/shm").unwrap();
    file.as_file().set_len(4096).unwrap();
    let regions = [
        runtime.allocate(4096).unwrap(),
        runtime.register(vec![0; 4096]).unwrap(),
        runtime.open_file(file.path()).unwrap(),
    ];
    let source = region_of(&runtime, &pattern(1, 4096));
    for region in regions {
        assert_eq!(region.durability(), Durability::Volatile);
        assert_eq!(region.durability_source(), DurabilitySource::Memory);
        let error = block_on(source.copy_to(0, &region, 0, 64).durable()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Volatile);
        let message = error.to_string();
        assert!(message.contains("ordinary memory"), "{message}");
        assert!(message.contains("assume_durability"), "{message}");
        assert_eq!(kind(block_on(region.fill(0, 64, 7).durable())), ErrorKind::Volatile);
        assert_eq!(kind(block_on(region.persist(..))), ErrorKind::Volatile);
        assert_eq!(kind(block_on(region.persist(0..0))), ErrorKind::Volatile, "of no bytes, too");
        assert_eq!(bytes(&region, 0, 64), [0; 64], "nothing was written");
        let mut batch = runtime.batch();
        batch.push(region.fill(0, 64, 7).durable());
        assert_eq!(kind(block_on(batch.submit().all())), ErrorKind::Volatile);
        let rejected = region.fill(0, 64, 7).durable().try_submit().unwrap_err();
        assert_eq!(rejected.error.kind(), ErrorKind::Volatile);
        assert_eq!(block_on(region.fill(0, 64, 7)).unwrap(), 64, "not durable, it is done");
    }
    assert_eq!(runtime.stats().submitted, 3);
}

#[test]
fn the_applications_word_is_taken_by_every_handle_and_can_be_taken_back() {
    let runtime = cpu(16);
    let region = runtime.allocate(4096).unwrap();
    let clone = region.clone();
    for durability in [Durability::NeedsFlush, Durability::PowerFailSafe] {
        region.assume_durability(durability).unwrap();
        assert_eq!(clone.durability(), durability);
        assert_eq!(clone.durability_source(), DurabilitySource::Assumed);
        assert_eq!(block_on(clone.fill(0, 64, 7).durable()).unwrap(), 64);
    }
    region.assume_durability(Durability::Volatile).unwrap();
    assert_eq!(kind(block_on(clone.persist(0..64))), ErrorKind::Volatile);
}

#[test]
fn ranges_are_checked_and_need_not_be_writable() {
    let (builder, recorder) = recording();
    let runtime = builder.engine(CpuEngine::new()).build().unwrap();
    let region = persistent(&runtime, 4096);
    assert_eq!(kind(block_on(region.persist(4000..4097))), ErrorKind::OutOfBounds);
    #[allow(clippy::reversed_empty_ranges, reason = "this is what is refused")]
    let reversed = region.persist(7..6);
    assert_eq!(kind(block_on(reversed)), ErrorKind::OutOfBounds);
    assert_eq!(block_on(region.persist(7..7)).unwrap(), 0);
    assert_eq!(recorder.lines(), 0);
    let file = NamedTempFile::new_in("/dev/shm").unwrap();
    file.as_file().set_len(4096).unwrap();
    let region = runtime.open_file_read_only(file.path()).unwrap();
    region.assume_durability(Durability::NeedsFlush).unwrap();
    assert_eq!(block_on(region.persist(100..)).unwrap(), 3996);
    assert_eq!(recorder.take(&region), (1..64).collect());
}
