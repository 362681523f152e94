//! What a function had before it was bound: kept in a file, for the process that unbinds it.
//!
//! One file a function, under a directory that does not outlive a boot, as bindings do not. It is written before
//! anything is changed, whole or not at all, and removed when what it says has been restored.
//!
//! Somebody else may have unbound the function since, and bound it in his own way: a record is one of the function as it
//! is only while the override says that `vfio-pci` is to have it. When the function is given back what it had, the
//! override goes first, so the record is marked `restoring` before: it holds then until all is as it says.
#![forbid(unsafe_code)]

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Write},
    path::PathBuf,
    sync::mpsc,
    thread,
    time::Duration,
};

use super::{BindError, VFIO_DRIVER};
use crate::pci::{Address, Function};

/// How long the lock is waited for: binding a function takes some milliseconds.
const PATIENCE: Duration = Duration::from_secs(5);

/// What a function had.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) driver: Option<String>,
    pub(super) driver_override: Option<String>,
    /// Whether the function is being given it back.
    pub(super) restoring: bool,
}

impl Record {
    /// What a function has.
    pub(super) fn of(function: &Function, driver_override: Option<String>) -> Self {
        Self { driver: function.driver.clone(), driver_override, restoring: false }
    }

    /// What a bound function has.
    pub(super) fn bound() -> Self {
        let name = Some(VFIO_DRIVER.to_owned());
        Self { driver: name.clone(), driver_override: name, restoring: false }
    }

    pub(super) fn with_restoring(&self, restoring: bool) -> Self {
        Self { restoring, ..self.clone() }
    }

    /// Whether a function that has `now` is bound, or half-way there or back, and this is what it had.
    pub(super) fn is_of(&self, now: &Self) -> bool {
        let Self { driver, driver_override, .. } = now;
        let Self { driver: old_driver, driver_override: old_override, .. } = self;
        if (driver, driver_override) == (old_driver, old_override) {
            return false;
        }
        // Whatever else it has somebody else gave it.
        let vfio = Some(VFIO_DRIVER.to_owned());
        [&None, &vfio, old_driver].contains(&driver)
            && [&None, &vfio, old_driver, old_override].contains(&driver_override)
            && (*driver_override == vfio || self.restoring)
    }

    fn to_text(&self) -> String {
        let value = |value: &Option<String>| value.clone().unwrap_or_default();
        format!(
            "driver={}\ndriver_override={}\nrestoring={}\n",
            value(&self.driver),
            value(&self.driver_override),
            self.restoring
        )
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let mut value = |name: &str| lines.next()?.strip_prefix(name)?.strip_prefix('=');
        // These become parts of paths.
        let name = |text: &str| (!text.contains('/') && text != "..").then(|| text.to_owned());
        let given = |name: &String| !name.is_empty();
        let record = Self {
            driver: Some(name(value("driver")?)?).filter(given),
            driver_override: Some(name(value("driver_override")?)?).filter(given),
            restoring: value("restoring")?.parse().ok()?,
        };
        lines.next().is_none().then_some(record)
    }
}

/// The directory of records.
#[derive(Clone, Debug)]
pub(super) struct Records {
    directory: PathBuf,
    /// How long the lock is waited for.
    pub(super) patience: Duration,
}

impl Records {
    pub(super) fn at(directory: PathBuf) -> Self {
        Self { directory, patience: PATIENCE }
    }

    /// Keeps other processes from binding and unbinding until the file is dropped. Whoever has it says so in it.
    pub(super) fn lock(&self) -> Result<File, BindError> {
        let path = self.directory.join("lock");
        let failed = |source| BindError::Record { path: path.clone(), source };
        let file = fs::create_dir_all(&self.directory)
            .and_then(|()| OpenOptions::new().write(true).create(true).truncate(false).open(&path))
            .map_err(failed)?;
        let Some(locked) = lock_within(file, self.patience) else {
            // Whoever has it may just be about to write who he is.
            let pid = fs::read_to_string(&path).ok().and_then(|text| text.parse().ok());
            return Err(BindError::Locked { path, pid, waited: self.patience });
        };
        let mut file = locked.map_err(failed)?;
        file.set_len(0).and_then(|()| write!(file, "{}", std::process::id())).map_err(failed)?;
        Ok(file)
    }

    pub(super) fn load(&self, address: Address) -> Result<Option<Record>, BindError> {
        let path = self.path(address);
        match fs::read_to_string(&path) {
            Ok(text) => Record::parse(&text).map(Some).ok_or(BindError::Damaged { path }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                Err(BindError::Damaged { path })
            }
            Err(source) => Err(BindError::Record { path, source }),
        }
    }

    pub(super) fn save(&self, address: Address, record: &Record) -> Result<(), BindError> {
        let path = self.path(address);
        let draft = path.with_extension("new");
        fs::write(&draft, record.to_text())
            .and_then(|()| fs::rename(&draft, &path))
            .map_err(|source| BindError::Record { path, source })
    }

    /// Saves how far it has come, where the function is what matters more.
    pub(super) fn note(&self, address: Address, record: &Record) {
        if let Err(error) = self.save(address, record) {
            tracing::warn!(%address, %error, "a record of a binding was not brought up to date");
        }
    }

    /// A record that stays does no harm: it is of no function that has what it says.
    pub(super) fn remove(&self, address: Address) {
        let path = self.path(address);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(path = %path.display(), %error, "a record of a binding was not removed");
            }
            _ => {}
        }
    }

    fn path(&self, address: Address) -> PathBuf {
        self.directory.join(address.to_string())
    }
}

/// The file, locked; nothing if that takes longer than `patience`.
///
/// The kernel has no limit on how long a lock is waited for, so that a thread waits. When nobody wants the lock any more,
/// it gets it later, and drops it.
fn lock_within(file: File, patience: Duration) -> Option<io::Result<File>> {
    match file.try_lock() {
        Ok(()) => return Some(Ok(file)),
        Err(TryLockError::Error(error)) => return Some(Err(error)),
        Err(TryLockError::WouldBlock) => {}
    }
    let (sender, receiver) = mpsc::channel();
    let wait = move || drop(sender.send(file.lock().map(|()| file)));
    if let Err(error) = thread::Builder::new().spawn(wait) {
        return Some(Err(error));
    }
    receiver.recv_timeout(patience).ok()
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
        let full = Record {
            driver: Some("ioatdma".into()),
            driver_override: Some("x".into()),
            restoring: true,
        };
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
            "driver=\ndriver_override=\n",
            "driver=../a\ndriver_override=\nrestoring=false\n",
            "driver=\ndriver_override=..\nrestoring=false\n",
            "driver=\ndriver_override=\nrestoring=maybe\n",
            "driver=\ndriver_override=\nrestoring=true\nmore\n",
            "\u{0}\u{1}",
        ] {
            std::fs::write(directory.path().join("0000:00:04.0"), text).unwrap();
            let error = records.load(address).unwrap_err();
            assert!(matches!(error, BindError::Damaged { .. }), "{text}: {error}");
            assert!(error.to_string().contains("`sudo rm "), "{error}");
            assert!(error.to_string().contains("0000:00:04.0"), "{error}");
        }
    }
}
