//! The command's main job, as a newcomer runs it, and what it leaves behind.

use std::{fs, path::Path};

use crate::{
    command::Run,
    failure::{Failure, Outcome},
};

const SIZE: usize = 64 << 20;

/// Copies between two allocated regions, then from file to file, and compares the files byte for byte; then
/// through the emulated device.
pub(crate) fn run() -> Outcome {
    dmaring().args(["copy", "--size", "8MiB"]).run()?;

    let directory = tempfile::tempdir().map_err(Failure::of("cannot make a directory"))?;
    let (source, destination) = (directory.path().join("a.img"), directory.path().join("b.img"));
    write(&source, &pattern(SIZE))?;
    dmaring().arg("copy").arg(&source).arg(&destination).args(["--size", "64MiB"]).run()?;
    compare(&source, &destination)?;
    dmaring().args(["copy", "--engine", "emulated", "--size", "8MiB"]).run()?;
    println!("the two files are equal: {SIZE} bytes");
    Ok(())
}

fn dmaring() -> Run {
    Run::cargo().args(["run", "--release", "--"]).limit(10)
}

/// Bytes of which no page is like another (xorshift, fixed seed).
fn pattern(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

fn compare(source: &Path, destination: &Path) -> Outcome {
    let (source_bytes, destination_bytes) = (bytes(source)?, bytes(destination)?);
    let (expected, found) = (source_bytes.len(), destination_bytes.len());
    if expected != found {
        let message = format!("the copy has {found} bytes, the source {expected}");
        return Err(Failure::new(message));
    }
    match source_bytes.iter().zip(&destination_bytes).position(|(one, other)| one != other) {
        None => Ok(()),
        Some(offset) => Err(Failure::new(format!("the copy differs at offset {offset} bytes"))),
    }
}

fn write(path: &Path, bytes: &[u8]) -> Outcome {
    fs::write(path, bytes).map_err(Failure::of(format!("cannot write {}", path.display())))
}

fn bytes(path: &Path) -> Outcome<Vec<u8>> {
    fs::read(path).map_err(Failure::of(format!("cannot read {}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::{compare, pattern, write};

    #[test]
    fn a_wrong_byte_and_a_short_copy_are_found() {
        let directory = tempfile::tempdir().unwrap();
        let (source, copy) = (directory.path().join("a"), directory.path().join("b"));
        let bytes = pattern(10_001);
        write(&source, &bytes).unwrap();

        write(&copy, &bytes).unwrap();
        compare(&source, &copy).unwrap();

        let mut wrong = bytes.clone();
        wrong[9_000] ^= 1;
        write(&copy, &wrong).unwrap();
        let failure = compare(&source, &copy).unwrap_err().to_string();
        assert_eq!(failure, "the copy differs at offset 9000 bytes");

        write(&copy, &bytes[..10_000]).unwrap();
        let failure = compare(&source, &copy).unwrap_err().to_string();
        assert_eq!(failure, "the copy has 10000 bytes, the source 10001");
    }
}
