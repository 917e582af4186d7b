//! What xend asks of the hypervisor and of the image it runs in.
//!
//! [`Hypervisor`] mirrors the calls of `hv_abi` that Domain-0 needs, one method per call, typed. What is true here:
//! - No method blocks, and none runs long: ranges and copies are bounded, and what returns a count may have done less
//!   than it was asked for.
//! - Memory that xend holds is a value: [`Hypervisor::Frames`] are claimed frames, [`Hypervisor::Page`] is a mapped
//!   grant. Dropping it gives the frames back, or unmaps the page; so nothing can leak, whatever fails.
//! - Ports are numbers: whoever binds one closes it.

use crate::ring::SharedPage;
use alloc::vec::Vec;
use hv_abi::control::domain::{CreateDomain, DomainInfo, ShutdownReason};
use hv_abi::control::host::HostInfo;
use hv_abi::control::vcpu::{StartContext, VcpuInfo};
use hv_abi::{DomId, Errno};

/// What a call returns.
pub type Answer<T> = Result<T, Errno>;

/// A port of Domain-0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LocalPort(pub u32);

/// What [`Hypervisor::log_read`] read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogPiece {
    /// The cursor to ask with next time.
    pub next: u64,
    /// Bytes that were gone before they could be read.
    pub lost: u64,
    /// Bytes read.
    pub length: usize,
}

/// What [`Hypervisor::save_records`] wrote.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecordPiece {
    /// The cursor to ask with next time.
    pub next: u64,
    /// Bytes written: whole records, each padded to 8 bytes.
    pub length: usize,
    /// Whether these were the last ones.
    pub last: bool,
}

/// What [`Hypervisor::sample`] wrote.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SamplePiece {
    /// The cursor to ask with next time.
    pub next: u64,
    /// Domains written.
    pub count: usize,
    /// Whether these were the last ones.
    pub last: bool,
    /// The host.
    pub host: HostInfo,
}

/// A run of populated guest frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// First guest frame.
    pub gfn: u64,
    /// Frames.
    pub count: u64,
}

/// What becomes of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostStop {
    /// It is switched off.
    PowerOff,
    /// It starts again.
    Restart,
}

/// Use of Domain-0's heap, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HeapUse {
    /// In use.
    pub used: u64,
    /// There is.
    pub size: u64,
}

/// The hypervisor, and the little xend needs from its image.
pub trait Hypervisor {
    /// A page that a guest granted. Dropping it unmaps it.
    type Page: SharedPage + 'static;
    /// Frames claimed for the store: contiguous, and ours alone. Dropping them gives them back.
    type Frames: AsRef<[u8]> + AsMut<[u8]> + 'static;

    /// Facts of the host.
    fn host_info(&mut self) -> Answer<HostInfo>;
    /// The host and its domains at one moment, those from `cursor` (0 at first) on, in no particular order.
    fn sample(&mut self, cursor: u64, into: &mut [DomainInfo]) -> Answer<SamplePiece>;
    /// The hypervisor's log from `cursor` on.
    fn log_read(&mut self, cursor: u64, into: &mut [u8]) -> Answer<LogPiece>;
    /// Sets the wall clock: the time at system time 0.
    fn set_wall_clock(&mut self, seconds: u64, nanoseconds: u32) -> Answer<()>;
    /// Claims `1 << order` frames, all zero.
    fn claim(&mut self, order: u32) -> Answer<Self::Frames>;

    /// Makes a domain: paused, empty, with its memory reserved.
    fn create(&mut self, domain: &CreateDomain) -> Answer<DomId>;
    /// Takes a domain apart; `false`: there is more to do, call again.
    fn destroy(&mut self, domid: DomId) -> Answer<bool>;
    /// Stops all vCPUs of a domain.
    fn pause(&mut self, domid: DomId) -> Answer<()>;
    /// Starts a domain, or lets it go on.
    fn unpause(&mut self, domid: DomId) -> Answer<()>;
    /// Existing domains in ascending order from `first` on; returns how many were written.
    fn list(&mut self, first: DomId, into: &mut [DomainInfo]) -> Answer<usize>;
    /// Keeps xend's record with a domain.
    fn set_blob(&mut self, domid: DomId, record: &[u8]) -> Answer<()>;
    /// xend's record of a domain; returns its full length.
    fn get_blob(&mut self, domid: DomId, into: &mut [u8]) -> Answer<usize>;
    /// Shuts a domain down from outside, as if it had done so itself.
    fn remote_shutdown(&mut self, domid: DomId, reason: ShutdownReason) -> Answer<()>;

    /// Sets a domain's weight, and its cap in percent of one CPU (0: none).
    fn set_scheduling(&mut self, domid: DomId, weight: u32, cap: u32) -> Answer<()>;
    /// A domain's weight and cap.
    fn scheduling(&mut self, domid: DomId) -> Answer<(u32, u32)>;
    /// Says where a vCPU may run: bit n for CPU n.
    fn set_affinity(&mut self, domid: DomId, vcpu: u32, cpus: u64) -> Answer<()>;
    /// Where a vCPU may run, of the CPUs that there are.
    fn affinity(&mut self, domid: DomId, vcpu: u32) -> Answer<u64>;

    /// Populates guest frames; returns how many, at least one.
    fn populate(&mut self, domid: DomId, run: Run) -> Answer<u64>;
    /// Clears frames that are not cleared yet; returns how many were looked at, at least one.
    fn clear(&mut self, domid: DomId, run: Run) -> Answer<u64>;
    /// The next populated run at or after `gfn`, of at most `count` frames.
    fn next_extent(&mut self, domid: DomId, gfn: u64, count: u64) -> Answer<Option<Run>>;
    /// Copies into a domain at most `COPY_MAX` bytes; returns how many.
    fn copy_to(&mut self, domid: DomId, gpa: u64, from: &[u8]) -> Answer<usize>;
    /// Copies out of a domain at most `COPY_MAX` bytes; returns how many.
    fn copy_from(&mut self, domid: DomId, gpa: u64, into: &mut [u8]) -> Answer<usize>;

    /// Gives a vCPU the state a boot loader leaves.
    fn set_context(&mut self, domid: DomId, vcpu: u32, context: &StartContext) -> Answer<()>;
    /// Facts of a vCPU.
    fn vcpu_info(&mut self, domid: DomId, vcpu: u32) -> Answer<VcpuInfo>;
    /// Records of a paused domain from number `cursor` on.
    fn save_records(&mut self, domid: DomId, cursor: u64, into: &mut [u8]) -> Answer<RecordPiece>;
    /// Loads one record, header and body, into a domain that never ran.
    fn restore_record(&mut self, domid: DomId, record: &[u8]) -> Answer<()>;

    /// Sets one of `hv_abi::xen::hvm::param`.
    fn set_param(&mut self, domid: DomId, index: u32, value: u64) -> Answer<()>;
    /// Reads one of `hv_abi::xen::hvm::param`.
    fn get_param(&mut self, domid: DomId, index: u32) -> Answer<u64>;
    /// Leaves a port of `domid` for Domain-0 to bind to; returns its number there.
    fn alloc_unbound(&mut self, domid: DomId) -> Answer<u32>;
    /// Binds a port of ours to a domain's port that waits for us.
    fn bind_interdomain(&mut self, domid: DomId, remote_port: u32) -> Answer<LocalPort>;
    /// Notifies the peer.
    fn send(&mut self, port: LocalPort) -> Answer<()>;
    /// Closes a port of ours.
    fn close(&mut self, port: LocalPort) -> Answer<()>;
    /// Maps a page that a domain granted to Domain-0, for reading and writing.
    fn map_grant(&mut self, domid: DomId, reference: u32) -> Answer<Self::Page>;

    /// A file of the boot bundle.
    fn bundle_file(&self, name: &str) -> Option<&'static [u8]>;
    /// The names of all files of the boot bundle.
    fn bundle_names(&self) -> Vec<&'static str>;
    /// Fills `into` with random bytes.
    fn random(&mut self, into: &mut [u8]);
    /// Use of Domain-0's heap.
    fn heap(&self) -> HeapUse;
    /// Switches the machine off or restarts it; returns only if that is refused.
    fn stop_host(&mut self, how: HostStop) -> Answer<()>;
}
