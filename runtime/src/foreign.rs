//! Calling code that is not ours: wakers, destructors of registered memory, engines' destructors.

use std::{
    mem,
    panic::{self, AssertUnwindSafe},
};

/// Calls `code`. `None`: it panicked. Nothing of the panic goes further, its payload's destructor included.
pub(crate) fn call<T>(code: impl FnOnce() -> T) -> Option<T> {
    match panic::catch_unwind(AssertUnwindSafe(code)) {
        Ok(value) => Some(value),
        Err(payload) => {
            mem::forget(payload);
            None
        }
    }
}
