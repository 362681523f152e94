//! What goes to the output: text for people, or one JSON object.

use std::{
    fmt,
    io::{self, Write},
};

use serde::Serialize;

use crate::failure::Failure;

/// Prints a report. A reader that has left is no failure.
pub(crate) fn print<R: fmt::Display + Serialize>(report: &R, json: bool) -> Result<(), Failure> {
    let mut output = io::stdout().lock();
    let written = if json {
        serde_json::to_writer(&mut output, report)
            .map_err(io::Error::from)
            .and_then(|()| writeln!(output))
    } else {
        write!(output, "{report}")
    };
    match written.and_then(|()| output.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::Failed(format!("the report cannot be written: {error}")))
        }
        _ => Ok(()),
    }
}
