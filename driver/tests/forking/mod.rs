//! A child after fork, to do checks in.
#![allow(unsafe_code, reason = "island: forks, and leaves the child without running destructors")]

use std::panic::{self, AssertUnwindSafe};

use nix::{
    libc,
    sys::wait::{WaitStatus, waitpid},
    unistd::{ForkResult, alarm, fork},
};

/// How long a child may take, in seconds. It is killed then.
const PATIENCE: u32 = 60;

/// Runs `check` in a child of this process. Fails when it panics there, or does not end.
pub(crate) fn in_child(check: impl FnOnce()) {
    // SAFETY: the child of a process with other threads may call async-signal-safe functions only. It allocates,
    // which the allocator of glibc and musl allows: it holds its locks over fork. It takes no other lock that
    // another thread of the parent may have held, unless it panics; then the alarm ends it.
    match unsafe { fork() }.unwrap() {
        ForkResult::Child => {
            alarm::set(PATIENCE);
            let outcome = panic::catch_unwind(AssertUnwindSafe(check));
            // SAFETY: leaves at once; nothing of the parent's is run at exit.
            unsafe { libc::_exit(outcome.is_err().into()) }
        }
        ForkResult::Parent { child } => {
            let status = waitpid(child, None).unwrap();
            assert_eq!(status, WaitStatus::Exited(child, 0), "the child's checks failed");
        }
    }
}
