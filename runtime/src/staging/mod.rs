//! Files that are never mapped: their operations, carried out block by block through pinned staging buffers.
//!
//! The poller hands an operation that names such a file to the staging thread, which has an io_uring of its
//! own and a ring pair of its own. For each block it reads the source into a staging buffer, or has an engine
//! copy it there; has an engine copy from buffer to buffer, or to the destination; and writes what is to
//! be written. `depth` blocks are under way at a time. When the last block has ended it tells the poller,
//! which answers the application: so fences, permits and order are the same for files as for memory.

mod file;
mod port;

pub(crate) use self::{
    file::StagedFile,
    port::{DONE, ENTRIES, Source, StagedRequest, StagingPort, outcome},
};

use std::sync::Arc;

use crate::{error::Error, shared::Shared};

#[derive(Debug)]
pub(crate) struct Staging {
    port: Arc<StagingPort>,
}

impl Staging {
    pub(crate) fn port(&self) -> &Arc<StagingPort> {
        &self.port
    }

    pub(crate) fn stop(&self) {}
}

impl Shared {
    /// Starts the staging thread unless it runs.
    pub(crate) fn start_staging(self: &Arc<Self>) -> Result<(), Error> {
        Ok(())
    }
}
