//! Making room in DST, and taking it back if nothing comes of the copy.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    fcntl::{FallocateFlags, fallocate},
};

use super::plan::{Change, Plan};
use crate::failure::Failure;

/// A DST file with room for the copy. Unless it is [kept](Prepared::keep), dropping it makes the file what it was.
#[derive(Debug)]
pub(crate) struct Prepared {
    file: File,
    path: PathBuf,
    undo: Undo,
}

#[derive(Clone, Copy, Debug)]
enum Undo {
    Nothing,
    Remove,
    Shrink { to: u64 },
}

impl Prepared {
    /// Creates or extends the file at `path` as planned, and has the file system reserve the range that will be written, so
    /// that a full disk refuses the copy instead of ending it.
    pub(crate) fn new(path: &Path, name: &str, plan: &Plan) -> Result<Self, Failure> {
        let refused = |why: String| Failure::refused(name, why);
        let mut options = OpenOptions::new();
        options.write(true);
        if let Change::Create { .. } = plan.change {
            if is_in_dev(path) {
                let why = "there is no such device, and no file is created in /dev: check the path";
                return Err(refused(why.into()));
            }
            options.create_new(true);
        }
        let file = options.open(path).map_err(|error| refused(open_error(&error)))?;
        let undo = match plan.change {
            Change::None => Undo::Nothing,
            Change::Create { .. } => Undo::Remove,
            Change::Extend { from, .. } => Undo::Shrink { to: from },
        };
        let prepared = Self { file, path: path.to_owned(), undo };
        if let Change::Create { length } | Change::Extend { to: length, .. } = plan.change {
            prepared
                .file
                .set_len(length)
                .map_err(|error| refused(format!("cannot make it {length} bytes long: {error}")))?;
        }
        prepared.reserve(plan).map_err(|errno| {
            let error = io::Error::from(errno);
            let size = plan.size;
            refused(match errno {
                Errno::ENOMEM => format!(
                    "cannot reserve {size} bytes: there are not enough free huge pages: `sudo sysctl vm.nr_hugepages=N` makes some, or use a smaller --size"
                ),
                _ => format!("cannot reserve {size} bytes: {error}: use a smaller --size"),
            })
        })?;
        Ok(prepared)
    }

    /// The file stays as it is from here on.
    pub(crate) fn keep(mut self) {
        self.undo = Undo::Nothing;
    }

    fn reserve(&self, plan: &Plan) -> Result<(), Errno> {
        let number = |bytes: u64| i64::try_from(bytes).map_err(|_| Errno::EFBIG);
        let (offset, size) = (number(plan.destination_offset)?, number(plan.size)?);
        loop {
            return match fallocate(&self.file, FallocateFlags::empty(), offset, size) {
                Err(Errno::EINTR) => continue,
                // Not every file system can; there a full disk shows while copying.
                Err(Errno::EOPNOTSUPP | Errno::ENOSYS) => Ok(()),
                outcome => outcome,
            };
        }
    }

    /// Whether the path still leads to the file that was created.
    fn is_still_there(&self) -> bool {
        let (Ok(ours), Ok(there)) = (self.file.metadata(), fs::symlink_metadata(&self.path)) else {
            return false;
        };
        (ours.dev(), ours.ino()) == (there.dev(), there.ino())
    }
}

impl Drop for Prepared {
    fn drop(&mut self) {
        // What cannot be undone is no worse than what is reported already.
        match self.undo {
            Undo::Nothing => {}
            Undo::Remove if self.is_still_there() => drop(fs::remove_file(&self.path)),
            Undo::Remove => {}
            Undo::Shrink { to } => drop(self.file.set_len(to)),
        }
    }
}

/// Device nodes are made by the kernel: a name without one is a mistake, and a file there would be in memory.
fn is_in_dev(path: &Path) -> bool {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    fs::canonicalize(parent).is_ok_and(|parent| parent == Path::new("/dev"))
}

fn open_error(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => {
            String::from("its directory does not exist: create that first, or check the path")
        }
        io::ErrorKind::AlreadyExists => {
            String::from("it was created by somebody else just now: try again")
        }
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::{Change, Plan, Prepared};

    fn plan(change: Change) -> Plan {
        Plan {
            source_offset: 0,
            destination_offset: 8,
            size: 92,
            block: 92,
            depth: 1,
            change,
            durable: false,
        }
    }

    fn prepare(path: &Path, change: Change) -> Prepared {
        Prepared::new(path, "DST", &plan(change)).unwrap()
    }

    #[test]
    fn a_created_file_is_removed_unless_kept() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("b.img");
        let prepared = prepare(&path, Change::Create { length: 100 });
        assert_eq!(fs::metadata(&path).unwrap().len(), 100);
        drop(prepared);
        assert!(!path.exists());
        prepare(&path, Change::Create { length: 100 }).keep();
        assert_eq!(fs::read(&path).unwrap(), [0; 100]);
    }

    #[test]
    fn a_file_that_took_the_place_of_the_created_one_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("b.img");
        let prepared = prepare(&path, Change::Create { length: 100 });
        fs::remove_file(&path).unwrap();
        fs::write(&path, "somebody else's").unwrap();
        drop(prepared);
        assert_eq!(fs::read(&path).unwrap(), b"somebody else's");
    }

    #[test]
    fn an_extended_file_shrinks_back_unless_kept() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("b.img");
        fs::write(&path, [7; 10]).unwrap();
        let change = Change::Extend { from: 10, to: 100 };
        drop(prepare(&path, change));
        assert_eq!(fs::read(&path).unwrap(), [7; 10]);
        prepare(&path, change).keep();
        assert_eq!(fs::metadata(&path).unwrap().len(), 100);
    }

    #[test]
    fn a_file_that_is_long_enough_is_not_changed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("b.img");
        fs::write(&path, [7; 200]).unwrap();
        drop(prepare(&path, Change::None));
        assert_eq!(fs::read(&path).unwrap(), [7; 200]);
    }

    #[test]
    fn no_file_is_created_among_devices() {
        for path in ["/dev/dmaring-test", "/dev/../dev/dmaring-test"] {
            let change = Change::Create { length: 100 };
            let failure = Prepared::new(Path::new(path), "DST", &plan(change)).unwrap_err();
            assert!(failure.to_string().contains("no such device"), "{failure}");
            assert!(!Path::new(path).exists());
        }
    }
}
