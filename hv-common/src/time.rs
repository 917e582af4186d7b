//! Time: the host's clock, a guest's system time, wall-clock time.
//!
//! The host's clock counts nanoseconds since the hypervisor started and is never set. A guest's system time is its own
//! counter in nanoseconds; it stands still between save and restore. Wall-clock time is a base that Domain-0 sets; a
//! guest adds its system time to the wall-clock time at its system time 0, which is what `shared_info` holds.

use core::convert::Infallible;
use core::sync::atomic::{Ordering, fence};

use crate::lock::Lock;
use hv_abi::Errno;
use hv_abi::xen::shared_info::SharedInfoLayout;

use crate::arch::{Arch, ClockScale, Gpa, Host, Mfn, Platform};
use crate::domain::Domain;
use crate::hypervisor::Hypervisor;

/// Nanoseconds in a second.
pub const SECOND_NS: u64 = 1_000_000_000;

/// "Never", as a time.
pub const NEVER: u64 = u64::MAX;

/// Ticks of a counter as nanoseconds.
#[must_use]
pub fn ticks_to_ns(ticks: u64, hz: u64) -> u64 {
    scale(ticks, SECOND_NS, hz)
}

/// Nanoseconds as ticks of a counter.
#[must_use]
pub fn ns_to_ticks(ns: u64, hz: u64) -> u64 {
    scale(ns, hz, SECOND_NS)
}

fn scale(value: u64, numerator: u64, denominator: u64) -> u64 {
    let wide = u128::from(value) * u128::from(numerator) / u128::from(denominator.max(1));
    u64::try_from(wide).unwrap_or(u64::MAX)
}

/// Wall-clock time at the host's time 0, in nanoseconds since 1970; 0: unknown.
#[derive(Debug, Default)]
pub struct WallClock {
    base_ns: Lock<u64>,
}

impl WallClock {
    /// Wall-clock time at the host's time 0.
    #[must_use]
    pub fn base_ns(&self) -> u64 {
        *self.base_ns.lock()
    }

    /// Sets it.
    pub fn set_base_ns(&self, base_ns: u64) {
        *self.base_ns.lock() = base_ns;
    }
}

/// A guest's system time now.
#[must_use]
pub fn system_time_ns<A: Arch>(hypervisor: &Hypervisor<A>, domain: &Domain<A>) -> u64 {
    let host = hypervisor.host;
    ticks_to_ns(domain.platform.guest_counter(host), host.counter_hz())
}

/// The host's time at a guest's system time.
#[must_use]
pub fn host_time_ns<A: Arch>(
    hypervisor: &Hypervisor<A>,
    domain: &Domain<A>,
    system_time_ns: u64,
) -> u64 {
    let ahead = i128::from(system_time_ns) - i128::from(self::system_time_ns(hypervisor, domain));
    let at = i128::from(hypervisor.now_ns()) + ahead;
    u64::try_from(at.max(0)).unwrap_or(NEVER)
}

/// Sets a restored guest's counter. Where guests are told how to make time of it, it continues in time, at this machine's
/// rate; elsewhere it continues as a count.
pub fn set_guest_counter<A: Arch>(
    hypervisor: &Hypervisor<A>,
    domain: &Domain<A>,
    saved: &hv_abi::record::Domain,
) {
    let host = hypervisor.host;
    let ticks = match domain.platform.clock_scale(host) {
        Some(_) => ns_to_ticks(saved.system_time_ns, host.counter_hz()),
        None => saved.guest_counter,
    };
    domain.platform.set_guest_counter(host, ticks);
}

/// How nanoseconds come of a counter of that rate, as a guest is told.
#[must_use]
pub fn clock_scale(hz: u64) -> ClockScale {
    let mut scaled = hz.max(1);
    let mut shift = 0;
    while scaled > 2 * SECOND_NS {
        scaled >>= 1;
        shift -= 1;
    }
    while scaled <= SECOND_NS {
        scaled <<= 1;
        shift += 1;
    }
    let multiplier = (SECOND_NS << 32) / scaled;
    ClockScale {
        multiplier: u32::try_from(multiplier).unwrap_or(u32::MAX),
        shift,
    }
}

/// Tells a vCPU in its `vcpu_info` how system time comes of its counter: both are 0 at the same time. Called whenever the
/// page is new to it.
pub(crate) fn publish_clock<A: Arch>(hypervisor: &Hypervisor<A>, domain: &Domain<A>, address: u64) {
    let host = hypervisor.host;
    let Some(scale) = domain.platform.clock_scale(host) else {
        return;
    };
    let at = Gpa(address).offset() + A::SHARED_INFO.time;
    let frame = Mfn(address >> hv_abi::FRAME_SHIFT);
    let mut version = [0; 4];
    host.read(frame, at, &mut version);
    let Ok(()) = write_clock(scale, u32::from_le_bytes(version), |offset, bytes| {
        host.write(frame, at + offset, bytes);
        Ok::<_, Infallible>(())
    });
}

/// The same for a copy that the guest asked for, anywhere in its memory.
///
/// # Errors
/// `ENOSYS`: its time comes otherwise; `EFAULT`: not RAM.
pub(crate) fn publish_clock_area<A: Arch>(
    hypervisor: &Hypervisor<A>,
    domain: &Domain<A>,
    area: Gpa,
) -> Result<(), Errno> {
    let scale = domain.platform.clock_scale(hypervisor.host);
    let scale = scale.ok_or(Errno::ENOSYS)?;
    let memory = hypervisor.memory(domain);
    let mut version = [0; 4];
    memory.read(area, &mut version)?;
    write_clock(scale, u32::from_le_bytes(version), |offset, bytes| {
        let at = area.0.checked_add(offset as u64).ok_or(Errno::EFAULT)?;
        memory.write(Gpa(at), bytes)
    })
}

/// Writes a `vcpu_time_info`. The version is odd while it changes.
fn write_clock<E>(
    scale: ClockScale,
    version: u32,
    mut write: impl FnMut(usize, &[u8]) -> Result<(), E>,
) -> Result<(), E> {
    const MULTIPLIER: usize = 24;
    const STABLE: u8 = 1;
    let odd = version.wrapping_add(1) | 1;
    write(0, &odd.to_le_bytes())?;
    fence(Ordering::SeqCst);
    // Counter and system time at the same moment.
    write(8, &[0; 16])?;
    let [first, second, third, fourth] = scale.multiplier.to_le_bytes();
    let shift = scale.shift.to_le_bytes()[0];
    let rest = [first, second, third, fourth, shift, STABLE, 0, 0];
    write(MULTIPLIER, &rest)?;
    fence(Ordering::SeqCst);
    write(0, &odd.wrapping_add(1).to_le_bytes())
}

/// Writes wall-clock time into a domain's `shared_info`. The version is odd while it changes.
pub fn publish_wall_clock<A: Arch>(
    hypervisor: &Hypervisor<A>,
    domain: &Domain<A>,
    shared_info: Mfn,
) {
    let start_ns = i128::from(hypervisor.now_ns()) - i128::from(system_time_ns(hypervisor, domain));
    let wall = i128::from(hypervisor.wall_clock.base_ns()) + start_ns;
    let wall = u128::try_from(wall).unwrap_or(0);
    let seconds = u64::try_from(wall / u128::from(SECOND_NS)).unwrap_or(0);
    let ns = u32::try_from(wall % u128::from(SECOND_NS)).unwrap_or(0);
    write_wall_clock(hypervisor.host, shared_info, &A::SHARED_INFO, seconds, ns);
}

fn write_wall_clock<H: Host>(
    host: &H,
    shared_info: Mfn,
    layout: &SharedInfoLayout,
    seconds: u64,
    ns: u32,
) {
    let mut version = [0; 4];
    host.read(shared_info, layout.wall_clock, &mut version);
    let odd = u32::from_le_bytes(version).wrapping_add(1) | 1;
    host.write(shared_info, layout.wall_clock, &odd.to_le_bytes());
    fence(Ordering::SeqCst);
    let low = (seconds & u64::from(u32::MAX)).to_le_bytes();
    let high = (seconds >> 32).to_le_bytes();
    let fields = [(4, low), (8, u64::from(ns).to_le_bytes()), (12, high)];
    for (offset, bytes) in fields {
        let word = bytes.first_chunk::<4>().copied().unwrap_or_default();
        host.write(shared_info, layout.wall_clock + offset, &word);
    }
    fence(Ordering::SeqCst);
    let even = odd.wrapping_add(1);
    host.write(shared_info, layout.wall_clock, &even.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scaled(scale: ClockScale, ticks: u64) -> u128 {
        let shifted = if scale.shift < 0 {
            ticks >> -scale.shift
        } else {
            ticks << scale.shift
        };
        (u128::from(shifted) * u128::from(scale.multiplier)) >> 32
    }

    #[test]
    fn a_guest_makes_nanoseconds_of_ticks() {
        for hz in [
            1,
            1_000_000,
            999_999_999,
            SECOND_NS,
            2_000_000_000,
            2_893_202_000,
            5_000_000_001,
        ] {
            let scale = clock_scale(hz);
            let ns = scaled(scale, hz);
            assert!(ns.abs_diff(u128::from(SECOND_NS)) < 100, "{hz}: {ns}");
            assert!(scale.multiplier >= 1 << 31, "{hz}: as exact as it can be");
        }
    }
}
