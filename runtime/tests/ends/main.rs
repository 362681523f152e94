//! How regions end while they have handles: closed, given back to whoever registered them, replaced with zeroes.
#![cfg(all(not(loom), not(miri)))]

#[path = "../common/mod.rs"]
mod common;

mod bounce;
mod buffers;
mod closing;
mod views;
mod zeroes;
