//! Time: the host's clock, a guest's system time, wall-clock time.
//!
//! The host's clock counts nanoseconds since the hypervisor started and is never set. A guest's system time is its own
//! counter in nanoseconds; it stands still between save and restore. Wall-clock time is a base that Domain-0 sets; a
//! guest adds its system time to the wall-clock time at its system time 0, which is what `shared_info` holds.

use core::sync::atomic::{Ordering, fence};

use crate::lock::Lock;
use hv_abi::xen::shared_info::SharedInfoLayout;

use crate::arch::{Arch, Host, Mfn, Platform};
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
