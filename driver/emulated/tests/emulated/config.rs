//! Configuration space, function-level reset and what depends on the part.

use dmaring_emulated::{BuildError, Device, ExtendedConfig, Preset};
use dmaring_ioat_spec::{ConfigIo, RegisterIo, registers::DmaCapability};

use crate::rig::*;

/// Finds a capability as a driver does, by walking the list.
fn capability(config: &impl ConfigIo, id: u32) -> u16 {
    let mut offset = config.read_config32(0x34).unwrap() as u16 & 0xfc;
    while offset != 0 {
        let header = config.read_config32(offset).unwrap();
        if header & 0xff == id {
            return offset;
        }
        offset = (header >> 8) as u16 & 0xfc;
    }
    panic!("no capability {id:#x}");
}

#[test]
fn it_is_an_ioat_function_with_msi_x_and_pci_express() {
    let device = builder().channels(2).build().unwrap();
    let config = device.config();
    assert_eq!(config.read_config32(0x00), Some(0x2021_8086));
    assert_eq!(config.read_config32(0x08).unwrap() >> 16, 0x0880);
    assert_eq!(config.read_config32(0x0c).unwrap() >> 16, 0x80, "several functions");
    assert_eq!(config.read_config32(0x04), Some(0x0010_0006), "capabilities, master, memory");
    let msix = capability(&config, 0x11);
    assert_eq!(msix + 2, 0x82);
    assert_eq!(config.read_config32(msix + 4), Some(0x2000));
    assert_eq!(config.read_config32(msix + 8), Some(0x3000));

    let control = capability(&config, 0x10) + 8;
    assert_eq!(config.read_config32(control), Some(0x2810));
    assert!(config.write_config32(control, 0x2000));
    assert_eq!(config.read_config32(control), Some(0x2000));
}

#[test]
fn the_bar_is_sized_by_writing_ones() {
    let config = builder().build().unwrap().config();
    assert!(config.write_config32(0x10, u32::MAX) && config.write_config32(0x14, u32::MAX));
    assert_eq!(config.read_config32(0x10), Some(0xffff_c004));
    assert_eq!(config.read_config32(0x14), Some(u32::MAX));
}

#[test]
fn what_cannot_be_written_stays_and_what_cannot_be_reached_fails() {
    let config = builder().build().unwrap().config();
    for offset in [0x00, 0x08, 0x2c, 0x34, 0x84, 0x88, 0x90, 0x94, 0x100, 0xffc] {
        let before = config.read_config32(offset);
        assert!(config.write_config32(offset, u32::MAX) && config.write_config32(offset, 0));
        assert_eq!(config.read_config32(offset), before, "{offset:#x}");
    }
    for offset in [0x02, 0x1000, 0xffff] {
        assert_eq!(config.read_config32(offset), None);
        assert!(!config.write_config32(offset, 0));
    }
}

#[test]
fn extended_space_may_be_ones_or_out_of_reach_and_then_holds_nothing_halted() {
    for (knob, read) in
        [(ExtendedConfig::AllOnes, Some(u32::MAX)), (ExtendedConfig::Unreachable, None)]
    {
        let mut rig = Rig::started(builder().extended_config(knob));
        let config = rig.device.config();
        rig.push(0, 0, 0, 0);
        rig.go(1);
        assert_eq!(config.read_config32(0x180), read);
        assert_eq!(config.write_config32(0x180, u32::MAX), read.is_some());
        assert_eq!(config.read_config32(0xfc), Some(0));
        rig.clear_errors();
        rig.chain();
        assert_eq!(rig.state(), ARMED);
    }
}

#[test]
fn a_function_level_reset_clears_everything_and_by_the_system_keeps_configuration() {
    let broken = || {
        let mut rig = Rig::started(builder());
        rig.bar.write64(0x2000, 7);
        rig.push(0, 0, 0, 0);
        rig.go(1);
        rig
    };
    let rig = broken();
    let config = rig.device.config();
    assert!(config.write_config32(0x98, 0xa810));
    assert_eq!(config.read_config32(0x98), Some(0x2810));
    assert_eq!(config.read_config32(0x04), Some(0x0010_0000));
    assert_eq!(rig.status(), u64::MAX, "memory is not decoded");
    assert!(config.write_config32(0x04, 0x6));
    assert_eq!((rig.status(), rig.errors(), rig.bar.read64(0x2000)), (HALTED, 0, 0));
    assert_eq!(config.read_config32(0x180), Some(0));

    let mut rig = broken();
    rig.device.function(0).unwrap().reset();
    assert_eq!(rig.device.config().read_config32(0x04), Some(0x0010_0006));
    assert_eq!((rig.errors(), rig.device.config().read_config32(0x180)), (0, Some(0)));
    rig.start();
    rig.push_copy(64);
    assert_eq!((rig.go(1), rig.state()), (1, IDLE));
}

#[test]
fn quirks_follow_from_the_device_id() {
    for (device_id, wiped) in [(0x0c50, true), (0x6f51, true), (0x2021, false)] {
        let rig = Rig::started(builder().device_id(device_id));
        rig.bar.write64(0x2000, 7);
        rig.command(RESET);
        assert_eq!(rig.bar.read64(0x2000), if wiped { 0 } else { 7 });
    }
    let device = builder().device_id(0x3430).build().unwrap();
    assert_eq!(device.function(0).unwrap().device_id(), 0x3430);
    let config = device.config();
    assert_eq!(config.read_config32(0x148), Some(0x10));
    assert!(config.write_config32(0x148, 0x10));
    assert_eq!(config.read_config32(0x148), Some(0));
}

#[test]
fn a_function_that_is_unplugged_reads_as_ones() {
    let device = builder().channels(2).build().unwrap();
    device.function(1).unwrap().unplug();
    let bar = device.function(1).unwrap().registers();
    assert_eq!((bar.read64(0x88), device.registers().read64(0x88)), (u64::MAX, HALTED));
    assert!(device.function(2).is_none());
}

#[test]
fn devices_that_cannot_be_are_refused() {
    let refused = |builder: dmaring_emulated::DeviceBuilder| builder.build().unwrap_err();
    let channels = |channels, per_function| BuildError::Channels { channels, per_function };
    assert_eq!(refused(builder().channels(0)), channels(0, 1));
    assert_eq!(refused(builder().channels(3).channels_per_function(2)), channels(3, 2));
    assert_eq!(refused(builder().channels(2).channels_per_function(0)), channels(2, 0));
    assert_eq!(refused(builder().channels(32).channels_per_function(32)), channels(32, 32));
    assert_eq!(refused(builder().xfercap(32)), BuildError::TransferLimit { log2: 32 });
    let xor = Device::builder(Preset::Bdx).capabilities(DmaCapability::XOR);
    assert_eq!(refused(xor), BuildError::Capabilities { bits: 0x100 });
    assert!(builder().capabilities(DmaCapability::empty()).build().is_ok());
}
