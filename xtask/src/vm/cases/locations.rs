//! `dmaring copy` between any two kinds of location, each copy verified by the command.

use crate::{
    failure::Outcome,
    vm::{cases::copy::SKX, machine::Machine, steps::says},
};

/// A kind of location: where it is a source, and where a destination.
struct Place {
    name: &'static str,
    source: &'static str,
    destination: &'static str,
}

const PLACES: [Place; 7] = [
    place("mem", "mem", "mem"),
    place("devdax", "/dev/dax0.0", "/dev/dax1.0"),
    // On ramfs, which is not mapped: staged.
    place("file", "/mnt/ram/source", "/mnt/ram/destination"),
    place("disk", "/dev/loop0", "/dev/loop0"),
    place("tmpfs", "/dev/shm/source", "/dev/shm/destination"),
    place("hugetlb", "hugetlb:/mnt/huge/source", "hugetlb:/mnt/huge/destination"),
    place("bar", "pci:0000:00:0b.0:bar2", "pci:0000:00:0b.0:bar2"),
];

const fn place(name: &'static str, source: &'static str, destination: &'static str) -> Place {
    Place { name, source, destination }
}

/// Bytes of each copy.
const SIZE: usize = 500_001;

/// Each kind to each kind.
pub(crate) fn every_pair(machine: &mut Machine) -> Outcome {
    machine.bind(&[SKX])?;
    machine.does(
        "mkdir -p /mnt/huge /mnt/ram; mount -t ramfs none /mnt/ram; mount -t hugetlbfs none /mnt/huge; echo 8 >/proc/sys/vm/nr_hugepages",
    )?;
    // Of sectors, and no whole number of pages.
    machine.does(
        "modprobe loop; dd if=/dev/zero of=/mnt/ram/disk bs=512 count=8195; losetup -f; losetup /dev/loop0 /mnt/ram/disk",
    )?;
    machine.refuses(
        &format!("dmaring copy --size {SIZE} mem hugetlb:/dev/shm/none"),
        &["not on hugetlbfs", "mount -t hugetlbfs"],
    )?;
    let copy = format!("dmaring copy --engine {SKX} --engine cpu --block 65KiB");
    for (number, from) in PLACES.iter().enumerate() {
        if from.source != "mem" {
            // Two MiB hold what is copied, at any of the offsets.
            machine.does(&format!("{copy} --size 2MiB mem {}", from.source))?;
        }
        for (other, to) in PLACES.iter().enumerate() {
            let (source, destination) = (number * 7 + 1, (2 << 20) + other * 13 + number);
            let command = format!(
                "{copy} --src-offset {source} --dst-offset {destination} --size {SIZE} --extend {} {}",
                from.source, to.destination
            );
            let text = machine.does(&command)?;
            says(&text, &[&format!("verified: {SIZE} bytes equal")])?;
            println!("{} to {}: verified", from.name, to.name);
        }
    }
    machine.does(
        "losetup -d /dev/loop0; rm -f /dev/shm/source /dev/shm/destination /mnt/huge/*; umount /mnt/ram /mnt/huge; echo 0 >/proc/sys/vm/nr_hugepages",
    )?;
    machine.is_released("05.0")?;
    machine.strip()
}
