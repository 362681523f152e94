//! Counted handles of one object, of which many are had or let go with one locked instruction.
//!
//! A handle is what `std::sync::Arc` is, but that there are no weak ones. What an `Arc` has not is [`Handles`]: many of one object
//! in one hand, of which each is given out or taken back without a look at the count. An operation has a handle of each of its
//! regions, and operations that begin or end together mostly have the same ones.
//!
//! The count says how many there are, those in a hand included. Who takes it to zero frees the object: the others' decrements are
//! releases, and an acquire fence follows the last, so that whatever any of them did to the object comes before its end.
#![allow(unsafe_code, reason = "island: an object is freed with its last handle")]

use std::{
    fmt,
    mem::{self, ManuallyDrop},
    ops::Deref,
    process,
    ptr::NonNull,
};

use crate::sync::{AtomicU64, Ordering, fence};

/// How many are taken together.
const TOGETHER: u64 = 16;
/// More are never counted: as many as could not be kept anywhere are forgotten ones.
const MOST: u64 = i64::MAX as u64;

/// One handle of an object.
pub(crate) struct Handle<T>(NonNull<Counted<T>>);

/// One or more handles of an object, in one hand.
#[cfg_attr(loom, allow(dead_code, reason = "its users are not built under loom"))]
pub(crate) struct Handles<T> {
    one: ManuallyDrop<Handle<T>>,
    /// How many there are besides.
    more: u64,
}

/// The count stands at the beginning of a line, and behind it the object.
#[repr(C, align(64))]
struct Counted<T> {
    count: AtomicU64,
    object: T,
}

/// Whether so many bytes of an object, the first, share the line of its count.
#[cfg_attr(loom, allow(dead_code, reason = "its users are not built under loom"))]
pub(crate) const fn is_beside_the_count<T>(bytes: usize) -> bool {
    mem::offset_of!(Counted<T>, object) + bytes <= 64
}

// SAFETY: a handle gives shared references to the object, from any thread that has it, and the last one drops the object, wherever
// it is: as with `Arc`, both need `T: Send + Sync`.
unsafe impl<T: Send + Sync> Send for Handle<T> {}
// SAFETY: as above; through a shared handle others are made.
unsafe impl<T: Send + Sync> Sync for Handle<T> {}

impl<T> Handle<T> {
    pub(crate) fn new(object: T) -> Self {
        let counted = Box::new(Counted { count: AtomicU64::new(1), object });
        Self(NonNull::from(Box::leak(counted)))
    }

    /// Whether both are of the same object.
    #[inline]
    pub(crate) fn is_of(&self, other: &Self) -> bool {
        self.0 == other.0
    }

    /// Where the object is: no two that are there at one time are at one place.
    #[inline]
    #[cfg_attr(loom, allow(dead_code, reason = "its users are not built under loom"))]
    pub(crate) fn address(&self) -> usize {
        self.0.addr().get()
    }

    /// How many there are. Who is told that there is one sees what was done by those that are gone.
    #[cfg_attr(loom, allow(dead_code, reason = "its users are not built under loom"))]
    pub(crate) fn count(&self) -> u64 {
        self.counted().count.load(Ordering::Acquire)
    }

    /// The object, if there is no other handle.
    #[cfg(all(test, not(loom)))]
    pub(crate) fn get_mut(&mut self) -> Option<&mut T> {
        if self.count() > 1 {
            return None;
        }
        // SAFETY: there is no other handle to make more of, and this one is borrowed as long as the reference lives.
        Some(unsafe { &mut self.0.as_mut().object })
    }

    #[inline]
    fn counted(&self) -> &Counted<T> {
        // SAFETY: the object is freed with the last handle, and this is one.
        unsafe { self.0.as_ref() }
    }

    /// Counts more handles, which the caller makes.
    #[inline]
    fn add(&self, more: u64) {
        // Who counts has a handle, so the object stays. As with `Arc`, a count that runs over would free it too early.
        if self.counted().count.fetch_add(more, Ordering::Relaxed) > MOST {
            process::abort();
        }
    }

    /// Takes handles off the count, and frees the object with the last.
    ///
    /// # Safety
    ///
    /// The caller has so many handles, this among them, and uses none of them again.
    #[inline]
    unsafe fn let_go(&self, handles: u64) {
        if self.counted().count.fetch_sub(handles, Ordering::Release) == handles {
            fence(Ordering::Acquire);
            // SAFETY: as the caller swears, and there were no others: nobody has a handle, nor makes one.
            unsafe { free(self.0) };
        }
    }
}

/// # Safety
///
/// No handle of the object is used again.
#[cold]
unsafe fn free<T>(counted: NonNull<Counted<T>>) {
    // SAFETY: it was made from a box in `Handle::new`, and is turned into one again once, as the caller swears.
    drop(unsafe { Box::from_raw(counted.as_ptr()) });
}

impl<T> Clone for Handle<T> {
    #[inline]
    fn clone(&self) -> Self {
        self.add(1);
        Self(self.0)
    }
}

impl<T> Drop for Handle<T> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: this is one, and ends here.
        unsafe { self.let_go(1) };
    }
}

impl<T> Deref for Handle<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.counted().object
    }
}

#[cfg_attr(loom, allow(dead_code, reason = "its users are not built under loom"))]
impl<T> Handles<T> {
    /// Gives out a handle of the object that `of` is one of. Of each [`TOGETHER`] one has the others counted with it, which are kept
    /// for the next. What was kept of another object is let go.
    #[inline]
    pub(crate) fn take(kept: &mut Option<Self>, of: &Handle<T>) -> Handle<T> {
        if let Some(hand) = kept
            && hand.one.is_of(of)
        {
            if hand.more > 0 {
                hand.more -= 1;
            } else {
                mem::forget(kept.take());
            }
            return Handle(of.0);
        }
        // One for the caller, the others stay.
        of.add(TOGETHER);
        let given = Handle(of.0);
        *kept = Some(Self { one: ManuallyDrop::new(Handle(of.0)), more: TOGETHER - 2 });
        given
    }

    /// Takes a handle to those that are kept, to be let go with them. What was kept of another object is let go.
    #[inline]
    pub(crate) fn put(kept: &mut Option<Self>, handle: Handle<T>) {
        match kept {
            Some(kept) if kept.one.is_of(&handle) => {
                kept.more += 1;
                mem::forget(handle);
            }
            _ => *kept = Some(Self { one: ManuallyDrop::new(handle), more: 0 }),
        }
    }
}

impl<T> Drop for Handles<T> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: it has one and so many more, each of them made by `add` or forgotten by whoever put it here.
        unsafe { self.one.let_go(self.more + 1) };
    }
}

impl<T> fmt::Debug for Handles<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handles").field("count", &(self.more + 1)).finish_non_exhaustive()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::{cell::Cell, rc::Rc};

    use super::*;

    /// Counts how often it is dropped.
    struct Object(Rc<Cell<u32>>);

    impl Drop for Object {
        fn drop(&mut self) {
            self.0.set(self.0.get() + 1);
        }
    }

    fn object() -> (Handle<Object>, Rc<Cell<u32>>) {
        let ends = Rc::new(Cell::new(0));
        (Handle::new(Object(ends.clone())), ends)
    }

    #[test]
    fn the_last_handle_ends_its_object() {
        let (mut handle, ends) = object();
        assert!(handle.get_mut().is_some());
        let another = handle.clone();
        assert!(handle.get_mut().is_none() && handle.is_of(&another));
        assert_eq!((handle.count(), another.count()), (2, 2));
        drop(handle);
        assert_eq!((another.count(), ends.get()), (1, 0));
        drop(another);
        assert_eq!(ends.get(), 1);
    }

    #[test]
    fn handles_that_are_given_out_are_counted_and_those_at_hand_are_let_go() {
        let (one, ends) = object();
        let mut kept = None;
        let mut given: Vec<_> = (0..TOGETHER).map(|_| Handles::take(&mut kept, &one)).collect();
        assert!(kept.is_none(), "all were given out");
        assert_eq!(one.count(), TOGETHER + 1);
        given.push(Handles::take(&mut kept, &one));
        assert_eq!(one.count(), 2 * TOGETHER + 1);
        given.push(Handles::take(&mut kept, &one));
        drop(kept);
        assert_eq!(one.count(), given.len() as u64 + 1);
        drop((one, given));
        assert_eq!(ends.get(), 1);
    }

    #[test]
    fn those_at_hand_keep_the_object_until_another_is_asked_for() {
        let ((one, ends), (two, others)) = (object(), object());
        let mut kept = None;
        drop((Handles::take(&mut kept, &one), one));
        assert_eq!(ends.get(), 0);
        let given = Handles::take(&mut kept, &two);
        assert_eq!((ends.get(), given.is_of(&two)), (1, true));
        drop((kept, two));
        assert_eq!((given.count(), others.get()), (1, 0));
    }

    #[test]
    fn what_is_put_together_is_let_go_together() {
        let ((one, ends), (two, others)) = (object(), object());
        let mut kept = None;
        for handle in [one.clone(), one.clone(), one.clone()] {
            Handles::put(&mut kept, handle);
        }
        assert_eq!(one.count(), 4, "none is gone");
        Handles::put(&mut kept, two.clone());
        assert_eq!((one.count(), two.count()), (1, 2));
        Handles::put(&mut kept, two);
        Handles::put(&mut kept, one);
        assert_eq!((ends.get(), others.get()), (0, 1));
        drop(kept);
        assert_eq!((ends.get(), others.get()), (1, 1));
    }
}
