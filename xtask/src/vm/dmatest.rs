//! Linux's own test client of DMA engines, `dmatest`, which Debian does not build: built here from Debian's sources.
//!
//! It is the one user of a private DMA channel that a machine has, so it makes the kernel's driver copy and keeps its
//! channels in use.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::packages::Packages;
use crate::{
    command::Run,
    failure::{Failure, Outcome},
};

/// The module for the kernel of `packages`, built in `directory` unless it is there.
pub(crate) fn build(directory: &Path, packages: &Packages) -> Outcome<PathBuf> {
    let directory = directory.join(packages.release());
    let module = directory.join("dmatest.ko");
    if module.exists() {
        return Ok(module);
    }
    println!("building the kernel module dmatest");
    let path = format!("{}:/usr/bin:/bin", packages.file("usr/bin").display());
    let source = source(&directory, packages, &path)?;
    let write = |path: PathBuf, text: String| {
        fs::write(&path, text).map_err(Failure::of(format!("cannot write {}", path.display())))
    };
    write(directory.join("Makefile"), "obj-m := dmatest.o\n".to_owned())?;
    fs::rename(&source, directory.join("dmatest.c"))
        .map_err(Failure::of(format!("cannot move {}", source.display())))?;
    let headers = packages.file(&format!("usr/src/linux-headers-{}", packages.release()));
    let (version, _) = packages.release().rsplit_once('-').unwrap_or_default();
    let common = packages.file(&format!("usr/src/linux-headers-{version}-common/Makefile"));
    // The package's own names the place where it would be installed.
    write(headers.join("Makefile"), format!("include {}\n", common.display()))?;
    let make = Run::new(packages.file("usr/bin/make")).arg("-C").arg(&headers);
    make.arg(format!("M={}", directory.display()))
        .args(["CC=cc", "HOSTCC=cc", "modules"])
        .env("PATH", path)
        .env("LD_LIBRARY_PATH", packages.library_path())
        .output()?;
    Ok(module)
}

/// The module's source, out of the archive of the kernel's sources.
fn source(directory: &Path, packages: &Packages, path: &str) -> Outcome<PathBuf> {
    fs::create_dir_all(directory)
        .map_err(Failure::of(format!("cannot create {}", directory.display())))?;
    let mut numbers = packages.release().split('.');
    let name = match (numbers.next(), numbers.next()) {
        (Some(first), Some(second)) => format!("linux-source-{first}.{second}"),
        _ => return Err(Failure::new(format!("kernel release {}", packages.release()))),
    };
    let inside = format!("{name}/drivers/dma/dmatest.c");
    Run::new("tar")
        .args(["--extract", "--xz", "--occurrence=1", "--file"])
        .arg(packages.file(&format!("usr/src/{name}.tar.xz")))
        .arg("--directory")
        .arg(directory)
        .arg(&inside)
        .env("PATH", path)
        .env("LD_LIBRARY_PATH", packages.library_path())
        .output()?;
    Ok(directory.join(inside))
}
