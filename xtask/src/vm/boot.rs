//! From assets to a running machine: the model first, then QEMU with connections to it and to the serial ports.
//!
//! QEMU 7.2 can crash while the kernel turns the IOMMU on. That write makes QEMU build its memory map anew and release
//! the old one in the middle of the access; each proxy lets go of QEMU's lock meanwhile, and a thread that frees the
//! old map may get it before the access has ended. Nothing has run in the machine by then, so it is booted again, which
//! is said; a crash at any other time is an error.

use std::{
    fs::File,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::{fs::symlink, net::UnixStream},
    },
    path::{Path, PathBuf},
    time::Instant,
};

use rustix::io::{FdFlags, fcntl_setfd};

use super::{
    assets::Assets,
    functions::Function,
    machine::{Machine, Parts, Unbooted},
    model::Model,
    process::Process,
    qemu::{self, DIMM_BYTES, Iommu, PEER_BYTES, Setup},
};
use crate::failure::{Failure, Outcome};

/// How a machine differs from others.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    pub(crate) name: String,
    pub(crate) processors: u32,
    pub(crate) iommu: Iommu,
    pub(crate) functions: Vec<Function>,
}

const DIMMS: usize = 2;
/// How often QEMU may crash in a row: it does in about one boot of ten when the host is busy.
const CRASHES: usize = 4;

/// Boots a machine and waits until it takes commands.
pub(crate) fn boot(assets: &Assets, options: &Options) -> Outcome<Machine> {
    boot_with(assets, options, &[])
}

/// The same with the files behind the NVDIMMs of a machine that has ended; fresh ones where none are given.
pub(crate) fn boot_with(assets: &Assets, options: &Options, dimms: &[File]) -> Outcome<Machine> {
    for _ in 0..CRASHES {
        match start(assets, options, dimms).and_then(Machine::wait_for) {
            Ok(machine) => return Ok(machine),
            Err(Unbooted { crashed: true, .. }) => {
                println!("QEMU crashed while the machine booted, as 7.2 can: booting again");
            }
            Err(Unbooted { failure, .. }) => return Err(failure),
        }
    }
    let logs = assets.logs().display();
    Err(Failure::new(format!("QEMU crashed in each of {CRASHES} boots: logs in {logs}")))
}

fn start(assets: &Assets, options: &Options, old: &[File]) -> Result<Parts, Unbooted> {
    let begin = Instant::now();
    let directory = tempfile::Builder::new().prefix("dmaring-").tempdir();
    let directory = directory.map_err(Failure::of("cannot create a directory for the run"))?;
    let log = |part: &str| assets.logs().join(format!("{}-{part}.log", options.name));
    let mut paths: Vec<_> =
        (0..DIMMS).map(|number| directory.path().join(format!("dimm{number}"))).collect();
    let dimms = if old.is_empty() {
        paths.iter().map(|path| file(path, DIMM_BYTES)).collect::<Outcome<Vec<_>>>()?
    } else {
        again(old, &paths)?
    };
    let peer_path = directory.path().join("peer");
    let peer = file(&peer_path, PEER_BYTES)?;

    let (mut model, mut connections) = (None, Vec::new());
    if !options.functions.is_empty() {
        let program = assets.model()?;
        let started = Model::start(program, &options.functions, directory.path(), log("model"))?;
        (model, connections) = (Some(started.0), started.1);
    }
    let [console, output, control] = [pair()?, pair()?, pair()?];
    for end in [&console.1, &output.1, &control.1].into_iter().chain(&connections) {
        fcntl_setfd(end, FdFlags::empty())
            .map_err(Failure::of("cannot hand a descriptor to QEMU"))?;
    }
    let descriptors = connections.iter().map(AsRawFd::as_raw_fd);
    let functions: Vec<_> = options.functions.iter().copied().zip(descriptors).collect();
    let arguments = qemu::arguments(&Setup {
        kernel: assets.packages().kernel(),
        image: assets.image(),
        firmware: assets.packages().firmware(),
        processors: options.processors,
        iommu: options.iommu,
        dimms: &paths,
        peer: &peer_path,
        ports: [&console.1, &output.1, &control.1].map(AsRawFd::as_raw_fd),
        functions: &functions,
        qtest: model.as_ref().map(Model::qtest),
    });
    let program = assets.packages().file("usr/bin/qemu-system-x86_64");
    let libraries = assets.packages().library_path();
    let qemu = Process::start(&program, &arguments, &libraries, log("qemu"))?;
    // Our copies of QEMU's ends close here, so that the ports end when QEMU does.
    let ports = [console.0, output.0, control.0];
    paths.push(peer_path);
    Ok(Parts { qemu, model, ports, dimms, peer, paths, directory, log: log("console"), begin })
}

/// An empty file for memory of the machine, which takes no space until written.
fn file(path: &Path, bytes: u64) -> Outcome<File> {
    File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(path)
        .and_then(|file| file.set_len(bytes).map(|()| file))
        .map_err(Failure::of(format!("cannot create {}", path.display())))
}

/// The NVDIMMs of a machine that has ended: their files have no names, and get new ones that lead to them.
fn again(dimms: &[File], paths: &[PathBuf]) -> Outcome<Vec<File>> {
    let name = |(file, path): (&File, &PathBuf)| {
        let open = format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd());
        symlink(open, path)?;
        file.try_clone()
    };
    let files = dimms.iter().zip(paths).map(name).collect::<Result<_, _>>();
    files.map_err(Failure::of("cannot name the NVDIMMs of the machine that was stopped"))
}

fn pair() -> Outcome<(UnixStream, OwnedFd)> {
    let pair = UnixStream::pair().map_err(Failure::of("cannot create a socket"))?;
    Ok((pair.0, pair.1.into()))
}
