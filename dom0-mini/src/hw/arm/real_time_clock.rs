//! The wall clock: a PL031 (Arm DDI 0224, RTCDR).

use crate::hw::memory;
use hv_abi::start::{Device, DeviceKind};

/// Seconds since 1970, if there is a clock that is set.
pub(crate) fn wall_clock_s(devices: &[Device]) -> Option<u64> {
    let clock = devices
        .iter()
        .find(|device| device.kind == DeviceKind::PL031)?;
    let seconds = u64::from(memory::read_register(clock.registers, 0));
    (seconds != 0).then_some(seconds)
}
