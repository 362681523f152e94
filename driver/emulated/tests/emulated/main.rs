//! The device from outside: registers and descriptors, as a driver would write them.

mod causes;
mod clock;
mod config;
mod domain;
mod hostile;
mod plan;
mod registers;
mod rig;
mod states;
mod transfers;
