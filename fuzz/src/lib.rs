//! What the fuzz targets do with their input.
//!
//! A target is one module with one function, `run`, which takes bytes, does with the code under test what
//! they say, and panics where the code breaks a promise. `fuzz_targets/` hands libFuzzer's inputs to it;
//! the tests here hand it the kept corpus, on any toolchain.
//!
//! The bytes are read from the front by [`arbitrary::Unstructured`]: usually one that says what to do, then
//! its operands. Where they end, zeros follow, so every input means something.

pub mod device;
pub mod model;
pub mod parsers;
pub mod peer;
pub mod proxy;
pub mod ring;

mod memory;
mod numbers;

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    type Target = fn(&[u8]);

    /// Every target, by the name of its corpus.
    const TARGETS: &[(&str, Target)] = &[
        ("device", crate::device::run),
        ("model", crate::model::run),
        ("parsers", crate::parsers::run),
        ("peer", crate::peer::run),
        ("proxy", crate::proxy::run),
        ("ring", crate::ring::run),
    ];

    #[test]
    fn the_kept_corpus_still_passes() {
        for (name, run) in TARGETS {
            let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
            let inputs = fs::read_dir(&corpus).unwrap();
            let count = inputs.map(|input| run(&fs::read(input.unwrap().path()).unwrap())).count();
            assert!(count > 0, "{name}: no corpus in {}", corpus.display());
            run(&[]);
        }
    }
}
