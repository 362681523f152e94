//! What cannot be built, opened or written: each has its own error, with the value, the limit and the remedy.
#![cfg(all(not(loom), not(miri)))]

mod common;

use std::{fs, os::fd::AsRawFd, path::Path};

use common::{bytes, cpu, kind, pattern, region_of};
use dmaring::{BuildError, Builder, Error, ErrorKind, Runtime};
use dmaring_cpu::CpuEngine;
use dmaring_manual::ManualEngine;
use futures::executor::block_on;
use nix::sys::memfd::{MFdFlags, memfd_create};

fn refused(builder: Builder, parts: &[&str]) -> BuildError {
    let error = builder.build().unwrap_err();
    for part in parts {
        assert!(error.to_string().contains(part), "{error}");
    }
    error
}

#[test]
fn a_runtime_needs_an_engine() {
    let error = refused(Runtime::builder(), &["no engine", "dmaring_cpu::CpuEngine"]);
    assert!(matches!(error, BuildError::NoEngine));
}

#[test]
fn ring_entries_are_a_power_of_two_within_limits() {
    for entries in [0, 1, 3, 1000, 65_536, u32::MAX] {
        let builder = Runtime::builder().engine(CpuEngine::new()).ring_entries(entries);
        let value = format!("{entries} ring entries");
        let error = refused(builder, &["ring_entries: ", &value, "a power of two from 2 to 32768"]);
        assert!(matches!(error, BuildError::RingEntries(_)));
    }
    for entries in [2, 32_768] {
        Runtime::builder().engine(CpuEngine::new()).ring_entries(entries).build().unwrap();
    }
}

#[test]
fn a_core_that_does_not_exist_is_refused_with_those_that_do() {
    let builder = Runtime::builder().engine(CpuEngine::new()).poller_core(100_000);
    let error = refused(builder, &["core 100000 does not exist or is not allowed", "use one of "]);
    let BuildError::Core { core, allowed } = error else { panic!("{error:?}") };
    assert_eq!(core, 100_000);
    let first = allowed.split([',', '-']).next().unwrap().parse().unwrap();
    Runtime::builder().engine(CpuEngine::new()).poller_core(first).build().unwrap();
}

#[test]
fn an_engine_that_is_too_small_is_refused() {
    let (engine, _control) = ManualEngine::builder().name("tiny").depth(1).build();
    let error = refused(
        Runtime::builder().engine(CpuEngine::new()).engine(engine),
        &["engine tiny: depth of 1 is below the least of 2"],
    );
    assert!(matches!(error, BuildError::Engine { value: 1, least: 2, .. }));
    let (engine, control) = ManualEngine::builder().max_transfer(63).build();
    refused(Runtime::builder().engine(engine), &["max_transfer of 63 is below the least of 64"]);
    assert!(control.dropped());
}

fn message(outcome: Result<dmaring::Region, Error>, expected: ErrorKind) -> String {
    let error = outcome.unwrap_err();
    assert_eq!(error.kind(), expected, "{error}");
    error.to_string()
}

#[test]
fn only_device_dax_is_opened_as_such() {
    let runtime = cpu(4);
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), b"untouched").unwrap();
    let text = message(runtime.open_dax(file.path()), ErrorKind::Unsupported);
    assert!(text.contains("not a device-dax node but a file: use open_file"), "{text}");
    assert!(text.contains(&file.path().display().to_string()), "{text}");
    let text = message(runtime.open_dax("/dev/null"), ErrorKind::Unsupported);
    assert!(text.contains("/dev/null: not a device-dax node but another kind"), "{text}");
    let text = message(runtime.open_dax("/"), ErrorKind::Unsupported);
    assert!(text.contains("neither a device nor a file"), "{text}");
    let text = message(runtime.open_dax("/dev/dax-that-is-not-there"), ErrorKind::Io);
    assert!(text.contains("/dev/dax-that-is-not-there: No such file"), "{text}");
    assert_eq!(fs::read(file.path()).unwrap(), b"untouched");
}

#[test]
fn only_regular_files_with_contents_are_opened_as_such() {
    let runtime = cpu(4);
    let directory = tempfile::tempdir().unwrap();
    let empty = directory.path().join("empty");
    fs::write(&empty, b"").unwrap();
    let text = message(runtime.open_file(&empty), ErrorKind::OutOfBounds);
    assert!(text.contains("the file has 0 bytes"), "{text}");
    assert_eq!(fs::metadata(&empty).unwrap().len(), 0);
    let missing = directory.path().join("missing");
    let text = message(runtime.open_file(&missing), ErrorKind::Io);
    assert!(text.contains("missing: No such file"), "{text}");
    assert!(!missing.exists(), "opening creates nothing");
    message(runtime.open_file(directory.path()), ErrorKind::Io);
    let text = message(runtime.open_file_read_only(directory.path()), ErrorKind::Unsupported);
    assert!(text.contains("neither a regular file nor a block device"), "{text}");
    let text = message(runtime.open_file("/dev/null"), ErrorKind::Unsupported);
    assert!(text.contains("a device-dax node is opened with open_dax"), "{text}");
}

#[test]
fn memory_of_no_bytes_and_of_too_many_is_refused() {
    let runtime = cpu(4);
    let text = message(runtime.allocate(0), ErrorKind::OutOfBounds);
    assert!(text.contains("0 bytes asked for: allocate at least 1"), "{text}");
    let text = message(runtime.register(Vec::new()), ErrorKind::OutOfBounds);
    assert!(text.contains("the buffer has 0 bytes: register at least 1"), "{text}");
    for length in [usize::MAX, usize::MAX / 2] {
        let error = runtime.allocate(length).unwrap_err();
        assert!(error.to_string().contains(&length.to_string()), "{error}");
    }
    assert_eq!(block_on(runtime.allocate(1).unwrap().fill(0, 1, 1)).unwrap(), 1);
}

#[test]
fn a_region_opened_for_reading_is_a_source_only() {
    let runtime = cpu(4);
    // A memfd is mapped, whatever directories are there.
    let memfd = memfd_create("bad-input", MFdFlags::MFD_CLOEXEC).unwrap();
    let path = format!("/proc/self/fd/{}", memfd.as_raw_fd());
    fs::write(&path, pattern(1, 256)).unwrap();
    let source = runtime.open_file_read_only(Path::new(&path)).unwrap();
    let memory = region_of(&runtime, &pattern(2, 256));
    for refused in [memory.copy_to(0, &source, 0, 64), source.copy(0, 64, 64)] {
        let error = block_on(refused).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Permission);
        assert!(error.to_string().contains("opened for reading only"), "{error}");
    }
    assert_eq!(kind(block_on(source.fill(0, 64, 1))), ErrorKind::Permission);
    assert_eq!(kind(source.write_at(0, &[1])), ErrorKind::Permission);
    assert_eq!(block_on(source.copy_to(0, &memory, 0, 256)).unwrap(), 256);
    assert_eq!(bytes(&memory, 0, 256), pattern(1, 256));
    assert_eq!(fs::read(&path).unwrap(), pattern(1, 256));
}

#[test]
fn what_reading_and_writing_reach_beyond_the_end_is_refused_whole() {
    let runtime = cpu(4);
    let region = region_of(&runtime, &pattern(3, 100));
    let mut buffer = [7; 10];
    let error = region.read_at(91, &mut buffer).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OutOfBounds);
    assert_eq!(
        error.to_string(),
        "access range of 10 bytes at offset 91 reaches beyond the region's 100 bytes"
    );
    assert_eq!(buffer, [7; 10]);
    assert_eq!(kind(region.write_at(u64::MAX, &buffer)), ErrorKind::OutOfBounds);
    assert_eq!(kind(region.write_at(91, &buffer)), ErrorKind::OutOfBounds);
    assert_eq!(bytes(&region, 0, 100), pattern(3, 100));
    region.read_at(100, &mut []).unwrap();
}

#[test]
fn a_file_and_its_other_name_are_the_same_memory() {
    let runtime = cpu(4);
    let memfd = memfd_create("bad-input", MFdFlags::MFD_CLOEXEC).unwrap();
    let path = format!("/proc/self/fd/{}", memfd.as_raw_fd());
    fs::write(&path, pattern(4, 256)).unwrap();
    let (one, other) = (runtime.open_file(&path).unwrap(), runtime.open_file(&path).unwrap());
    assert_eq!(kind(block_on(one.copy_to(0, &other, 63, 64))), ErrorKind::Overlap);
    assert_eq!(block_on(one.copy_to(0, &other, 64, 64)).unwrap(), 64);
    assert_eq!(bytes(&one, 64, 64), pattern(4, 64));
}

#[test]
fn a_fifo_is_refused_and_not_waited_for() {
    let directory = tempfile::tempdir().unwrap();
    let fifo = directory.path().join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let runtime = cpu(4);
    let error = runtime.open_file_read_only(&fifo).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("neither a regular file nor a block device"), "{error}");
}

#[test]
fn a_memfd_opened_for_reading_cannot_shrink_either() {
    let memfd = memfd_create("test", MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING).unwrap();
    let file = fs::File::from(memfd);
    file.set_len(8192).unwrap();
    let runtime = cpu(4);
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let region = runtime.open_file_read_only(path).unwrap();
    assert!(file.set_len(4096).is_err(), "it is sealed");
    assert_eq!(bytes(&region, 8184, 8), [0; 8]);
}

#[test]
fn an_allocation_beyond_the_address_space_is_refused_by_its_size() {
    let runtime = cpu(4);
    let error = runtime.allocate(usize::MAX).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LimitExceeded);
    assert!(error.to_string().contains(&usize::MAX.to_string()), "{error}");
}

#[test]
fn a_range_is_opened_of_device_dax_nodes_only() {
    let runtime = cpu(4);
    let file = tempfile::NamedTempFile::new().unwrap();
    for path in [file.path(), Path::new("/dev/null")] {
        let error = runtime.open_dax_range(path, 0, 2 << 20).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    }
}

#[test]
fn a_core_that_this_thread_may_not_use_is_refused() {
    use nix::{
        sched::{CpuSet, sched_getaffinity, sched_setaffinity},
        unistd::Pid,
    };

    let me = Pid::from_raw(0);
    let allowed = sched_getaffinity(me).unwrap();
    let mut cores = (0..CpuSet::count()).filter(|&core| allowed.is_set(core).unwrap());
    let (Some(mine), Some(other)) = (cores.next(), cores.next()) else {
        use std::io::Write;
        writeln!(std::io::stderr(), "skipped: one core is allowed, there is no other to refuse")
            .unwrap();
        return;
    };
    let mut one = CpuSet::new();
    one.set(mine).unwrap();
    sched_setaffinity(me, &one).unwrap();
    let builder = || Runtime::builder().engine(CpuEngine::new());
    let core = format!("core {other} does not exist or is not allowed");
    refused(builder().poller_core(other), &[&core, &format!("use one of {mine}")]);
    builder().poller_core(mine).build().unwrap();
}
