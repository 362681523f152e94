//! The machine's first and only file system: what is in it, and whether it must be built again.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    time::UNIX_EPOCH,
};

use super::{build::Program, cpio::Archive, modules, packages::Packages};
use crate::{
    command::Run,
    failure::{Failure, Outcome},
};

const INIT: &str = include_str!("init.sh");
/// Users of the machine: the superuser, and one who may do nothing in particular.
const USERS: &str = "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000:user:/tmp:/bin/sh\n";
const GROUPS: &str = "root:x:0:\nuser:x:1000:\n";
/// The superuser needs none; the remedies that the command prints begin with it.
const SUDO: &str = "#!/bin/sh\nexec \"$@\"\n";
/// Programs of the packages that the machine has, with the libraries they need.
const TOOLS: &[&str] = &["usr/bin/ndctl", "usr/bin/daxctl"];

/// What an image is made of besides its own few files.
#[derive(Debug)]
pub(crate) struct Contents<'a> {
    pub(crate) packages: &'a Packages,
    pub(crate) programs: &'a [Program],
    pub(crate) dmatest: &'a Path,
}

/// Builds the image `name` in `directory` unless one of the same content is there, and returns its path.
pub(crate) fn build(directory: &Path, name: &str, contents: &Contents<'_>) -> Outcome<PathBuf> {
    fs::create_dir_all(directory)
        .map_err(Failure::of(format!("cannot create {}", directory.display())))?;
    let image = directory.join(format!("{name}.cpio"));
    let inputs = directory.join(format!("{name}.inputs"));
    let modules = modules(contents)?;
    let mut files = programs(contents)?;
    files.extend(modules.clone());
    let wanted = fingerprint(&files)?;
    if image.exists() && fs::read_to_string(&inputs).is_ok_and(|built| built == wanted) {
        return Ok(image);
    }
    files.extend(indexes(&directory.join(format!("{name}.modules")), &modules, contents.packages)?);
    let bytes = archive(&files)?;
    let write = |path: &Path, bytes: &[u8]| {
        fs::write(path, bytes).map_err(Failure::of(format!("cannot write {}", path.display())))
    };
    write(&image, &bytes)?;
    write(&inputs, wanted.as_bytes())?;
    Ok(image)
}

/// Paths in the machine and the files that they come from.
type Files = BTreeMap<String, PathBuf>;

fn programs(contents: &Contents<'_>) -> Outcome<Files> {
    let packages = contents.packages;
    let mut files = Files::new();
    files.insert("bin/busybox".to_owned(), packages.file("bin/busybox"));
    let tools = TOOLS.iter().map(|path| ((*path).to_owned(), packages.file(path)));
    let own = contents.programs.iter();
    let own = own.map(|program| (format!("usr/bin/{}", program.name), program.path.clone()));
    for (inside, outside) in tools.chain(own) {
        files.extend(libraries(packages, &outside)?);
        files.insert(inside, outside);
    }
    Ok(files)
}

fn modules(contents: &Contents<'_>) -> Outcome<Files> {
    let directory = contents.packages.modules();
    let below = format!("lib/modules/{}", contents.packages.release());
    let lists = ["modules.order", "modules.builtin", "modules.builtin.modinfo"].map(str::to_owned);
    let files = modules::files(contents.packages)?.into_iter().chain(lists);
    let mut files: Files =
        files.map(|path| (format!("{below}/{path}"), directory.join(&path))).collect();
    files.insert(format!("{below}/extra/dmatest.ko"), contents.dmatest.to_path_buf());
    Ok(files)
}

/// The indexes of these modules, made where the modules are laid out as in the machine.
fn indexes(base: &Path, modules: &Files, packages: &Packages) -> Outcome<Files> {
    let attempt = || format!("cannot lay out the modules in {}", base.display());
    if base.exists() {
        fs::remove_dir_all(base).map_err(Failure::of(attempt()))?;
    }
    for (inside, outside) in modules {
        let link = base.join(inside);
        fs::create_dir_all(link.parent().unwrap_or(base))
            .and_then(|()| symlink(outside, &link))
            .map_err(Failure::of(attempt()))?;
    }
    packages.depmod(base)?;
    let below = format!("lib/modules/{}", packages.release());
    let mut files = Files::new();
    for entry in fs::read_dir(base.join(&below)).map_err(Failure::of(attempt()))? {
        let path = entry.map_err(Failure::of(attempt()))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.starts_with("modules.") {
            files.insert(format!("{below}/{name}"), path);
        }
    }
    Ok(files)
}

/// The dynamic linker and the libraries that a program says it needs.
fn libraries(packages: &Packages, program: &Path) -> Outcome<Files> {
    let listed =
        Run::new("ldd").arg(program).env("LD_LIBRARY_PATH", packages.library_path()).output()?;
    linked(&listed)
}

/// Reads lines as `libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x…)` and `/lib64/ld-linux-x86-64.so.2 (0x…)`.
fn linked(listed: &str) -> Outcome<Files> {
    let mut files = Files::new();
    for line in listed.lines().map(str::trim) {
        let line = line.split(" (0x").next().unwrap_or(line);
        match line.split_once(" => ") {
            Some((name, "not found")) => {
                return Err(Failure::new(format!(
                    "no library {name}: remove target/vm to fetch all again"
                )));
            }
            Some((name, path)) => {
                files.insert(format!("lib/x86_64-linux-gnu/{name}"), path.into());
            }
            None if line.starts_with('/') => {
                files.insert(line.trim_start_matches('/').to_owned(), line.into());
            }
            None => {}
        }
    }
    Ok(files)
}

/// All that the image depends on, as text: two images of the same text are the same.
fn fingerprint(files: &Files) -> Outcome<String> {
    let mut text = format!("{INIT}{USERS}{GROUPS}{SUDO}\n");
    for (inside, outside) in files {
        let metadata = fs::metadata(outside)
            .map_err(Failure::of(format!("cannot read {}", outside.display())))?;
        let changed =
            metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        let changed = changed.map_or(0, |time| time.as_nanos());
        let _ = writeln!(text, "{inside} {} {} {changed}", outside.display(), metadata.len());
    }
    Ok(text)
}

fn archive(files: &Files) -> Outcome<Vec<u8>> {
    let mut archive = Archive::default();
    for directory in
        ["proc", "sys", "dev", "run", "tmp", "root", "bin", "sbin", "usr/bin", "usr/sbin", "etc"]
    {
        archive.directory(directory);
    }
    archive.character_device("dev/console", 5, 1);
    archive.file("init", 0o755, INIT.as_bytes());
    archive.file("usr/bin/sudo", 0o755, SUDO.as_bytes());
    archive.file("etc/passwd", 0o644, USERS.as_bytes());
    archive.file("etc/group", 0o644, GROUPS.as_bytes());
    for (inside, outside) in files {
        let data =
            fs::read(outside).map_err(Failure::of(format!("cannot read {}", outside.display())))?;
        archive.file(inside, 0o755, &data);
    }
    Ok(archive.finish())
}

#[cfg(test)]
mod tests {
    use super::linked;

    #[test]
    fn libraries_go_where_the_dynamic_linker_looks() {
        let files = linked(
            "\tlinux-vdso.so.1 (0x00007ffd)\n\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f)\n\
             \tlibndctl.so.6 => /t/usr/lib/libndctl.so.6 (0x00007f)\n\t/lib64/ld-linux-x86-64.so.2 (0x7f)\n",
        )
        .unwrap();
        let inside: Vec<_> = files.keys().map(String::as_str).collect();
        assert_eq!(
            inside,
            [
                "lib/x86_64-linux-gnu/libc.so.6",
                "lib/x86_64-linux-gnu/libndctl.so.6",
                "lib64/ld-linux-x86-64.so.2"
            ]
        );
    }

    #[test]
    fn a_missing_library_is_named() {
        let failure = linked("\tlibcxl.so.1 => not found\n").unwrap_err().to_string();
        assert!(failure.contains("libcxl.so.1"), "{failure}");
    }
}
