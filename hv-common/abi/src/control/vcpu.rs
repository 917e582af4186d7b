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
    /// Time it ran, nanoseconds.
    pub cpu_ns: u64,
    /// Program counter when it last left the CPU.
    pub pc: u64,
    /// Exits that reached common code.
    pub exits: u64,
}
