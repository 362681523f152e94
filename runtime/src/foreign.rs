//! Calling code that is not ours: wakers, destructors of registered memory, engines' destructors, and whoever hears what is logged.

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

/// Logs something in the midst of what must go on, whatever they do who hear it.
pub(crate) fn tell(log: impl FnOnce()) {
    let _ = call(log);
}
