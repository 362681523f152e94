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

/// The same in the midst of what must go on, whatever they do who hear what `log` says of a panic.
pub(crate) fn call_or_tell(code: impl FnOnce(), log: impl FnOnce()) {
    if call(code).is_none() {
        let _ = call(log);
    }
}
