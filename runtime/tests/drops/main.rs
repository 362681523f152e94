//! Whatever is dropped or forgotten, in whatever order: no memory is touched after it was given back, none is
//! given back twice, and every operation that the engine has taken ends.
//!
//! The manual engine holds the copies meanwhile, and its domain records a mapping that went too early. Under
//! Miri the memory itself tells, and so "forgotten" is kept there to the end of the test: it would be a leak.
#![cfg(not(loom))]

#[path = "../common/mod.rs"]
mod common;
mod copies;
mod late;
mod orders;
mod runtimes;
mod waiters;

use std::{any::Any, mem};

use common::eventually;
use dmaring_manual::Control;

/// What was forgotten. Nobody touches it any more.
#[derive(Default)]
struct Forgotten(Vec<Box<dyn Any>>);

impl Forgotten {
    fn forget<T: 'static>(&mut self, value: T) {
        if cfg!(miri) {
            self.0.push(Box::new(value));
        } else {
            mem::forget(value);
        }
    }
}

fn assert_clean(control: &Control) {
    eventually("the unmapping", || control.domain().live() == 0);
    assert_eq!(control.violations(), []);
}
