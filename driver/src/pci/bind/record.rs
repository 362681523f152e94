//! What a function had before it was bound: kept in a file, for the process that unbinds it.
//!
//! One file a function, under a directory that does not outlive a boot, as bindings do not. It is written before
//! anything is changed, whole or not at all, and removed when what it says has been restored.
#![forbid(unsafe_code)]

use std::{
    fs::{self, File},
    io,
    path::PathBuf,
};

use super::BindError;
use crate::pci::{Address, Function};

/// What a function had.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) driver: Option<String>,
    pub(super) driver_override: Option<String>,
}

impl Record {
    pub(super) fn of(function: &Function) -> Self {
        Self { driver: function.driver.clone(), driver_override: function.driver_override.clone() }
    }

    fn to_text(&self) -> String {
        let value = |value: &Option<String>| value.clone().unwrap_or_default();
        format!(
            "driver={}\ndriver_override={}\n",
            value(&self.driver),
            value(&self.driver_override)
        )
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let mut value = |name: &str| {
            let value = lines.next()?.strip_prefix(name)?.strip_prefix('=')?;
            // These become parts of paths.
            let is_name = !value.contains('/') && value != "..";
            is_name.then(|| Some(value.to_owned()).filter(|value| !value.is_empty()))
        };
        let record = Self { driver: value("driver")?, driver_override: value("driver_override")? };
        lines.next().is_none().then_some(record)
    }
}

/// The directory of records.
#[derive(Clone, Debug)]
pub(super) struct Records {
    directory: PathBuf,
}

impl Records {
    pub(super) fn at(directory: PathBuf) -> Self {
        Self { directory }
    }

    /// Keeps other processes from binding and unbinding until the file is dropped.
    pub(super) fn lock(&self) -> Result<File, BindError> {
        let path = self.directory.join("lock");
        fs::create_dir_all(&self.directory)
            .and_then(|()| File::create(&path))
            .and_then(|file| file.lock().map(|()| file))
            .map_err(|source| BindError::Record { path, source })
    }

    pub(super) fn load(&self, address: Address) -> Result<Option<Record>, BindError> {
        let path = self.path(address);
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            text => text,
        };
        let invalid = || io::Error::new(io::ErrorKind::InvalidData, "it is not as it was written");
        text.and_then(|text| Record::parse(&text).ok_or_else(invalid))
            .map(Some)
            .map_err(|source| BindError::Record { path, source })
    }

    pub(super) fn save(&self, address: Address, record: &Record) -> Result<(), BindError> {
        let path = self.path(address);
        let draft = path.with_extension("new");
        fs::write(&draft, record.to_text())
            .and_then(|()| fs::rename(&draft, &path))
            .map_err(|source| BindError::Record { path, source })
    }

    /// A record that stays does no harm: it is replaced by the next.
    pub(super) fn remove(&self, address: Address) {
        let path = self.path(address);
        if let Err(error) = fs::remove_file(&path) {
            tracing::warn!(path = %path.display(), %error, "a record of a binding was not removed");
        }
    }

    fn path(&self, address: Address) -> PathBuf {
        self.directory.join(address.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::{Record, Records};
    use crate::pci::BindError;

    #[test]
    fn records_come_back_as_they_were_saved() {
        let directory = tempfile::tempdir().unwrap();
        let records = Records::at(directory.path().join("run/bind"));
        let address = "0000:00:04.0".parse().unwrap();
        let _lock = records.lock().unwrap();
        assert_eq!(records.load(address).unwrap(), None);
        let full = Record { driver: Some("ioatdma".into()), driver_override: Some("x".into()) };
        for record in [full, Record::default()] {
            records.save(address, &record).unwrap();
            assert_eq!(records.load(address).unwrap(), Some(record));
        }
        records.remove(address);
        assert_eq!(records.load(address).unwrap(), None);
    }

    #[test]
    fn what_is_no_record_is_refused_with_its_path() {
        let directory = tempfile::tempdir().unwrap();
        let records = Records::at(directory.path().to_owned());
        let address = "0000:00:04.0".parse().unwrap();
        for text in [
            "",
            "driver=a\n",
            "driver=../a\ndriver_override=\n",
            "driver=\ndriver_override=\nmore\n",
        ] {
            std::fs::write(directory.path().join("0000:00:04.0"), text).unwrap();
            let error = records.load(address).unwrap_err();
            assert!(matches!(error, BindError::Record { .. }), "{text}: {error}");
            assert!(error.to_string().contains("0000:00:04.0"), "{error}");
        }
    }
}
