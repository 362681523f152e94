//! Which engines an operation may go to: what the application chose, and how the poller reads it.
//!
//! The choice is a handful of numbers that change rarely and are read for each operation. Each is an atomic of its own:
//! while a choice is being changed, an operation may go by numbers of both, and is right all the same.

use std::sync::atomic::{
    AtomicBool, AtomicU8, AtomicU32, AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};

use crate::calibration::{Calibration, EngineFacts};

/// Which engines are near to an operation, where the NUMA nodes of engines and regions are known.
///
/// Engines that are near go before those that are not; where none of them can do an operation, because they were lost or
/// retired, others do. An engine whose node is not known is near to everything, and so are all engines to memory
/// whose node is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
#[repr(u8)]
pub enum Placement {
    /// Those on the node of the destination.
    #[default]
    LocalToDestination = 0,
    /// Those on the node of the source; of a fill, which has none, on that of the destination.
    LocalToSource = 1,
    /// All.
    Any = 2,
}

/// How an engine is chosen among those that are near and work.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub enum Policy {
    /// The one with the fewest bytes to do, the host's CPU like any other; large copies are
    /// [striped](crate::Builder::striping) over all.
    #[default]
    Balanced,
    /// As it was measured: copies below a certain length by the host's CPU, others by engines, and striped as that was fastest.
    Calibrated(Calibration),
}

/// How large copies are striped over engines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Striping {
    /// From how many bytes on an operation is striped; `u64::MAX`: none is.
    pub from: u64,
    /// How many bytes one engine gets at a time, at least 4096; rounded down to a multiple of 64, so that no stripe begins
    /// within a word of memory of a device. Whichever is through takes the next.
    pub stripe: u64,
}

impl Striping {
    /// No operation is striped.
    pub const OFF: Self = Self { from: u64::MAX, stripe: 1 << 20 };
    /// The shortest stripe, in bytes.
    pub(crate) const LEAST: u64 = 4096;
    /// What stripes are multiples of, in bytes: a cache line, and with it every width that memory of a device is reached in.
    const MULTIPLE: u64 = 64;
}

impl Default for Striping {
    /// From 4 MiB on, in stripes of 1 MiB.
    fn default() -> Self {
        Self { from: 4 << 20, stripe: 1 << 20 }
    }
}

/// A choice as numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Course {
    /// Operations below this many bytes are the host's CPU's, those from there on the others'; 0: all are anybody's.
    pub(crate) cpu_below: u64,
    pub(crate) striping: Striping,
    /// How many engines a striped operation goes to at most, the host's CPU not counted.
    pub(crate) engines: u32,
    /// Whether the host's CPU takes stripes, too.
    pub(crate) cpu_joins: bool,
}

/// Which kind of engine is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Any,
    /// One that is the host's CPU.
    Host,
    /// One that is not.
    Device,
}

/// How one operation is striped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stripes {
    pub(crate) stripe: u64,
    pub(crate) engines: u32,
    pub(crate) cpu_joins: bool,
}

#[derive(Debug)]
pub(crate) struct Steering {
    placement: AtomicU8,
    cpu_below: AtomicU64,
    stripe_from: AtomicU64,
    stripe: AtomicU64,
    engines: AtomicU32,
    cpu_joins: AtomicBool,
    /// A calibration says what is done, for the moment.
    measuring: AtomicBool,
}

impl Policy {
    /// What the poller is to do by this policy.
    ///
    /// # Errors
    ///
    /// Why the calibration is not one of these engines.
    pub(crate) fn course(
        &self,
        striping: Striping,
        engines: &[EngineFacts],
        pollers: &str,
    ) -> Result<Course, String> {
        match self {
            Self::Balanced => Ok(Course::balanced(striping)),
            Self::Calibrated(calibration) => {
                calibration.check_machine(engines, pollers).map(|()| calibration.course())
            }
        }
    }
}

impl Course {
    /// Every engine takes its share.
    pub(crate) fn balanced(striping: Striping) -> Self {
        Self { cpu_below: 0, striping, engines: u32::MAX, cpu_joins: true }
    }
}

impl Steering {
    pub(crate) fn new(placement: Placement, course: Course) -> Self {
        let steering = Self {
            placement: AtomicU8::new(placement as u8),
            cpu_below: AtomicU64::new(0),
            stripe_from: AtomicU64::new(u64::MAX),
            stripe: AtomicU64::new(Striping::LEAST),
            engines: AtomicU32::new(0),
            cpu_joins: AtomicBool::new(false),
            measuring: AtomicBool::new(false),
        };
        steering.set(course);
        steering
    }

    /// Changes the choice for operations that begin from now on.
    pub(crate) fn set(&self, course: Course) {
        self.cpu_below.store(course.cpu_below, Relaxed);
        let stripe = course.striping.stripe.max(Striping::LEAST) / Striping::MULTIPLE;
        self.stripe.store(stripe * Striping::MULTIPLE, Relaxed);
        self.engines.store(course.engines, Relaxed);
        self.cpu_joins.store(course.cpu_joins, Relaxed);
        self.stripe_from.store(course.striping.from, Relaxed);
    }

    /// Takes the choice for a calibration, which gives it back by `end_measuring`. `None`: another has it.
    pub(crate) fn begin_measuring(&self) -> Option<Course> {
        (!self.measuring.swap(true, Acquire)).then(|| self.course())
    }

    pub(crate) fn end_measuring(&self, before: Course) {
        self.set(before);
        self.measuring.store(false, Release);
    }

    /// Changes the choice, unless a calibration has it.
    pub(crate) fn try_set(&self, course: Course) -> bool {
        let free = !self.measuring.swap(true, Acquire);
        if free {
            self.end_measuring(course);
        }
        free
    }

    /// What was set last.
    fn course(&self) -> Course {
        Course {
            cpu_below: self.cpu_below.load(Relaxed),
            striping: Striping {
                from: self.stripe_from.load(Relaxed),
                stripe: self.stripe.load(Relaxed),
            },
            engines: self.engines.load(Relaxed),
            cpu_joins: self.cpu_joins.load(Relaxed),
        }
    }

    pub(crate) fn placement(&self) -> Placement {
        match self.placement.load(Relaxed) {
            0 => Placement::LocalToDestination,
            1 => Placement::LocalToSource,
            _ => Placement::Any,
        }
    }

    /// Which kind of engine an operation of this length is for.
    #[inline]
    pub(crate) fn kind(&self, length: u64) -> Kind {
        match self.cpu_below.load(Relaxed) {
            0 => Kind::Any,
            below if length < below => Kind::Host,
            _ => Kind::Device,
        }
    }

    /// How an operation of this length is striped, if it is.
    #[inline]
    pub(crate) fn stripes(&self, length: u64) -> Option<Stripes> {
        if length < self.stripe_from.load(Relaxed) {
            return None;
        }
        let stripe = self.stripe.load(Relaxed);
        (length > stripe).then(|| Stripes {
            stripe,
            engines: self.engines.load(Relaxed),
            cpu_joins: self.cpu_joins.load(Relaxed),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_decide_about_kind_and_stripes() {
        let striping = Striping { from: 8192, stripe: 4096 };
        let balanced = Steering::new(Placement::Any, Course::balanced(striping));
        assert_eq!((balanced.kind(0), balanced.kind(u64::MAX)), (Kind::Any, Kind::Any));
        assert_eq!(balanced.stripes(8191), None);
        assert_eq!(balanced.stripes(8192).map(|stripes| stripes.stripe), Some(4096));
        let course = Course { cpu_below: 100, engines: 2, cpu_joins: false, striping };
        balanced.set(course);
        assert_eq!(balanced.course(), course);
        assert_eq!((balanced.kind(99), balanced.kind(100)), (Kind::Host, Kind::Device));
        let expected = Stripes { stripe: 4096, engines: 2, cpu_joins: false };
        assert_eq!(balanced.stripes(u64::MAX), Some(expected));
        assert_eq!(balanced.placement(), Placement::Any);
        balanced.set(Course { striping: Striping { from: 0, stripe: 5001 }, ..course });
        assert_eq!(balanced.stripes(u64::MAX).map(|stripes| stripes.stripe), Some(4992));
    }

    #[test]
    fn one_calibration_at_a_time_has_the_choice_and_gives_it_back() {
        let steering = Steering::new(Placement::Any, Course::balanced(Striping::default()));
        let before = steering.begin_measuring().unwrap();
        assert_eq!(steering.begin_measuring(), None);
        let other = Course::balanced(Striping::OFF);
        assert!(!steering.try_set(other));
        steering.set(other);
        steering.end_measuring(before);
        assert_eq!(steering.course(), before);
        assert!(steering.try_set(other));
        assert_eq!(steering.begin_measuring(), Some(other));
    }

    #[test]
    fn what_is_no_longer_than_a_stripe_is_not_striped() {
        let striping = Striping { from: 0, stripe: 0 };
        let steering = Steering::new(Placement::default(), Course::balanced(striping));
        assert_eq!(steering.stripes(Striping::LEAST), None);
        assert!(steering.stripes(Striping::LEAST + 1).is_some());
        steering.set(Course::balanced(Striping::OFF));
        assert_eq!(steering.stripes(u64::MAX - 1), None);
    }
}
