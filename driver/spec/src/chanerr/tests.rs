extern crate std;

use std::vec::Vec;

use super::{CAUSES, Cause, ChannelError, ErrorClass};

/// Bit, Linux's name and value, typed from Linux's header.
const LINUX: &[(u8, &str, u32)] = &[
    (0, "SRC_ADDR_ERR", 0x0001),
    (1, "DEST_ADDR_ERR", 0x0002),
    (2, "NEXT_ADDR_ERR", 0x0004),
    (3, "NEXT_DESC_ALIGN_ERR", 0x0008),
    (4, "CHAIN_ADDR_VALUE_ERR", 0x0010),
    (5, "CHANCMD_ERR", 0x0020),
    (6, "CHIPSET_UNCORRECTABLE_DATA_INTEGRITY_ERR", 0x0040),
    (7, "DMA_UNCORRECTABLE_DATA_INTEGRITY_ERR", 0x0080),
    (8, "READ_DATA_ERR", 0x0100),
    (9, "WRITE_DATA_ERR", 0x0200),
    (10, "CONTROL_ERR", 0x0400),
    (11, "LENGTH_ERR", 0x0800),
    (12, "COMPLETION_ADDR_ERR", 0x1000),
    (13, "INT_CONFIGURATION_ERR", 0x2000),
    (14, "SOFT_ERR", 0x4000),
    (15, "UNAFFILIATED_ERR", 0x8000),
    (16, "XOR_P_OR_CRC_ERR", 0x1_0000),
    (17, "XOR_Q_ERR", 0x2_0000),
    (18, "DESCRIPTOR_COUNT_ERR", 0x4_0000),
];

#[test]
fn every_bit_of_linux_has_its_cause() {
    for (bit, name, value) in LINUX {
        let causes: Vec<_> = ChannelError::from_bits_retain(*value).causes().collect();
        let [Cause::Known(cause)] = causes[..] else { panic!("bit {bit}: {causes:?}") };
        assert_eq!((cause.bit, cause.linux_name), (*bit, Some(*name)));
        assert!(!cause.meaning.is_empty());
    }
}

#[test]
fn every_flag_is_the_bit_of_its_place_in_the_table() {
    let flags: Vec<_> = ChannelError::all().iter_names().collect();
    assert_eq!((flags.len(), CAUSES.len()), (28, 28));
    for (bit, ((_, flag), cause)) in (0u8..).zip(flags.into_iter().zip(CAUSES)) {
        assert_eq!((flag.bits(), cause.bit), (1 << bit, bit));
        assert_eq!(cause.linux_name.is_some(), bit <= 18);
    }
}

#[test]
fn bits_that_no_source_names_have_a_cause() {
    for bit in 28..32 {
        let causes: Vec<_> = ChannelError::from_bits_retain(1 << bit).causes().collect();
        assert_eq!(causes, [Cause::Unknown(bit)]);
        assert_eq!((causes[0].bit(), causes[0].name()), (bit, "UNKNOWN"));
        assert_eq!((causes[0].class(), causes[0].recoverable()), (ErrorClass::Unspecified, false));
    }
    let all = ChannelError::from_bits_retain(u32::MAX);
    assert_eq!(all.causes().count(), 32);
    assert!(all.is_absent() && !ChannelError::all().difference(ChannelError::SOFT).is_absent());
}

#[test]
fn causes_come_from_the_lowest_bit_up() {
    let error = ChannelError::UNAFFILIATED | ChannelError::READ_DATA | ChannelError::LENGTH;
    let bits: Vec<_> = error.causes().map(Cause::bit).collect();
    assert_eq!(bits, [8, 11, 15]);
}

#[test]
fn each_bit_is_of_its_class() {
    let class = |bits| ChannelError::from_bits_retain(bits).class();
    assert_eq!(class(0), ErrorClass::Unspecified);
    let classes = [
        (&[0][..], ErrorClass::SourceAddress),
        (&[1], ErrorClass::DestinationAddress),
        (&[2, 3, 4, 10, 11, 18, 23], ErrorClass::Descriptor),
        (&[5, 12, 13], ErrorClass::Setup),
        (&[6, 7], ErrorClass::Integrity),
        (&[8], ErrorClass::Read),
        (&[9], ErrorClass::Write),
        (&[14, 15, 28, 29, 30, 31], ErrorClass::Unspecified),
        (&[16, 17, 19, 20, 21, 22, 24, 25, 26, 27], ErrorClass::Check),
    ];
    assert_eq!(classes.iter().map(|(bits, _)| bits.len()).sum::<usize>(), 32);
    for (bits, expected) in classes {
        for bit in bits {
            assert_eq!(class(1u32 << bit), expected, "bit {bit}");
        }
    }
    let mixed = ChannelError::SOFT | ChannelError::DESCRIPTOR_COUNT;
    assert_eq!(mixed.class(), ErrorClass::Descriptor);
}

#[test]
fn only_data_errors_alone_are_recoverable() {
    for bit in 0..32 {
        let error = ChannelError::from_bits_retain(1 << bit);
        assert_eq!(error.is_recoverable(), bit == 8 || bit == 9, "bit {bit}");
    }
    let data = ChannelError::READ_DATA | ChannelError::WRITE_DATA;
    assert!(data.is_recoverable());
    assert!(!(data | ChannelError::SOFT).is_recoverable());
    assert!(!ChannelError::empty().is_recoverable());
}
