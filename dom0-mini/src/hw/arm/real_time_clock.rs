//! The wall clock: a PL031 (Arm DDI 0224, RTCDR).

use hv_abi::start::{Device, DeviceKind};

/// Seconds since 1970, if there is a clock that is set.
pub(crate) fn wall_clock_s(devices: &[Device]) -> Option<u64> {
    let clock = devices
        .iter()
        .find(|device| device.kind == DeviceKind::PL031)?;
    let data = clock.registers.base as *const u32;
    // SAFETY: the start page names these registers as a device of ours, mapped as device memory; RTCDR is the first, and
    // reading it has no effect.
    let seconds = unsafe { data.read_volatile() };
    (seconds != 0).then_some(seconds.into())
}
