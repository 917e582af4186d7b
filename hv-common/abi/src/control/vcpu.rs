//! vCPUs of domains ([`CallNumber::CONTROL_VCPU`](crate::CallNumber)).

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `(domid, vcpu, in: *const StartContext)` -> 0: the state a boot loader leaves a CPU in. Only before the first start.
pub const SET_CONTEXT: u64 = 0;
/// `(domid, vcpu, out: *mut VcpuInfo)` -> 0.
pub const INFO: u64 = 1;

/// `(domid, vcpu, CPUs)` -> 0: where it may run, bit n for CPU n. `EINVAL`: none of them runs.
pub const SET_AFFINITY: u64 = 2;
/// `(domid, vcpu)` -> where it may run, of the CPUs that there are.
pub const GET_AFFINITY: u64 = 3;

/// How a vCPU starts.
#[repr(C)]
#[derive(
    Clone, Copy, Default, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable,
)]
pub struct StartContext {
    /// Guest-physical address of the first instruction.
    pub entry: u64,
    /// First argument register: the device tree's address (ARM), `hvm_start_info` (x86 PVH).
    pub argument: u64,
}

impl StartContext {
    /// In `entry` on x86: the vCPU starts in real mode at that address, a multiple of 4096 below 1 MiB, as after a start-up
    /// IPI. Else it starts as a PVH guest does.
    pub const REAL_MODE: u64 = 1 << 63;
}

/// Exits of a vCPU, by what they were for.
#[repr(C)]
#[derive(
    Clone, Copy, Default, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable,
)]
pub struct ExitCounts {
    /// Hypercalls.
    pub hypercalls: u64,
    /// Loads and stores of devices, and where nothing is.
    pub accesses: u64,
    /// It waited for an interrupt.
    pub idle: u64,
    /// The host's interrupts.
    pub interrupted: u64,
    /// Interrupts for its domain's other vCPUs.
    pub ipis: u64,
    /// Calls about the power of vCPUs and the domain.
    pub power: u64,
    /// What was refused, other than by a hypercall's or an access's answer.
    pub refused: u64,
    /// What the architecture deals with by itself: its registers, its interrupt controller, its firmware. Those of a vCPU
    /// that runs count when it next comes back for something else.
    pub architecture: u64,
}

impl ExitCounts {
    /// All together.
    #[must_use]
    pub fn total(&self) -> u64 {
        let kinds = [
            self.hypercalls,
            self.accesses,
            self.idle,
            self.interrupted,
            self.ipis,
            self.power,
            self.refused,
            self.architecture,
        ];
        kinds.into_iter().fold(0, u64::saturating_add)
    }
}

impl core::ops::AddAssign for ExitCounts {
    fn add_assign(&mut self, other: Self) {
        for (sum, more) in [
            (&mut self.hypercalls, other.hypercalls),
            (&mut self.accesses, other.accesses),
            (&mut self.idle, other.idle),
            (&mut self.interrupted, other.interrupted),
            (&mut self.ipis, other.ipis),
            (&mut self.power, other.power),
            (&mut self.refused, other.refused),
            (&mut self.architecture, other.architecture),
        ] {
            *sum = sum.saturating_add(more);
        }
    }
}

/// What a vCPU did since it was made; of a domain, all its vCPUs together. Everything but the longest wait only grows.
#[repr(C)]
#[derive(
    Clone, Copy, Default, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable,
)]
pub struct Usage {
    /// Time it ran, nanoseconds.
    pub cpu_ns: u64,
    /// Time it wanted to run and did not, nanoseconds: others ran, or its domain's cap held it back.
    pub runnable_ns: u64,
    /// Time it waited for an event, nanoseconds.
    pub blocked_ns: u64,
    /// How often it got a CPU.
    pub runs: u64,
    /// Time it stood in a CPU's queue before that, nanoseconds, all together.
    pub queued_ns: u64,
    /// The longest time it did; of a domain, the longest of all.
    pub longest_queued_ns: u64,
    /// Exits.
    pub exits: ExitCounts,
    /// Interrupts it took.
    pub interrupts: u64,
    /// Events that were sent to it.
    pub events: u64,
}

/// Nothing overflows: times come from a snapshot, too, and there they may be anything.
impl core::ops::AddAssign for Usage {
    fn add_assign(&mut self, other: Self) {
        for (sum, more) in [
            (&mut self.cpu_ns, other.cpu_ns),
            (&mut self.runnable_ns, other.runnable_ns),
            (&mut self.blocked_ns, other.blocked_ns),
            (&mut self.runs, other.runs),
            (&mut self.queued_ns, other.queued_ns),
            (&mut self.interrupts, other.interrupts),
            (&mut self.events, other.events),
        ] {
            *sum = sum.saturating_add(more);
        }
        self.longest_queued_ns = self.longest_queued_ns.max(other.longest_queued_ns);
        self.exits += other.exits;
    }
}

/// One vCPU.
#[repr(C)]
#[derive(
    Clone, Copy, Default, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable,
)]
pub struct VcpuInfo {
    /// Bits of [`super::domain::state`]; none: switched off.
    pub state: u32,
    /// CPU it last ran on.
    pub cpu: u32,
    /// Program counter when it last left the CPU.
    pub pc: u64,
    /// What it did.
    pub usage: Usage,
}
