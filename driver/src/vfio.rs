//! VFIO: functions and their memory, in the hands of this process.
//!
//! A [`Container`] is one IOMMU address space. A function is opened in it in this order, each step undone when a later
//! one fails:
//!
//! 1. whatever can be wrong is looked for first ([`check`]), so that the error names what mends it;
//! 2. the group is opened and joins the container, the function is opened, and the addresses that can be mapped are read
//!    again, since each function may narrow them;
//! 3. the function is reset, where it can be: whoever had it before may have been killed in the middle of a copy;
//! 4. memory space and bus mastering are switched on, INTx, relaxed ordering and no-snoop off. No interrupt is ever set
//!    up, so MSI-X stays off as VFIO left it;
//! 5. BAR 0 is mapped ([`Bar`]), with memory space on, since an access would kill the process else.
//!
//! [`Bar`], [`Config`] and the function's way back hold the function together; whoever drives it holds the address space. The function's
//! descriptor belongs to what they share, the group's and the container's to vfio-ioctls' container, which lives as long
//! as the last of [`Container`], those three and address space. All of them are closed on exec.
//!
//! Closing: when those three are gone, BAR 0 is unmapped and bus mastering is off, so that nothing reaches
//! memory. The function is closed then, and the kernel resets it, unless it is the container's last and something is
//! mapped: the mappings would go with it. It is closed when the last of them is undone. What a killed process leaves
//! behind the kernel closes in the same way.
//!
//! The kernel may ask for a function back while it is in use: see `recall`.

mod bar;
mod book;
mod calls;
mod container;
mod device;
mod error;
mod info;
mod lease;
mod map;
mod parts;
mod peer;
mod preflight;
mod recall;
mod space;

pub use bar::Bar;
pub use container::Container;
pub use error::Error;
pub use lease::Config;
pub use map::{locked_memory, may_lock_memory};
pub use parts::MapProgress;
pub use preflight::check;

pub(crate) use container::{Opened, check_system};
pub(crate) use lease::Lease;
pub(crate) use recall::Recall;
