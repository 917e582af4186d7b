//! What a vCPU says when it comes back, and what it is answered: plain values.

use hv_abi::control::vcpu::StartContext;

use super::Gpa;

/// Why a vCPU came back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Exit {
    /// A read of guest-physical address space that is not RAM. Answer: [`Reply::Loaded`] or [`Reply::Abort`].
    Load {
        /// Where.
        gpa: Gpa,
        /// Bytes: 1, 2, 4 or 8.
        size: u8,
    },
    /// A write. Answer: [`Reply::Resume`] or [`Reply::Abort`].
    Store {
        /// Where.
        gpa: Gpa,
        /// Bytes: 1, 2, 4 or 8.
        size: u8,
        /// What, zero-extended.
        value: u64,
    },
    /// A hypercall. Answer: [`Reply::Returned`] or [`Reply::Again`].
    Call {
        /// Its number.
        number: u64,
        /// Its arguments.
        args: [u64; 5],
    },
    /// A request about the power of vCPUs or the whole domain. Answer: [`Reply::Returned`] or none.
    Power(Power),
    /// It made interrupts pending for other vCPUs of its domain (a bit each): they have to look. Answer:
    /// [`Reply::Resume`].
    Wake {
        /// Bit n: vCPU n.
        vcpus: u64,
    },
    /// It waits for an interrupt.
    Idle,
    /// The host wants this CPU: look at [`super::Host::take_interrupt`].
    Interrupted,
    /// It did something that is refused; the fault is injected already. For counting and the log.
    Refused(Refusal),
    /// It cannot go on: the domain crashes.
    Fault(Refusal),
}

/// A power request, decoded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Power {
    /// Start a vCPU.
    CpuOn {
        /// Its number.
        vcpu: u32,
        /// Where and with what.
        context: StartContext,
    },
    /// Stop the caller.
    CpuOff,
    /// Whether a vCPU is on. Answer: `Returned(1)` on, `Returned(0)` off, `Returned(u64::MAX)` no such vCPU.
    IsOn {
        /// Its number.
        vcpu: u32,
    },
    /// Switch the domain off.
    SystemOff,
    /// Restart the domain.
    SystemReset,
}

/// Answer to [`Power::CpuOn`], in [`Reply::Returned`].
pub mod cpu_on {
    /// It starts.
    pub const DONE: u64 = 0;
    /// It was on.
    pub const ALREADY_ON: u64 = 1;
    /// No such vCPU.
    pub const UNKNOWN: u64 = 2;
}

/// What kind of thing was refused; counted apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RefusalKind {
    /// A hypercall that does not exist, or is not for this domain.
    Call,
    /// A hypercall with a pointer to nothing.
    Pointer,
    /// A load, store or fetch where nothing allows it.
    Access,
    /// An instruction or a system register that is not there.
    Instruction,
    /// A call of firmware.
    Firmware,
}

/// What was refused, for people: a short name and three numbers to look at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// What kind of thing.
    pub kind: RefusalKind,
    /// What, e.g. `"sysreg write"`.
    pub what: &'static str,
    /// Program counter.
    pub pc: u64,
    /// The syndrome, register encoding or call number.
    pub detail: u64,
    /// The address, if there is one.
    pub address: u64,
}

/// Answer to an [`Exit`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reply {
    /// Go on.
    Resume,
    /// The value a load reads.
    Loaded(u64),
    /// What a call returns.
    Returned(u64),
    /// Make the same call again with these first three arguments and number unchanged: it was preempted.
    Again([u64; 5]),
    /// The access faults: inject what hardware would (an external abort).
    Abort,
}
