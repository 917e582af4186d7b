//! Facts of the host, its log, memory for Domain-0's store ([`CallNumber::CONTROL_HOST`](crate::CallNumber)).

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `()` -> [`super::VERSION`].
pub const VERSION: u64 = 0;
/// `(out: *mut HostInfo)` -> 0.
pub const INFO: u64 = 1;
/// `(inout: *mut LogWindow)` -> bytes read.
pub const LOG_READ: u64 = 2;
/// `(seconds since 1970 at system time 0, nanoseconds)` -> 0. Guests see the new time from then on.
pub const SET_WALL_CLOCK: u64 = 3;
/// `(order)` -> machine frame number of `1 << order` free frames, cleared, now mapped into Domain-0 at that address and
/// counted as `store`. `ENOMEM` when there are none. `order` is at most 9.
pub const CLAIM: u64 = 4;
/// `(mfn, order)` -> 0: gives claimed frames back.
pub const RELEASE: u64 = 5;
/// `(inout: *mut Sample)` -> 1 when there are more domains, 0 when these were the last. The host's facts and those of
/// up to `capacity` domains, all as of one moment. One call suffices unless the domains have more than
/// [`SAMPLE_VCPUS`] vCPUs together.
pub const SAMPLE: u64 = 6;

/// `(interrupt)` -> port: a device's interrupt, as [`crate::start::Device::interrupt`] numbers it, comes as an event of
/// Domain-0 from now on. `ENOENT`: no device's interrupt has that number. On machines where Domain-0 has no interrupt
/// controller.
pub const BIND_IRQ: u64 = 7;
/// `(out: *mut MessageInterrupt)` -> 0: an interrupt that a device signals by writing a message (PCI MSI-X), as an event
/// of Domain-0. `ENOSPC`: there are no more, or none on this machine.
pub const BIND_MSI: u64 = 8;

/// See [`BIND_MSI`].
#[repr(C)]
#[derive(
    Clone, Copy, Default, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable,
)]
pub struct MessageInterrupt {
    /// Where the device writes.
    pub address: u64,
    /// What it writes.
    pub data: u32,
    /// The port that the event comes through.
    pub port: u32,
}

/// vCPUs that one [`SAMPLE`] looks at; a domain is looked at whole.
pub const SAMPLE_VCPUS: usize = 128;

/// Where the machine's memory and time are.
#[repr(C)]
#[derive(
    Clone, Copy, Default, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable,
)]
pub struct HostInfo {
    /// All RAM, in KiB. The parts below add up to it.
    pub total_kib: u64,
    /// Free.
    pub free_kib: u64,
    /// Hypervisor: image, frame metadata, tables and records of domains.
    pub hypervisor_kib: u64,
    /// Domain-0's own RAM.
    pub dom0_kib: u64,
    /// Boot bundle and host tables, where the boot loader put them.
    pub boot_kib: u64,
    /// Frames that Domain-0 claimed for its store.
    pub store_kib: u64,
    /// RAM of all other domains.
    pub domains_kib: u64,
    /// CPUs that run.
    pub cpus: u32,
    /// Domains that exist, Domain-0 and dying ones included.
    pub domains: u32,
    /// System time, nanoseconds since the hypervisor started.
    pub now_ns: u64,
    /// System time of Domain-0's first instruction.
    pub dom0_started_ns: u64,
    /// Counter ticks per second.
    pub counter_hz: u64,
    /// Guest-physical address bits.
    pub ipa_bits: u32,
    /// Interrupt controller version shown to guests: 2 or 3 on ARM, 0 elsewhere.
    pub interrupt_controller_version: u32,
    /// Time no vCPU ran, nanoseconds, all CPUs together.
    pub idle_ns: u64,
    /// Image version of the CPU (MIDR_EL1 on ARM).
    pub cpu_id: u64,
    /// What runs guests: one of [`extension`].
    pub extension: u32,
    /// Reserved.
    pub reserved: u32,
    /// Bytes written to the hypervisor's log.
    pub log_bytes: u64,
}

/// Values of [`HostInfo::extension`].
pub mod extension {
    /// The architecture has one way.
    pub const ONLY: u32 = 0;
    /// AMD SVM.
    pub const SVM: u32 = 1;
    /// Intel VMX.
    pub const VMX: u32 = 2;
}

/// A read of the hypervisor's log ring.
#[repr(C)]
#[derive(
    Clone, Copy, Default, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable,
)]
pub struct LogWindow {
    /// In: position of the first wanted byte since boot. Out: position after the last one read.
    pub cursor: u64,
    /// Virtual address of the buffer.
    pub buffer: u64,
    /// Bytes the buffer holds.
    pub capacity: u64,
    /// Out: bytes that were overwritten before they could be read.
    pub lost: u64,
}

/// The host and its domains at one moment, a piece at a time.
#[repr(C)]
#[derive(
    Clone, Copy, Default, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable,
)]
pub struct Sample {
    /// In: 0, or what the last call left here. Out: where to go on.
    pub cursor: u64,
    /// Virtual address of an array of [`super::domain::DomainInfo`].
    pub buffer: u64,
    /// Entries it holds.
    pub capacity: u64,
    /// Out: entries written, in no particular order.
    pub count: u64,
    /// Out: the host. Its `now_ns` is the moment.
    pub host: HostInfo,
}
