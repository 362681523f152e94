//! The command line of QEMU for a machine.
//!
//! Software emulation with one thread for all processors: with two, accesses of two processors to one function at the
//! same time are lost. Few memory regions: the proxy takes eight. The IOMMU comes before the functions that it serves.

use std::path::{Path, PathBuf};

use clap::ValueEnum;

use super::functions::Function;

/// What the machine's IOMMU does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Iommu {
    /// Every device has its own address space.
    Translating,
    /// Drivers of the kernel see physical addresses.
    PassThrough,
    /// The kernel does not use it.
    Off,
}

impl Iommu {
    fn kernel_arguments(self) -> &'static str {
        match self {
            Self::Translating => "intel_iommu=on",
            Self::PassThrough => "intel_iommu=on iommu=pt",
            Self::Off => "intel_iommu=off",
        }
    }
}

/// What the command line is made of.
#[derive(Debug)]
pub(crate) struct Setup<'a> {
    pub(crate) kernel: PathBuf,
    pub(crate) image: &'a Path,
    pub(crate) firmware: [PathBuf; 2],
    pub(crate) processors: u32,
    pub(crate) iommu: Iommu,
    /// Backing files of the NVDIMMs.
    pub(crate) dimms: &'a [PathBuf],
    /// Backing file of the memory of another PCI device.
    pub(crate) peer: &'a Path,
    /// Descriptors of the serial ports: console, output, control.
    pub(crate) ports: [i32; 3],
    /// Functions with their descriptors.
    pub(crate) functions: &'a [(Function, i32)],
    /// Where the model listens for QEMU's test protocol.
    pub(crate) qtest: Option<&'a Path>,
}

/// Bytes of each NVDIMM.
pub(crate) const DIMM_BYTES: u64 = 128 << 20;
/// Bytes of the BAR that is the peer's memory.
pub(crate) const PEER_BYTES: u64 = 4 << 20;
/// The serial ports and their places. The third has an interrupt of its own: by default it shares the first one's,
/// which an ISA bus cannot do without losing some.
const PORTS: [(&str, &str); 3] =
    [("console", "index=0"), ("output", "index=1"), ("control", "index=2,irq=5")];
const MEMORY: &str = "1G";

/// The arguments.
pub(crate) fn arguments(setup: &Setup<'_>) -> Vec<String> {
    let mut arguments = Vec::new();
    let mut add = |option: &str, value: String| {
        arguments.extend([format!("-{option}"), value]);
    };
    for directory in &setup.firmware {
        add("L", directory.display().to_string());
    }
    // The guest is told that what has reached the memory controller is durable, and caches are not.
    add("machine", "q35,nvdimm=on,nvdimm-persistence=mem-ctrl,memory-backend=ram".into());
    add("accel", "tcg,thread=single".into());
    add("cpu", "Skylake-Server".into());
    add("smp", setup.processors.to_string());
    add("m", format!("{MEMORY},slots=4,maxmem=8G"));
    add("object", format!("memory-backend-memfd,id=ram,size={MEMORY},share=on"));
    add("device", "intel-iommu,intremap=on,caching-mode=on,aw-bits=48".into());
    for (number, file) in setup.dimms.iter().enumerate() {
        let backing = format!("mem-path={},size={DIMM_BYTES},share=on", file.display());
        add("object", format!("memory-backend-file,id=dimm{number},{backing}"));
        add("device", format!("nvdimm,id=nvdimm{number},memdev=dimm{number}"));
    }
    for ((name, place), descriptor) in PORTS.iter().zip(setup.ports) {
        add("chardev", format!("socket,id={name},fd={descriptor}"));
        add("device", format!("isa-serial,chardev={name},{place}"));
    }
    // Its BAR 2 is ordinary memory of a file: the one region more that the model is told of.
    let backing = format!("mem-path={},size={PEER_BYTES},share=on", setup.peer.display());
    add("object", format!("memory-backend-file,id=peer,{backing}"));
    add("device", "ivshmem-plain,id=ivshmem,memdev=peer,bus=pcie.0,addr=0b.0".into());
    let all: Vec<_> = setup.functions.iter().map(|(function, _)| *function).collect();
    for (function, descriptor) in setup.functions {
        for device in function.for_qemu(*descriptor, &all) {
            add("device", device);
        }
    }
    if let Some(qtest) = setup.qtest {
        add("qtest", format!("unix:{}", qtest.display()));
        add("qtest-log", "/dev/null".into());
    }
    add("kernel", setup.kernel.display().to_string());
    add("initrd", setup.image.display().to_string());
    add("append", kernel_arguments(setup.iommu));
    add("display", "none".into());
    add("monitor", "none".into());
    arguments.extend(["-nodefaults", "-no-user-config", "-no-reboot"].map(str::to_owned));
    arguments
}

/// `no_timer_check`: on a busy host the kernel finds that its timer does not tick while it looks, and gives up.
fn kernel_arguments(iommu: Iommu) -> String {
    let iommu = iommu.kernel_arguments();
    format!(
        "console=ttyS0 loglevel=5 {iommu} panic=-1 nokaslr mitigations=off tsc=unstable no_timer_check \
         8250.nr_uarts=4"
    )
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::{Iommu, Setup, arguments};

    fn line(iommu: Iommu, qtest: Option<&Path>) -> String {
        let function = "06.0".parse().unwrap();
        let setup = Setup {
            kernel: "/k".into(),
            image: Path::new("/i"),
            firmware: ["/f1".into(), "/f2".into()],
            processors: 2,
            iommu,
            dimms: &[PathBuf::from("/d0"), PathBuf::from("/d1")],
            peer: Path::new("/p0"),
            ports: [3, 4, 5],
            functions: &[(function, 7)],
            qtest,
        };
        arguments(&setup).join(" ")
    }

    #[test]
    fn the_iommu_comes_before_the_functions_and_one_thread_runs_all() {
        let line = line(Iommu::Translating, None);
        let position = |text: &str| line.find(text).unwrap_or_else(|| panic!("{text} in {line}"));
        assert!(position("intel-iommu") < position("x-pci-proxy-dev"));
        assert!(line.contains("tcg,thread=single") && line.contains("-smp 2"), "{line}");
        assert!(
            line.contains("fd=7,bus=pcie.0,addr=06.0") && line.contains("id=dimm1,mem-path=/d1"),
            "{line}"
        );
        assert!(
            line.contains(
                "socket,id=control,fd=5 -device isa-serial,chardev=control,index=2,irq=5"
            ),
            "{line}"
        );
        assert!(!line.contains("qtest"), "{line}");
        assert!(line.contains("id=peer,mem-path=/p0,size=4194304,share=on"), "{line}");
        assert!(line.contains("ivshmem-plain,id=ivshmem,memdev=peer,bus=pcie.0,addr=0b.0"));
    }

    #[test]
    fn each_setting_of_the_iommu_reaches_the_kernel() {
        let qtest = Some(Path::new("/q"));
        assert!(line(Iommu::PassThrough, qtest).contains("intel_iommu=on iommu=pt"));
        assert!(line(Iommu::Off, qtest).contains("intel_iommu=off"));
        assert!(line(Iommu::Off, qtest).contains("-qtest unix:/q"));
    }
}
