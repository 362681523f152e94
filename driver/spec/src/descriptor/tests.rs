use zerocopy::{FromBytes, IntoBytes};

use super::{Control, ControlFlags, Descriptor, Opcode};
use crate::registers::DmaCapability;

/// A copy of 0x12345 bytes with completion write and fence, typed by hand.
#[rustfmt::skip]
const COPY: [u8; 64] = [
    0x45, 0x23, 0x01, 0x00, 0x18, 0x00, 0x00, 0x00,
    0x08, 0x07, 0x06, 0x05, 0x04, 0x03, 0x02, 0x01,
    0x00, 0x10, 0xed, 0xfe, 0x7f, 0x00, 0x00, 0x00,
    0x40, 0x00, 0x00, 0x40, 0x00, 0x00, 0x00, 0x00,
    0, 0, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0,
];

/// A fill of 1 MiB with an interrupt, typed by hand.
#[rustfmt::skip]
const FILL: [u8; 64] = [
    0x00, 0x00, 0x10, 0x00, 0x01, 0x00, 0x00, 0x01,
    0xef, 0xcd, 0xab, 0x89, 0x67, 0x45, 0x23, 0x01,
    0x01, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0, 0, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0,
];

/// A null descriptor with completion write, typed by hand.
#[rustfmt::skip]
const NULL: [u8; 64] = [
    0x01, 0x00, 0x00, 0x00, 0x28, 0x00, 0x00, 0x00,
    0, 0, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0,
    0x80, 0xff, 0xff, 0xff, 0x7f, 0x00, 0x00, 0x00,
    0, 0, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0,
];

fn copy() -> Descriptor {
    Descriptor::copy(0x0102_0304_0506_0708, 0x7f_feed_1000, 0x1_2345)
        .with_flags(ControlFlags::COMPLETION_WRITE | ControlFlags::FENCE)
        .with_next(0x4000_0040)
}

fn fill() -> Descriptor {
    Descriptor::fill(0x0123_4567_89ab_cdef, 0x1_0000_0001, 0x10_0000)
        .with_flags(ControlFlags::INTERRUPT)
}

#[test]
fn descriptors_have_the_bytes_typed_by_hand() {
    assert_eq!(copy().as_bytes(), COPY);
    assert_eq!(fill().as_bytes(), FILL);
    let null = Descriptor::null().with_flags(ControlFlags::COMPLETION_WRITE);
    assert_eq!(null.with_next(0x7f_ffff_ff80).as_bytes(), NULL);
}

#[test]
fn bytes_are_read_back_from_anywhere() {
    let mut bytes = [0xaa; 65];
    bytes[1..].copy_from_slice(&FILL);
    let read = Descriptor::read_from_bytes(&bytes[1..]).unwrap();
    assert_eq!(read, fill());
    assert_eq!(read.size(), 0x10_0000);
    assert_eq!(read.control().opcode(), Opcode::Fill);
    assert_eq!(read.control().flags(), ControlFlags::INTERRUPT);
    assert_eq!(read.source(), 0x0123_4567_89ab_cdef);
    assert_eq!(read.destination(), 0x1_0000_0001);
    assert_eq!((read.next(), read.operands()), (0, [0; 4]));
}

#[test]
fn words_are_the_bytes() {
    let bytes: [u8; 64] = core::array::from_fn(|index| index as u8);
    let descriptor = Descriptor::read_from_bytes(&bytes).unwrap();
    let words = descriptor.to_words();
    assert_eq!(words[0], 0x0706_0504_0302_0100);
    assert_eq!(words[7], 0x3f3e_3d3c_3b3a_3938);
    for (index, word) in words.into_iter().enumerate() {
        assert_eq!(word.to_le_bytes(), bytes[8 * index..][..8]);
    }
    assert_eq!(Descriptor::from_words(words), descriptor);
    assert_eq!(descriptor.size(), 0x0302_0100);
    assert_eq!(descriptor.control().bits(), 0x0706_0504);
    assert_eq!(descriptor.next(), 0x1f1e_1d1c_1b1a_1918);
    assert_eq!(descriptor.operands()[3], 0x3f3e_3d3c_3b3a_3938);
}

#[test]
fn each_flag_is_the_bit_of_the_sources() {
    let flags = [
        (0, ControlFlags::INTERRUPT),
        (1, ControlFlags::SOURCE_SNOOP_DISABLE),
        (2, ControlFlags::DESTINATION_SNOOP_DISABLE),
        (3, ControlFlags::COMPLETION_WRITE),
        (4, ControlFlags::FENCE),
        (5, ControlFlags::NULL),
        (6, ControlFlags::SOURCE_PAGE_BREAK),
        (7, ControlFlags::DESTINATION_PAGE_BREAK),
        (8, ControlFlags::BUNDLE),
        (9, ControlFlags::DESTINATION_DCA),
        (10, ControlFlags::HINT),
        (11, ControlFlags::P_DISABLE),
        (12, ControlFlags::Q_DISABLE),
        (15, ControlFlags::WRITE_BACK_ENABLE),
        (16, ControlFlags::PRL_ENABLE),
    ];
    for (bit, flag) in flags {
        assert_eq!(Control::from_bits(1 << bit).flags(), flag);
    }
    assert_eq!(ControlFlags::all().iter_names().count(), flags.len());
}

#[test]
fn each_operation_has_the_number_of_the_sources() {
    let operations = [
        (0x00, Opcode::Copy),
        (0x01, Opcode::Fill),
        (0x86, Opcode::PageCompare),
        (0x87, Opcode::Xor),
        (0x88, Opcode::XorCheck),
        (0x89, Opcode::Pq),
        (0x8a, Opcode::PqCheck),
        (0x8b, Opcode::PqUpdate),
        (0xa0, Opcode::Pq16),
        (0xa1, Opcode::PqCheck16),
    ];
    for number in 0..=u8::MAX {
        let known = operations.iter().find(|(known, _)| *known == number);
        let expected = known.map_or(Opcode::Unknown(number), |(_, opcode)| *opcode);
        let control = Control::from_bits(u32::from(number) << 24 | 0x18);
        assert_eq!((control.opcode(), expected.number()), (expected, number));
        let flags = ControlFlags::COMPLETION_WRITE | ControlFlags::FENCE;
        assert_eq!(Control::new(expected, flags), control);
    }
    assert_eq!(Control::new(Opcode::Fill, ControlFlags::all()).bits(), 0x01ff_ffff);
}

#[test]
fn reserved_bits_are_those_that_the_operation_does_not_define() {
    let reserved = |bits| Control::from_bits(bits).reserved_bits();
    assert_eq!(reserved(0x0000_07ff), 0);
    assert_eq!(reserved(0x00ff_ffff), 0x00ff_f800);
    assert_eq!(reserved(0x0100_019d), 0);
    assert_eq!(reserved(0x01ff_ffff), 0x00ff_fe62);
    assert_eq!(reserved(0x86ff_ffff), 0x00ff_7fe4);
    assert_eq!(reserved(0x87ff_ffff), 0x00ff_f800);
    assert_eq!(reserved(0x89ff_ffff), 0x00fe_6000);
    assert_eq!(reserved(0x8bff_ffff), 0x0000_e000);
    assert_eq!(reserved(0x4200_0008), 0x0000_0008);
}

#[test]
fn fields_of_xor_and_pq_are_read() {
    let control = Control::from_bits(0x8b5a_00a8);
    assert_eq!((control.source_count(), control.coefficient()), (5, 0x5a));
    assert_eq!(Opcode::Copy.needs(), Some(DmaCapability::empty()));
    assert_eq!(Opcode::Fill.needs(), Some(DmaCapability::from_bits_retain(0x40)));
    assert_eq!(Opcode::XorCheck.needs(), Some(DmaCapability::from_bits_retain(0x100)));
    assert_eq!(Opcode::PqUpdate.needs(), Some(DmaCapability::from_bits_retain(0x200)));
    assert_eq!(Opcode::Pq16.needs(), Some(DmaCapability::from_bits_retain(0x2_0200)));
    assert_eq!((Opcode::PageCompare.needs(), Opcode::Unknown(2).needs()), (None, None));
}
