//! DPDK's side: Debian's packages below the build's directory, and our program for `dma_skeleton` built against them.

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

/// The device and its bus, of DPDK 22.11; apt adds the libraries that they need.
const LIBRARIES: &[&str] = &["librte-dma-skeleton23", "librte-bus-vdev23"];
/// Headers and what the linker needs. On paper it depends on the headers of everything that DPDK can drive.
const HEADERS: &[&str] = &["libdpdk-dev"];
/// The host's, because the dynamic linker is.
const UNUSED: &[&str] = &["libc6", "gcc-12-base", "libgcc-s1"];
const LINKED: &[&str] = &[
    "rte_dma_skeleton",
    "rte_bus_vdev",
    "rte_dmadev",
    "rte_ring",
    "rte_eal",
    "rte_telemetry",
    "rte_kvargs",
];
const SOURCE: &str = "xtask/src/peers/skeleton.c";
/// What must be on the host, and where it comes from.
const TOOLS: &[(&str, &str)] =
    &[("gcc", "gcc"), ("pkg-config", "pkg-config"), ("dpkg-deb", "dpkg"), ("apt-get", "apt")];

/// The program for DPDK.
#[derive(Debug)]
pub(crate) struct Skeleton {
    program: PathBuf,
    libraries: PathBuf,
    run_time: PathBuf,
}

impl Skeleton {
    /// Downloads and unpacks what is not there below `directory`, and builds the program.
    pub(crate) fn build(directory: &Path) -> Outcome<Self> {
        for (tool, package) in TOOLS {
            if !Run::new(tool).arg("--version").succeeds() {
                let message = format!("{tool} is not installed: `apt-get install {package}`");
                return Err(Failure::new(message));
            }
        }
        let root = directory.join("debian");
        if !root.exists() {
            let archives = debian::fetch(&directory.join("packages"), resolve)?;
            debian::unpack(&archives, &root)?;
        }
        let libraries = root.join("usr/lib/x86_64-linux-gnu");
        let flags = Run::new("pkg-config")
            .args(["--cflags", "libdpdk-libs"])
            .env("PKG_CONFIG_SYSROOT_DIR", &root)
            .env("PKG_CONFIG_LIBDIR", libraries.join("pkgconfig"))
            .output()?;
        let program = directory.join("skeleton");
        let search = format!("-Wl,-rpath-link,{}", libraries.display());
        Run::new("gcc")
            .args(["-std=gnu11", "-O3", "-Wall", "-Wextra", "-Werror", "-DALLOW_EXPERIMENTAL_API"])
            .args(flags.split_whitespace())
            .args([Path::new("-o"), &program, Path::new(SOURCE), Path::new("-L"), &libraries])
            .args([search.as_str(), "-Wl,--no-as-needed"])
            .args(LINKED.iter().map(|library| format!("-l{library}")))
            .run()?;
        // DPDK keeps a directory while it runs; it is not to be the system's.
        let run_time = directory.join("run");
        fs::create_dir_all(&run_time)
            .map_err(Failure::of(format!("cannot create {}", run_time.display())))?;
        Ok(Self { program, libraries, run_time })
    }

    /// A run of it.
    pub(crate) fn run(&self) -> Run {
        Run::new(&self.program)
            .env("LD_LIBRARY_PATH", &self.libraries)
            .env("RUNTIME_DIRECTORY", &self.run_time)
    }
}

fn resolve() -> Outcome<BTreeSet<Package>> {
    let mut packages = debian::with_dependencies(LIBRARIES)?;
    packages.extend(debian::alone(HEADERS)?);
    packages.retain(|package| !UNUSED.contains(&package.name.as_str()));
    Ok(packages)
}
