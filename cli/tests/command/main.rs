//! The command as its users meet it: the real binary, its exit codes, its output and the files it leaves.

mod bench;
mod copies;
mod failures;
mod hardware;
mod privileges;
mod refusals;
mod scratch;
mod top;
mod usage;
