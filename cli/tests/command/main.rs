//! The command as its users meet it: the real binary, its exit codes, its output and the files it leaves.

mod bench;
mod calibrate;
mod copies;
mod failures;
mod hardware;
mod locations;
mod privileges;
mod refusals;
mod scratch;
mod top;
mod usage;
