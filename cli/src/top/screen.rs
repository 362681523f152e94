//! Where readings go: drawn over each other on a terminal, one after the other elsewhere.

use std::{
    io::{self, Write},
    ops::ControlFlow,
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::Shown;
use crate::failure::Failure;

#[derive(Debug)]
pub(super) struct Screen {
    /// Text that is drawn in place, where there is a terminal that can.
    drawn: Option<ProgressBar>,
}

impl Screen {
    /// `redraws`: in place, if the terminal can.
    pub(super) fn new(redraws: bool) -> Self {
        let drawn = redraws.then(|| {
            let style = ProgressStyle::with_template("{msg}")
                .unwrap_or_else(|_| ProgressStyle::default_bar());
            let target = ProgressDrawTarget::stdout();
            ProgressBar::with_draw_target(None, target).with_style(style)
        });
        // A terminal without the means, a dumb one, is given one text after the other.
        Self { drawn: drawn.filter(|bar| !bar.is_hidden()) }
    }

    /// Shows a reading. `Break`: nobody reads any more.
    pub(super) fn show(&mut self, text: &str) -> Shown {
        match &self.drawn {
            Some(bar) => {
                bar.set_message(text.trim_end().to_owned());
                bar.force_draw();
                Ok(ControlFlow::Continue(()))
            }
            None => write(text),
        }
    }

    /// Says something that stays where it is.
    pub(super) fn tell(&mut self, text: &str) -> Shown {
        if text.is_empty() {
            return Ok(ControlFlow::Continue(()));
        }
        match &self.drawn {
            Some(bar) => {
                bar.println(text.trim_end());
                Ok(ControlFlow::Continue(()))
            }
            None => write(text),
        }
    }
}

impl Drop for Screen {
    /// The last reading stays to be seen.
    fn drop(&mut self) {
        if let Some(bar) = &self.drawn {
            bar.abandon();
        }
    }
}

fn write(text: &str) -> Shown {
    let mut output = io::stdout().lock();
    match output.write_all(text.as_bytes()).and_then(|()| output.flush()) {
        Ok(()) => Ok(ControlFlow::Continue(())),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(ControlFlow::Break(())),
        Err(error) => Err(Failure::Failed(format!("the figures cannot be written: {error}"))),
    }
}
