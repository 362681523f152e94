//! How files are transferred, which their users cannot see: directly, through the page cache, or with a change of mind.

use std::{fs::File, os::unix::fs::MetadataExt, path::Path, sync::Arc};

use dmaring_cpu::CpuEngine;
use dmaring_engine::Rights;
use futures::executor::block_on;

use super::StagedFile;
use crate::{
    Region, Runtime,
    region::{Backing, Draft, Identity},
};

const BLOCK: u32 = 16 << 10;
const LENGTH: usize = 5 * BLOCK as usize + 333;

/// How the file is made to be transferred.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    AsItComes,
    Buffered,
    /// Directly in granules of one byte, which no device takes: the kernel refuses.
    Refused,
}

fn open(near: &Region, path: &Path, way: Way) -> Region {
    let shared = &near.0.shared;
    shared.start_staging().unwrap();
    let file = File::options().read(true).write(true).open(path).unwrap();
    let facts = file.metadata().unwrap();
    let mut file = StagedFile::new(path, file, true);
    match way {
        Way::AsItComes => {}
        Way::Buffered => file.refuse_direct(),
        Way::Refused => file.set_granule(1),
    }
    let draft = Draft {
        backing: Backing::Staged(Arc::new(file)),
        length: facts.len(),
        rights: Rights::ReadWrite,
        identity: Identity::file(facts.dev(), facts.ino()),
        numa_node: None,
    };
    Region::establish(shared, draft).unwrap()
}

fn is_direct(region: &Region) -> bool {
    region.staged_file().unwrap().is_direct()
}

fn bytes(region: &Region) -> Vec<u8> {
    let mut bytes = vec![0; region.len() as usize];
    region.read_at(0, &mut bytes).unwrap();
    bytes
}

#[test]
fn every_way_transfers_the_same_bytes() {
    let directory = tempfile::tempdir().unwrap();
    let runtime =
        Runtime::builder().engine(CpuEngine::new()).file_blocks(4, BLOCK).build().unwrap();
    let memory = runtime.allocate(LENGTH).unwrap();
    let model: Vec<u8> = (0..LENGTH).map(|n| (n * 31 + n / 251) as u8).collect();
    for way in [Way::AsItComes, Way::Buffered, Way::Refused] {
        let path = |name| directory.path().join(name);
        let (first, second) = (path("first"), path("second"));
        std::fs::write(&first, &model).unwrap();
        std::fs::write(&second, vec![0; LENGTH]).unwrap();
        let from = open(&memory, &first, way);
        let to = open(&memory, &second, way);
        let directly = (is_direct(&from), is_direct(&to));
        for (start, target) in [(0, 0), (1, 0), (0, 1), (4096, 4095), (777, 5000)] {
            let length = LENGTH as u64 - 5000;
            block_on(from.copy_to(start, &to, target, length)).unwrap();
            let (start, end) = (start as usize, (start + length) as usize);
            let (target, last) = (target as usize, (target + length) as usize);
            assert!(bytes(&to)[target..last] == model[start..end], "{way:?} {start} {target}");
            block_on(to.fill(target as u64, length, 0x0807_0605_0403_0201)).unwrap();
            let filled = bytes(&to);
            assert!(filled[target..last].iter().zip((1..=8).cycle()).all(|(&a, b)| a == b));
        }
        let expected = if way == Way::AsItComes { directly } else { (false, false) };
        assert_eq!(
            (is_direct(&from), is_direct(&to)),
            expected,
            "{way:?}: a wrong alignment shows as a refusal"
        );
    }
}
