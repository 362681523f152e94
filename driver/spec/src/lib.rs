//! I/OAT (CBDMA, QuickData) as data: what versions 3.0 to 3.4 put in registers, descriptors and PCI.
//!
//! A driver and a model of the device both read this crate and nothing of each other. It knows no
//! MMIO, no memory and no error type of anybody's: it gives names, offsets and bits, and turns words
//! into typed values and back. Decoding never fails and never panics: whatever a device puts in a
//! word has a value here, the unknown included.
//!
//! - [`registers`]: where each register is, how wide, what a read and a write do, and views of the values.
//! - [`descriptor`]: the 64-byte descriptor and its control word.
//! - [`chanerr`]: the causes of an error, by bit.
//! - [`device`]: PCI ids, platforms and what is particular to each.
//!
//! # Sources
//!
//! Facts come from public drivers and one public datasheet, and each is marked with where it was read:
//!
//! | mark | source |
//! | --- | --- |
//! | Linux | `drivers/dma/ioat` of the Linux kernel |
//! | SPDK | `include/spdk/ioat_spec.h` and `lib/ioat` of SPDK |
//! | DPDK | `drivers/dma/ioat` of DPDK |
//! | FreeBSD | `sys/dev/ioat` of FreeBSD |
//! | datasheet | Intel Xeon Processor E7-2800/4800/8800 v2, Datasheet Volume Two, chapters 14.4 and 14.5 |
//!
//! Where no source settles something, the text says so; it is then neither promised to a driver nor
//! binding on a model.
#![no_std]

pub mod chanerr;
pub mod descriptor;
pub mod device;
mod register_io;
pub mod registers;
pub use register_io::{ConfigIo, RegisterIo};
