//! Limits of the kernel: listed, and met with how much is needed and how much there is.

use crate::{
    failure::Outcome,
    vm::{cases::copy::SKX, machine::Machine, steps::says},
};

const ENTRIES: &str = "/sys/module/vfio_iommu_type1/parameters/dma_entry_limit";

/// Mappings of a container, and a mapping that is made in parts.
pub(crate) fn limits(machine: &mut Machine) -> Outcome {
    machine.bind(&[SKX])?;
    says(&machine.does("dmaring list")?, &["mappings of a container", "65535", "CAP_IPC_LOCK"])?;
    let copy = format!("dmaring copy --engine {SKX} --size 1MiB");
    machine.does(&format!("echo 2 >{ENTRIES}"))?;
    says(&machine.does("dmaring list --json")?, &["\"mappings\":2"])?;
    machine.refuses(&copy, &["1 mappings needed", "0 left", "2 of 2 are in use"])?;
    machine.does(&format!("echo 65535 >{ENTRIES}"))?;
    machine.does(&copy)?;
    // More than one part: what is copied lies in the last.
    let long = "--src-offset 260MiB --size 16MiB mem /dev/dax1.0";
    says(&machine.does(&format!("dmaring copy --engine {SKX} {long}"))?, &["verified"])?;
    machine.is_released("05.0")?;
    machine.strip()
}
