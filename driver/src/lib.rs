//! Drivers of DMA copy engines, in user space.
//!
//! [`ioat`] drives a channel of Intel I/OAT (CBDMA, QuickData) hardware, versions 3.0 to 3.4, as an
//! [`Engine`](dmaring_engine::Engine). It reaches registers through
//! [`RegisterIo`](dmaring_ioat_spec::RegisterIo) and memory through [`DmaMap`](dmaring_engine::DmaMap), and
//! does not know who asks for copies. [`pci`] finds functions and binds them to vfio-pci, [`vfio`] opens them and maps
//! memory for them; [`IoatChannel::open`] joins these.

mod fork;
pub mod ioat;
pub mod pci;
pub mod vfio;

pub use ioat::IoatChannel;
