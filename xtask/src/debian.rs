//! Programs and libraries of Debian's, downloaded and unpacked below the build's own directory.
//!
//! Nothing is installed, so no rights are needed and the host's own packages do not matter.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    command::Run,
    failure::{Failure, Outcome},
};

/// A package as apt names it and its file.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Package {
    pub(crate) name: String,
    archive: String,
}

/// The packages of these names and all that they depend on: what apt resolves against an empty list of installed
/// ones.
pub(crate) fn with_dependencies(names: &[&str]) -> Outcome<BTreeSet<Package>> {
    let lines = Run::new("apt-get")
        .args(["install", "--yes", "--print-uris", "--no-install-recommends"])
        .args(["--option", "Dir::State::status=/dev/null"])
        .args(names)
        .output()?;
    Ok(lines.lines().filter_map(package).collect())
}

/// The packages of these names, without what they depend on.
pub(crate) fn alone<S: AsRef<std::ffi::OsStr>>(names: &[S]) -> Outcome<BTreeSet<Package>> {
    let lines = Run::new("apt-get").args(["download", "--print-uris"]).args(names).output()?;
    Ok(lines.lines().filter_map(package).collect())
}

/// Downloads to `directory` what is not there yet of what `resolve` names, and returns every archive.
pub(crate) fn fetch(
    directory: &Path,
    resolve: impl Fn() -> Outcome<BTreeSet<Package>>,
) -> Outcome<Vec<PathBuf>> {
    fs::create_dir_all(directory)
        .map_err(Failure::of(format!("cannot create {}", directory.display())))?;
    let mut listed = resolve();
    if listed.is_err() {
        update_lists()?;
        listed = resolve();
    }
    let listed = listed?;
    let missing: Vec<_> =
        listed.iter().filter(|package| !directory.join(&package.archive).exists()).collect();
    if !missing.is_empty() {
        println!("downloading {} packages to {}", missing.len(), directory.display());
        download(directory, &missing).or_else(|_| {
            // The lists name versions that the mirror no longer has.
            update_lists()?;
            Err(Failure::new(
                "the lists of packages were out of date and are now new: run it again",
            ))
        })?;
    }
    Ok(listed.iter().map(|package| directory.join(&package.archive)).collect())
}

/// Unpacks to a directory of another name first, so that a complete one is all there.
pub(crate) fn unpack(archives: &[PathBuf], root: &Path) -> Outcome {
    let unfinished = root.with_extension("unfinished");
    for directory in [root, &unfinished] {
        if directory.exists() {
            fs::remove_dir_all(directory)
                .map_err(Failure::of(format!("cannot remove {}", directory.display())))?;
        }
    }
    println!("unpacking {} packages to {}", archives.len(), root.display());
    for archive in archives {
        Run::new("dpkg-deb").arg("-x").arg(archive).arg(&unfinished).output()?;
    }
    fs::rename(&unfinished, root).map_err(Failure::of(format!("cannot create {}", root.display())))
}

fn download(directory: &Path, packages: &[&Package]) -> Outcome {
    let names = packages.iter().map(|package| &package.name);
    let output = Command::new("apt-get")
        .args(["download", "--quiet=2", "--option", "APT::Sandbox::User=root"])
        .args(names)
        .current_dir(directory)
        .output()
        .map_err(Failure::of("cannot start apt-get, which Debian has"))?;
    if output.status.success() {
        return Ok(());
    }
    let reason = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(Failure::new(format!("packages cannot be downloaded: is the network there? {reason}")))
}

/// A line `'URI' ARCHIVE SIZE HASH` of `--print-uris`.
fn package(line: &str) -> Option<Package> {
    let (_, rest) = line.strip_prefix('\'')?.split_once("' ")?;
    let archive = rest.split(' ').next()?;
    let name = archive.split('_').next()?;
    Some(Package { name: name.to_owned(), archive: archive.to_owned() })
}

fn update_lists() -> Outcome {
    let root = Command::new("id").arg("-u").output().is_ok_and(|id| id.stdout == b"0\n");
    let update = if root { Run::new("apt-get") } else { Run::new("sudo").arg("apt-get") };
    update
        .args(["update", "--quiet=2", "--option", "APT::Update::Error-Mode=any"])
        .run()
        .map_err(Failure::of("Debian's lists of packages cannot be fetched: is the network there?"))
}

#[cfg(test)]
mod tests {
    use super::package;

    #[test]
    fn a_line_of_print_uris_gives_name_and_archive() {
        let line = "'http://deb.debian.org/debian/pool/main/k/kmod/kmod_30-1_amd64.deb' \
                    kmod_1%3a30-1_amd64.deb 95180 MD5Sum:00";
        let found = package(line).unwrap();
        assert_eq!(
            (found.name.as_str(), found.archive.as_str()),
            ("kmod", "kmod_1%3a30-1_amd64.deb")
        );
        assert_eq!(package("Reading package lists..."), None);
        assert_eq!(package("'truncated"), None);
    }
}
