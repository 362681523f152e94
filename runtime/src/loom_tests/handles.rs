//! The count of handles: what was done through one of them comes before the object's end, and that comes once.
#![allow(unsafe_code, reason = "island: an object that is written when it ends")]

use std::sync::Arc;

use loom::{
    cell::UnsafeCell,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use crate::handle::{Handle, Handles};

/// Writes its cell when it ends, which races with whoever is still at it.
struct Object {
    cell: UnsafeCell<u32>,
    ends: Arc<AtomicUsize>,
}

impl Object {
    fn handle(ends: &Arc<AtomicUsize>) -> Handle<Self> {
        Handle::new(Self { cell: UnsafeCell::new(0), ends: ends.clone() })
    }

    fn read(&self) {
        // SAFETY: nobody writes before the last handle is gone, and the caller has one.
        assert_eq!(self.cell.with(|cell| unsafe { *cell }), 0);
    }
}

impl Drop for Object {
    fn drop(&mut self) {
        // SAFETY: the last handle is gone.
        self.cell.with_mut(|cell| unsafe { *cell = 1 });
        self.ends.fetch_add(1, Ordering::Relaxed);
    }
}

// SAFETY: the cell is read through shared references, and written when there are none.
unsafe impl Sync for Object {}

#[test]
fn loom_an_object_ends_once_and_last() {
    loom::model(|| {
        let ends = Arc::new(AtomicUsize::new(0));
        let object = Object::handle(&ends);
        let other = object.clone();
        let thread = thread::spawn(move || {
            let mut kept = None;
            for handle in [other.clone(), other] {
                handle.read();
                Handles::put(&mut kept, handle);
            }
            drop(kept);
        });
        let mut kept = None;
        let given = Handles::take(&mut kept, &object);
        drop((kept, object));
        given.read();
        drop(given);
        thread.join().unwrap();
        assert_eq!(ends.load(Ordering::Relaxed), 1);
    });
}
