use super::{ChannelCommand, ChannelControl, ChannelState, ChannelStatus};
use super::{DcaControl, LtrLatency, LtrSelect, RingSizeControl};

#[test]
fn a_status_word_is_an_address_and_a_state() {
    let halted = ChannelStatus::from_bits(0x0000_0012_3456_7883);
    assert_eq!(halted.completed(), 0x12_3456_7880);
    assert_eq!(halted.state(), ChannelState::Halted);
    assert!(!halted.has_unaffiliated_error() && !halted.has_soft_error());
    assert_eq!(ChannelStatus::new(0x12_3456_7880, ChannelState::Halted), halted);
    assert_eq!(ChannelStatus::new(0x12_3456_78bf, ChannelState::Halted), halted);

    let errors = ChannelStatus::from_bits(0x7ffc_0019);
    assert_eq!((errors.completed(), errors.state()), (0x7ffc_0000, ChannelState::Idle));
    assert!(errors.has_unaffiliated_error() && errors.has_soft_error());
    assert!(!errors.is_absent() && ChannelStatus::from_bits(u64::MAX).is_absent());
    assert_eq!(errors.bits(), 0x7ffc_0019);
}

#[test]
fn each_state_has_the_number_of_the_sources() {
    let states = [
        ChannelState::Active,
        ChannelState::Idle,
        ChannelState::Suspended,
        ChannelState::Halted,
        ChannelState::Armed,
        ChannelState::Unknown(5),
        ChannelState::Unknown(6),
        ChannelState::Unknown(7),
    ];
    for (number, state) in (0u8..).zip(states) {
        assert_eq!(ChannelState::from_number(number), state);
        assert_eq!(ChannelStatus::from_bits(0x40 | u64::from(number)).state(), state);
        assert_eq!(state.number(), number);
    }
    assert_eq!(ChannelStatus::new(0, ChannelState::Unknown(0xff)).bits(), 7);
}

#[test]
fn each_control_and_command_bit_is_the_sources() {
    assert_eq!(ChannelControl::INTERRUPT_REARM.bits(), 0x0001);
    assert_eq!(ChannelControl::ERROR_COMPLETION.bits(), 0x0004);
    assert_eq!(ChannelControl::ANY_ERROR_ABORT.bits(), 0x0008);
    assert_eq!(ChannelControl::ERROR_INTERRUPT.bits(), 0x0010);
    assert_eq!(ChannelControl::DESCRIPTOR_SNOOP_CONTROL.bits(), 0x0020);
    assert_eq!(ChannelControl::IN_USE.bits(), 0x0100);
    assert_eq!(ChannelControl::COMPLETION_DCA.bits(), 0x0200);
    assert_eq!(ChannelControl::from_bits_retain(0xa10c).priority(), 10);

    assert_eq!(ChannelCommand::START.bits(), 0x01);
    assert_eq!(ChannelCommand::APPEND.bits(), 0x02);
    assert_eq!(ChannelCommand::SUSPEND.bits(), 0x04);
    assert_eq!(ChannelCommand::ABORT.bits(), 0x08);
    assert_eq!(ChannelCommand::RESUME.bits(), 0x10);
    assert_eq!(ChannelCommand::RESET.bits(), 0x20);
}

#[test]
fn what_drivers_write_to_channel_control_is_made_of_its_flags() {
    let dpdk = ChannelControl::ANY_ERROR_ABORT | ChannelControl::ERROR_COMPLETION;
    let linux = dpdk | ChannelControl::ERROR_INTERRUPT | ChannelControl::INTERRUPT_REARM;
    assert_eq!((dpdk.bits(), linux.bits()), (0x0c, 0x1d));
}

#[test]
fn the_registers_of_version_3_4_are_what_linux_writes() {
    let ring = RingSizeControl::from_bits_retain(RingSizeControl::SIZE_2_MIB)
        | RingSizeControl::ENABLE
        | RingSizeControl::AUTO_WRAP;
    assert_eq!(ring.bits(), 0x0309);
    let latency = LtrLatency::SNOOP_VALUE_1
        | LtrLatency::SNOOP_SCALE_MICROSECOND
        | LtrLatency::SNOOP_REQUIREMENT;
    assert_eq!(latency.bits(), 0x8801);
    for bits in 0..=u8::MAX {
        assert_eq!(LtrSelect::from_bits(bits).bits(), bits);
    }
    assert_eq!(LtrSelect::from_bits(1), LtrSelect::Idle);
}

#[test]
fn dca_control_is_a_target_and_a_flag() {
    let dca = DcaControl::from_bits(0x0001_00ff);
    assert_eq!((dca.target(), dca.is_enabled()), (0xff, true));
    assert!(!DcaControl::from_bits(0xfffe_ffff).is_enabled());
}
