//! Whether a device whose registers do not answer is shown to reach memory no more.
//!
//! Registers that read all ones say that reads fail: the device may be unplugged, or its memory space is off, its link is in
//! trouble, a bridge in between refuses. They do not say that its own requests fail, and what it had may still be written.
//! Configuration space is another way to it, and shows one of two things:
//!
//! - *nothing answers there either*: the vendor id or the status register reads all ones, which no function's do. Whoever
//!   answers no request of either kind has no link to make any on. Both are looked at: VFIO gives a vendor id of its own
//!   making, and its own bit for the list of capabilities in the status register (source: Linux, `vfio_pci_config.c`);
//! - *bus mastering is off*: a function makes no request of memory without it (source: PCI Express base specification,
//!   command register, bit 2). It is cleared, and read back. The answer to that read pushes ahead of it whatever the function
//!   wrote before.
//!
//! Where neither can be shown, the device may still write, and counts as one that does not stop.
#![forbid(unsafe_code)]

use dmaring_ioat_spec::{ConfigIo, registers::config::VENDOR_ID};

/// The command register, and the status register above it, whose bits are cleared by writing ones.
const COMMAND: u16 = 0x04;
const MEMORY_SPACE: u32 = 1 << 1;
const BUS_MASTER: u32 = 1 << 2;
const INTERRUPTS_OFF: u32 = 1 << 10;
/// In the status register: there is a capability list.
const CAPABILITY_LIST: u32 = 1 << 20;
const STATUS: u32 = 0xffff_0000;

/// Keeps a function from reaching memory, unless it is not there. `true`: it is shown to make no more requests.
pub(super) fn cut_off(config: &dyn ConfigIo) -> bool {
    let vendor = config.read_config32(VENDOR_ID);
    let Some(before) = config.read_config32(COMMAND) else { return false };
    if vendor == Some(u32::MAX) || is_absent(before) {
        // Should it only have been slow to answer, this reaches it all the same.
        config.write_config32(COMMAND, MEMORY_SPACE | INTERRUPTS_OFF);
        return true;
    }
    let written = config.write_config32(COMMAND, before & !STATUS & !BUS_MASTER);
    let after = config.read_config32(COMMAND);
    written && after.is_some_and(|after| is_absent(after) || after & BUS_MASTER == 0)
}

/// Lets a function reach memory again.
pub(super) fn restore(config: &dyn ConfigIo) {
    let command = config.read_config32(COMMAND).filter(|command| !is_absent(*command));
    let restored = command
        .is_some_and(|command| config.write_config32(COMMAND, command & !STATUS | BUS_MASTER));
    if !restored {
        tracing::warn!("bus mastering was not switched on again");
    }
}

const fn is_absent(command: u32) -> bool {
    (command | CAPABILITY_LIST) & STATUS == STATUS
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// Vendor and device, command and status, and which bits of the latter a write changes.
    struct Space(u32, Mutex<u32>, u32);

    impl ConfigIo for Space {
        fn read_config32(&self, offset: u16) -> Option<u32> {
            match offset {
                VENDOR_ID => Some(self.0),
                COMMAND => Some(*self.1.lock().unwrap()),
                _ => None,
            }
        }

        fn write_config32(&self, offset: u16, value: u32) -> bool {
            assert_eq!((offset, value & STATUS), (COMMAND, 0), "errors are nobody's to clear");
            let mut command = self.1.lock().unwrap();
            *command = *command & !self.2 | value & self.2;
            true
        }
    }

    fn shown(vendor: u32, command: u32, writable: u32) -> (bool, u32) {
        let space = Space(vendor, Mutex::new(command), writable);
        let shown = cut_off(&space);
        let command = *space.1.lock().unwrap();
        (shown, command)
    }

    #[test]
    fn what_answers_nowhere_is_cut_off() {
        assert!(shown(u32::MAX, 0x0010_0406, 0).0);
        // Through VFIO, with the bits that are its own.
        assert!(shown(0x2021_8086, 0xffff_ffff, 0).0);
        assert!(shown(0x2021_8086, 0xffef_fbfd, 0).0);
    }

    #[test]
    fn what_answers_loses_its_bus_mastering_and_nothing_else() {
        assert_eq!(shown(0x2021_8086, 0x8010_0406, 0xffff), (true, 0x8010_0402));
        assert_eq!(shown(0x2021_8086, 0x0010_0002, 0xffff), (true, 0x0010_0002));
        assert!(!shown(0x2021_8086, 0x0010_0406, 0).0, "it keeps it");
    }

    #[test]
    fn what_cannot_be_asked_is_not_cut_off() {
        struct Silent;
        impl ConfigIo for Silent {
            fn read_config32(&self, _: u16) -> Option<u32> {
                None
            }
            fn write_config32(&self, _: u16, _: u32) -> bool {
                false
            }
        }
        assert!(!cut_off(&Silent));
    }

    #[test]
    fn it_is_restored_without_clearing_errors() {
        let space = Space(0x2021_8086, Mutex::new(0x8010_0402), 0xffff);
        restore(&space);
        assert_eq!(*space.1.lock().unwrap(), 0x8010_0406);
    }
}
