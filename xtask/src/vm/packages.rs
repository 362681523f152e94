//! Which Debian packages a machine is made of, and where their files are.
//!
//! Nothing is installed: packages are downloaded and unpacked below `target/vm`, so no rights are needed and the
//! host's own packages do not matter. The C library alone is the host's, because the dynamic linker is. The
//! dependencies are those that apt resolves against an empty list of installed packages.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use crate::{
    command::Run,
    debian::{self, Package},
    failure::{Failure, Outcome},
};

/// What is wanted by name; apt adds what these need.
const WANTED: &[&str] =
    &["qemu-system-x86", "busybox-static", "ndctl", "daxctl", "kmod", "make", "xz-utils"];
/// The package that depends on the newest kernel image; with the image come what a module of it is built from.
const KERNEL: &str = "linux-image-amd64";
/// Part of the dependencies on paper, never run: what packages need to be installed, not to be used.
const UNUSED: &[&str] = &["libc6", "dpkg", "perl", "libperl", "iso-codes", "debconf", "adduser"];

/// The unpacked packages.
#[derive(Debug)]
pub(crate) struct Packages {
    root: PathBuf,
    release: String,
}

impl Packages {
    /// The packages below `directory`, downloaded and unpacked unless a complete set is there.
    ///
    /// A complete set is used as it is, without asking apt: removing the directory fetches today's versions.
    pub(crate) fn prepare(directory: &Path) -> Outcome<Self> {
        let root = directory.join("debian");
        let complete = directory.join("debian.complete");
        let wanted = format!("{} {KERNEL}\n", WANTED.join(" "));
        if !fs::read_to_string(&complete).is_ok_and(|text| text.starts_with(&wanted)) {
            let archives = debian::fetch(&directory.join("packages"), resolve)?;
            debian::unpack(&archives, &root)?;
            let packages = Self::at(root.clone())?;
            packages.depmod(&packages.root)?;
            let names: Vec<_> = archives.iter().map(|path| file_name(path)).collect();
            fs::write(&complete, wanted + &names.join("\n"))
                .map_err(Failure::of(format!("cannot write {}", complete.display())))?;
            return Ok(packages);
        }
        Self::at(root)
    }

    /// The file of a package by its path in the file system.
    pub(crate) fn file(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// The kernel's release, as `uname -r` says it.
    pub(crate) fn release(&self) -> &str {
        &self.release
    }

    /// The kernel image.
    pub(crate) fn kernel(&self) -> PathBuf {
        self.file(&format!("boot/vmlinuz-{}", self.release))
    }

    /// The directory of the kernel's modules.
    pub(crate) fn modules(&self) -> PathBuf {
        self.file(&format!("lib/modules/{}", self.release))
    }

    /// What `LD_LIBRARY_PATH` must be for a program of the packages.
    pub(crate) fn library_path(&self) -> String {
        let directories = ["lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu"];
        directories.map(|path| self.file(path).display().to_string()).join(":")
    }

    /// Where QEMU finds its firmware.
    pub(crate) fn firmware(&self) -> [PathBuf; 2] {
        [self.file("usr/share/seabios"), self.file("usr/share/qemu")]
    }

    /// Writes the index that `modprobe` reads, for the modules below `base`/lib/modules.
    pub(crate) fn depmod(&self, base: &Path) -> Outcome {
        Run::new("bash")
            .args(["-c", r#"exec -a depmod "$@""#, "depmod"])
            .arg(self.file("bin/kmod"))
            .arg("-b")
            .arg(base)
            .arg(&self.release)
            .env("LD_LIBRARY_PATH", self.library_path())
            .output()
            .map(drop)
    }

    fn at(root: PathBuf) -> Outcome<Self> {
        let modules = root.join("lib/modules");
        let mut releases = fs::read_dir(&modules)
            .map_err(Failure::of(format!("cannot read {}", modules.display())))?
            .filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned()));
        let release = releases
            .next()
            .ok_or_else(|| Failure::new(format!("no kernel in {}", modules.display())))?;
        Ok(Self { root, release })
    }
}

fn resolve() -> Outcome<BTreeSet<Package>> {
    let kernel = Run::new("apt-cache").args(["depends", KERNEL]).output()?;
    let kernel = kernel_image(&kernel).ok_or_else(|| {
        Failure::new(format!("apt knows no package {KERNEL}: is this Debian 12?"))
    })?;
    let mut packages = debian::with_dependencies(WANTED)?;
    packages.extend(debian::alone(&kernel_packages(kernel)?)?);
    packages.retain(|package| !UNUSED.iter().any(|unused| package.name.starts_with(unused)));
    Ok(packages)
}

/// The versioned package that the one for the newest kernel depends on.
fn kernel_image(depends: &str) -> Option<&str> {
    depends.lines().find_map(|line| line.trim().strip_prefix("Depends: "))
}

/// The image itself, headers, build scripts and sources.
fn kernel_packages(image: &str) -> Outcome<[String; 5]> {
    let parts = || {
        let release = image.strip_prefix("linux-image-")?;
        let (version, _flavour) = release.rsplit_once('-')?;
        let mut numbers = version.split('.');
        Some((release, version, format!("{}.{}", numbers.next()?, numbers.next()?)))
    };
    let (release, version, series) = parts().ok_or_else(|| {
        Failure::new(format!("{KERNEL} depends on {image}, which is no kernel image"))
    })?;
    Ok([
        image.to_owned(),
        format!("linux-headers-{release}"),
        format!("linux-headers-{version}-common"),
        format!("linux-kbuild-{series}"),
        format!("linux-source-{series}"),
    ])
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::{kernel_image, kernel_packages};

    #[test]
    fn what_a_module_is_built_from_is_named_after_the_image() {
        let names = kernel_packages("linux-image-6.1.0-56-amd64").unwrap();
        assert_eq!(names[1..3], ["linux-headers-6.1.0-56-amd64", "linux-headers-6.1.0-56-common"]);
        assert_eq!(names[3..], ["linux-kbuild-6.1", "linux-source-6.1"]);
        assert!(kernel_packages("linux-image").unwrap_err().to_string().contains("linux-image"));
    }

    #[test]
    fn the_kernel_image_is_what_the_package_depends_on() {
        let text = "linux-image-amd64\n  Depends: linux-image-6.1.0-56-amd64\n";
        assert_eq!(kernel_image(text), Some("linux-image-6.1.0-56-amd64"));
        assert_eq!(kernel_image(""), None);
    }
}
