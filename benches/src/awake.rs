//! A core that may not halt while it has nothing to do, so that what sleeps on it wakes sooner.
//!
//! The kernel's idle governors ask for the longest time that a core may take to resume, in microseconds, at
//! `/sys/devices/system/cpu/cpuN/power/pm_qos_resume_latency_us`: `n/a` there stands for no time at all, and 0 for any
//! (`Documentation/ABI/testing/sysfs-devices-power` of the kernel).

use std::{fs, io, path::PathBuf};

/// Keeps one core from halting. Dropping this puts back what was there.
#[derive(Debug)]
pub struct Awake {
    file: PathBuf,
    before: String,
}

impl Awake {
    /// Begins.
    ///
    /// # Errors
    ///
    /// What the kernel says: only a privileged process may, and not every kernel has it.
    pub fn keep(core: usize) -> io::Result<Self> {
        let file = format!("/sys/devices/system/cpu/cpu{core}/power/pm_qos_resume_latency_us");
        let before = fs::read_to_string(&file)?;
        fs::write(&file, "n/a")?;
        Ok(Self { file: file.into(), before })
    }
}

impl Drop for Awake {
    fn drop(&mut self) {
        // It could be written before.
        let _ = fs::write(&self.file, self.before.trim_end());
    }
}
