//! Copies between any two kinds of location that need no hardware, verified by the command and compared here. Devdax nodes,
//! files on hugetlbfs and BARs are the virtual machine's.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::scratch::{Scratch, succeed};

const SIZE: usize = 300_001;

/// A kind of location, and the file behind it, where there is one.
struct Place {
    name: String,
    file: Option<PathBuf>,
}

impl Place {
    fn memory() -> Self {
        Self { name: String::from("mem"), file: None }
    }

    fn file(directory: &Path, name: &str) -> Self {
        let path = directory.join(name);
        Self { name: path.display().to_string(), file: Some(path) }
    }

    /// What is at `offset`; of memory nobody knows.
    fn bytes(&self, offset: usize) -> Option<Vec<u8>> {
        let bytes = fs::read(self.file.as_ref()?).unwrap();
        Some(bytes[offset..offset + SIZE].to_vec())
    }
}

fn places(disk: &Scratch, tmpfs: &Scratch, role: &str) -> [Place; 3] {
    [Place::memory(), Place::file(disk.path(), role), Place::file(tmpfs.path(), role)]
}

#[test]
fn every_pair_is_copied_and_equal() {
    for engine in
        ["--engine cpu", "--engine emulated --channels 2", "--engine emulated --engine cpu"]
    {
        let (disk, tmpfs) = (Scratch::on_disk(), Scratch::on_tmpfs());
        for (number, from) in places(&disk, &tmpfs, "source").iter().enumerate() {
            if from.file.is_some() {
                let length = SIZE + 100;
                let fill = format!("{engine} --size {length} mem {}", from.name);
                succeed(&mut disk.copy(&fill));
            }
            for (other, to) in places(&disk, &tmpfs, "destination").iter().enumerate() {
                let (source, destination) = (number * 7 + 1, other * 13 + 3);
                let line = format!(
                    "{engine} --block 65537 --src-offset {source} --dst-offset {destination} --size {SIZE} --extend {} {}",
                    from.name, to.name
                );
                let text = succeed(&mut disk.copy(&line));
                assert!(text.contains(&format!("verified: {SIZE} bytes equal")), "{line}: {text}");
                if let (Some(one), Some(two)) = (from.bytes(source), to.bytes(destination)) {
                    assert!(one == two, "{line}");
                    assert!(one.iter().any(|byte| *byte != 0), "{line}: nothing was copied");
                }
            }
        }
    }
}
