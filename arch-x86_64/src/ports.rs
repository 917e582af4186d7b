//! I/O ports.
//!
//! Domain-0 drives the second serial line, PCI configuration mechanism 1 and the real-time clock itself: these ports are
//! open for it. Other guests have ACPI's registers for switching off and restarting (`hv_abi::layout::x86`). Behind all
//! others there is nothing: reads give all ones, as a bus without a device does, and writes go nowhere.

use hv_abi::layout::x86::{
    RESET_PORT, RESET_VALUE, SLEEP_CONTROL_PORT, SLEEP_ENABLE, SLEEP_STATUS_PORT,
};
use hv_common::arch::Power;

/// Ports that are open for Domain-0: the first, and how many.
pub const DOM0: [(u16, u16); 3] = [COM2, PCI, CMOS];
/// The second serial line.
pub const COM2: (u16, u16) = (0x2F8, 8);
/// PCI configuration mechanism 1.
pub const PCI: (u16, u16) = (0xCF8, 8);
/// The real-time clock.
pub const CMOS: (u16, u16) = (0x70, 2);

/// Counter 2 of an interval timer. All ones make Linux wait 50,000 reads for that counter to change; zero makes it see at
/// once that nothing counts.
const TIMER_COUNTER: u16 = 0x42;

/// Which interrupts of the interrupt controllers that are not there would be levels: that of the ACPI tables (number 0), as
/// a system with these controllers would find it.
const TRIGGER_MODES: u16 = 0x4D0;
/// Of interrupts 8 to 15.
const TRIGGER_MODES_HIGH: u16 = 0x4D1;

/// What a write of a byte asks for.
#[must_use]
pub fn written(port: u16, value: u8) -> Option<Power> {
    match port {
        SLEEP_CONTROL_PORT if value & SLEEP_ENABLE != 0 => Some(Power::SystemOff),
        RESET_PORT if value == RESET_VALUE => Some(Power::SystemReset),
        _ => None,
    }
}

/// What a read of `size` bytes gives where there is no device.
#[must_use]
pub fn read_nothing(port: u16, size: u8) -> u32 {
    match (port, size) {
        (TRIGGER_MODES, 1) => 1,
        (TRIGGER_MODES_HIGH | TIMER_COUNTER | SLEEP_CONTROL_PORT | SLEEP_STATUS_PORT, 1) => 0,
        (_, 1) => 0xFF,
        (_, 2) => 0xFFFF,
        _ => 0xFFFF_FFFF,
    }
}

/// RAX after a read: narrow ones leave the upper part, those of 32 bits clear it.
#[must_use]
pub fn merge(rax: u64, value: u32, size: u8) -> u64 {
    match size {
        1 => rax & !0xFF | u64::from(value & 0xFF),
        2 => rax & !0xFFFF | u64::from(value & 0xFFFF),
        _ => u64::from(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_switches_itself_off() {
        assert_eq!(written(0x600, 5 << 2 | 1 << 5), Some(Power::SystemOff));
        assert_eq!(written(0x600, 5 << 2), None);
        assert_eq!(written(0x602, 1), Some(Power::SystemReset));
        assert_eq!(written(0x601, 0xFF), None);
    }

    #[test]
    fn a_port_without_a_device_reads_as_ones_but_for_the_timer() {
        assert_eq!(
            merge(0x1122_3344_5566_7788, read_nothing(0x3FD, 1), 1),
            0x1122_3344_5566_77FF
        );
        assert_eq!(merge(u64::MAX, read_nothing(0x42, 1), 1), u64::MAX - 0xFF);
        assert_eq!(
            merge(0x1122_3344_5566_7788, read_nothing(0xCFC, 4), 4),
            0xFFFF_FFFF
        );
        assert_eq!(merge(0, read_nothing(0x1F0, 2), 2), 0xFFFF);
        assert_eq!((read_nothing(0x4D0, 1), read_nothing(0x4D1, 1)), (1, 0));
    }
}
