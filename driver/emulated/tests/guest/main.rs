//! The device in a virtual machine, with everything of QEMU played by the tests: its memory, its chipset, its end of
//! the proxy and of qtest. Bytes and bits are typed from the facts.

mod control;
mod hostile;
mod interrupts;
mod proxy;
mod qtest;
mod rig;
mod server;
mod tables;
mod translation;
mod waiting;
