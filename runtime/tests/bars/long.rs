//! Regions of a tebibyte: opened at once, refused by name where addresses do not suffice.

use std::{fs::File, os::fd::AsRawFd, sync::Arc};

use dmaring::{ErrorKind, Region, Runtime};
use dmaring_emulated::{Device, Iommu, Preset};
use futures::executor::block_on;
use nix::sys::memfd::{MFdFlags, memfd_create};

use crate::{
    common::{bytes, pattern},
    rig::Rig,
};

const TEBIBYTE: u64 = 1 << 40;

/// A file of a tebibyte that takes no memory.
fn sparse() -> File {
    let file = File::from(memfd_create(c"dmaring-test", MFdFlags::MFD_CLOEXEC).unwrap());
    file.set_len(TEBIBYTE).unwrap();
    file
}

fn open(runtime: &Runtime, file: &File) -> Result<Region, dmaring::Error> {
    runtime.open_file(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

fn rig(bits: u32) -> (Rig, Runtime) {
    let iommu = Arc::new(Iommu::with_address_bits(1, bits));
    let rig = Rig::new(Device::builder(Preset::Skx).channels(1).iommu(iommu));
    let runtime = rig.add_to(Runtime::builder(), 64).build().unwrap();
    (rig, runtime)
}

/// Resident pages of this process.
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    text.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn a_sparse_tebibyte_is_opened_without_touching_it_and_copied_at_its_end() {
    let (rig, runtime) = rig(48);
    let file = sparse();
    let before = resident();
    let region = open(&runtime, &file).unwrap();
    assert!(resident() - before < 1024, "no more than 4 MiB were touched");
    assert_eq!(region.len(), TEBIBYTE);
    let expected = pattern(1, 4096);
    region.write_at(3, &expected).unwrap();
    block_on(region.copy(3, TEBIBYTE - 4096, 4096)).unwrap();
    assert_eq!(bytes(&region, TEBIBYTE - 4096, 4096), expected);
    let space = &runtime.limits().spaces[0];
    let addresses = space.limits.addresses.unwrap();
    assert!(addresses.used >= TEBIBYTE && addresses.most > TEBIBYTE, "{addresses:?}");
    drop((region, runtime));
    rig.assert_clean();
}

#[test]
fn what_no_address_space_holds_is_refused_with_what_is_needed_and_left() {
    let (rig, runtime) = rig(39);
    let limits = runtime.limits();
    let addresses = limits.spaces[0].limits.addresses.unwrap();
    let error = open(&runtime, &sparse()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LimitExceeded);
    let text = error.to_string();
    assert!(text.contains(&format!("{TEBIBYTE} bytes of device addresses needed")), "{text}");
    assert!(text.contains(&format!("{} left", addresses.left())), "{text}");
    assert_eq!(runtime.limits(), limits, "nothing was left mapped");
    assert_eq!((limits.ring_entries, limits.max_ring_entries), (1024, 32_768));
    drop(runtime);
    rig.assert_clean();
}
