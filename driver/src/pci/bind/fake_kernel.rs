//! What the kernel does on writes to a tree of tests.

use std::{
    fs, io,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use super::attributes::Attributes;

/// Carries writes out in a tree, and fails those that it was told to.
#[derive(Clone, Debug, Default)]
pub(super) struct FakeKernel(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    sysfs: PathBuf,
    writes: Vec<String>,
    failing: Vec<usize>,
    /// The process is killed before the write of this number.
    killed_at: Option<usize>,
    denied: bool,
    /// A driver that takes no function, without an error.
    reluctant: Option<String>,
}

impl FakeKernel {
    pub(super) fn of(sysfs: PathBuf) -> Self {
        let kernel = Self::default();
        kernel.state().sysfs = sysfs;
        kernel
    }

    /// The writes of these numbers, from 0, fail.
    pub(super) fn fail(&self, numbers: &[usize]) {
        let mut state = self.state();
        state.writes.clear();
        state.failing = numbers.to_vec();
    }

    /// Whatever writes is killed before its write of this number, from 0, if it comes to that.
    pub(super) fn kill_at(&self, number: Option<usize>) {
        let mut state = self.state();
        state.writes.clear();
        state.killed_at = number;
    }

    pub(super) fn deny(&self) {
        self.state().denied = true;
    }

    pub(super) fn make_reluctant(&self, driver: &str) {
        self.state().reluctant = Some(driver.to_owned());
    }

    /// What was written, as `file=text`.
    pub(super) fn writes(&self) -> Vec<String> {
        std::mem::take(&mut self.state().writes)
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }
}

impl Attributes for FakeKernel {
    fn check(&self, _: &Path) -> io::Result<()> {
        if self.state().denied { Err(io::ErrorKind::PermissionDenied.into()) } else { Ok(()) }
    }

    fn write(&self, path: &Path, text: &str) -> io::Result<()> {
        let mut state = self.state();
        let number = state.writes.len();
        if state.killed_at == Some(number) {
            drop(state);
            // Nothing runs any more but what the kernel does itself: files are closed.
            std::panic::resume_unwind(Box::new("killed"));
        }
        let name = path.file_name().unwrap().to_str().unwrap();
        state.writes.push(format!("{name}={}", text.trim_end()));
        if state.failing.contains(&number) {
            return Err(io::Error::other("planted"));
        }
        if name == "driver_override" {
            let text = if text.trim().is_empty() { "(null)\n" } else { text };
            return fs::write(path, text);
        }
        let function = state.sysfs.join("bus/pci/devices").join(text);
        let link = function.join("driver");
        let driver = path.parent().unwrap().file_name().unwrap();
        let bound = fs::read_link(&link).ok();
        let absent = || Err(io::Error::from_raw_os_error(19));
        match name {
            "unbind" if bound.as_ref().is_some_and(|bound| bound.file_name() == Some(driver)) => {
                fs::remove_file(link)
            }
            "bind" if bound.is_none() => {
                let allowed = fs::read_to_string(function.join("driver_override"))?;
                let allowed = allowed.trim();
                if allowed != "(null)" && Some(allowed) != driver.to_str() {
                    return absent();
                }
                if state.reluctant.as_deref() == driver.to_str() {
                    return Ok(());
                }
                symlink(Path::new("../../../../bus/pci/drivers").join(driver), link)
            }
            _ => absent(),
        }
    }
}
