//! What a machine is booted from, prepared once a task.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

use super::{
    build, dmatest,
    image::{self, Contents},
    packages::Packages,
};
use crate::{
    failure::{Failure, Outcome},
    target,
};

/// Packages, image and model.
#[derive(Debug)]
pub(crate) struct Assets {
    packages: Packages,
    image: PathBuf,
    model: Option<PathBuf>,
    logs: PathBuf,
}

impl Assets {
    /// Prepares what is not there: with the device model if wanted, and with the tests that need a machine.
    pub(crate) fn prepare(model: bool, suites: bool) -> Outcome<Self> {
        let directory = target("vm");
        let logs = directory.join("logs");
        fs::create_dir_all(&logs)
            .map_err(Failure::of(format!("cannot create {}", logs.display())))?;
        // Two tasks that prepare the same directory take turns.
        let path = directory.join("lock");
        let lock = File::create(&path).and_then(|file| file.lock().map(|()| file));
        let _lock = lock.map_err(Failure::of(format!("cannot lock {}", path.display())))?;

        let packages = Packages::prepare(&directory)?;
        let mut programs = vec![build::command()?];
        if suites {
            programs.extend(build::suites()?);
            programs.push(build::soak()?);
        }
        let model = if model { Some(build::model()?.path) } else { None };
        let dmatest = dmatest::build(&directory.join("dmatest"), &packages)?;
        let contents = Contents { packages: &packages, programs: &programs, dmatest: &dmatest };
        let name = if suites { "test" } else { "run" };
        let image = image::build(&directory.join("image"), name, &contents)?;
        Ok(Self { packages, image, model, logs })
    }

    /// The unpacked packages.
    pub(crate) fn packages(&self) -> &Packages {
        &self.packages
    }

    /// The machine's file system.
    pub(crate) fn image(&self) -> &Path {
        &self.image
    }

    /// The device model's program.
    pub(crate) fn model(&self) -> Outcome<&Path> {
        self.model.as_deref().ok_or_else(|| Failure::new("the device model was not built"))
    }

    /// Where logs are kept.
    pub(crate) fn logs(&self) -> &Path {
        &self.logs
    }
}
