//! A file that is served through staging buffers.

use std::{fs::File, os::unix::fs::FileExt, path::{Path, PathBuf}};

use crate::error::{Error, ErrorKind};

#[derive(Debug)]
pub(crate) struct StagedFile {
    path: PathBuf,
    file: File,
}

impl StagedFile {
    pub(crate) fn new(path: &Path, file: File, _length: u64, _writable: bool) -> Result<Self, Error> {
        Ok(Self { path: path.to_owned(), file })
    }

    pub(crate) fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), Error> {
        self.file.read_exact_at(buffer, offset).map_err(|error| self.failed(offset, error))
    }

    pub(crate) fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), Error> {
        self.file.write_all_at(bytes, offset).map_err(|error| self.failed(offset, error))
    }

    fn failed(&self, offset: u64, error: std::io::Error) -> Error {
        let message = format!("{}: at offset {offset}: {error}", self.path.display());
        Error::with_source(ErrorKind::Io, message, error)
    }
}
