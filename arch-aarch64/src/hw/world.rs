//! Into a guest and out of it; the state that stays in hardware while a guest CPU stays on this one.

use aarch64_cpu::registers::{
    CNTHCTL_EL2, CNTKCTL_EL1, CNTV_CVAL_EL0, CNTVOFF_EL2, CONTEXTIDR_EL1, CPACR_EL1, CSSELR_EL1,
    ELR_EL1, ESR_EL1, ESR_EL2, FAR_EL1, FAR_EL2, HCR_EL2, HPFAR_EL2, MAIR_EL1, MDCR_EL2, MIDR_EL1,
    SCTLR_EL1, SP_EL0, SP_EL1, SPSR_EL1, TCR_EL1, TPIDR_EL0, TPIDR_EL1, TPIDRRO_EL0, TTBR0_EL1,
    TTBR1_EL1, VBAR_EL1, VMPIDR_EL2, VTCR_EL2, VTTBR_EL2,
};
use hv_abi::record::arm::{Cpu, FloatingPoint};
use tock_registers::interfaces::{Readable, Writeable};
use tock_registers::register_bitfields;

use super::registers::{
    AFSR0_EL1, AFSR1_EL1, AMAIR_EL1, CNTP_CTL_EL0, CNTP_CVAL_EL0, CNTV_CTL_EL0, CPTR_EL2, FPCR,
    FPSR, HSTR_EL2, PAR_EL1, VPIDR_EL2,
};
use crate::exit::Syndrome;

#[cfg(target_os = "none")]
core::arch::global_asm!(
    include_str!("vectors.S"),
    HOST_SP = const core::mem::offset_of!(Context, host_sp),
    PC = const core::mem::offset_of!(Context, pc),
    CRASH = const super::cpu::CRASH_OFFSET,
    EMERGENCY = const super::cpu::EMERGENCY_OFFSET,
    rust_host_fault = sym super::fault::rust_host_fault,
);

/// The general registers of a guest CPU, as vectors.S saves them.
#[repr(C, align(16))]
#[derive(Clone, Debug, Default)]
pub(crate) struct Context {
    /// X0 to X30.
    pub(crate) x: [u64; 31],
    host_sp: u64,
    /// Program counter.
    pub(crate) pc: u64,
    /// Processor state (SPSR_EL2).
    pub(crate) pstate: u64,
}

const _: () = assert!(core::mem::offset_of!(Context, pc) == 256);

impl Context {
    /// A general register as an instruction names it: 31 is zero.
    #[inline(always)]
    pub(crate) fn register(&self, number: u8) -> u64 {
        self.x.get(usize::from(number)).copied().unwrap_or(0)
    }

    /// Sets a general register as an instruction names it: 31 is nowhere.
    #[inline(always)]
    pub(crate) fn set_register(&mut self, number: u8, value: u64) {
        if let Some(register) = self.x.get_mut(usize::from(number)) {
            *register = value;
        }
    }
}

/// Why the guest was left.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Left {
    /// It did something.
    Synchronous,
    /// An interrupt is pending.
    Interrupt,
    /// A system error.
    SystemError,
}

/// Runs the guest whose state is loaded until it is left.
#[inline(always)]
pub(crate) fn enter(context: &mut Context) -> Left {
    #[cfg(target_os = "none")]
    {
        unsafe extern "C" {
            fn enter_guest(context: *mut Context) -> u64;
        }
        // SAFETY: vectors.S keeps to the calling convention; stage 2, which `load` set up, keeps the guest away from
        // everything that is not its own.
        match unsafe { enter_guest(context) } {
            0 => Left::Synchronous,
            1 => Left::Interrupt,
            _ => Left::SystemError,
        }
    }
    #[cfg(not(target_os = "none"))]
    {
        let _ = context;
        Left::SystemError
    }
}

/// ESR_EL2 of the last synchronous exception.
#[inline(always)]
pub(crate) fn exception() -> u64 {
    ESR_EL2.get()
}

/// The syndrome of the last synchronous exception.
#[inline(always)]
pub(crate) fn syndrome() -> Syndrome {
    Syndrome {
        esr: ESR_EL2.get(),
        far: FAR_EL2.get(),
        hpfar: HPFAR_EL2.get(),
    }
}

register_bitfields! {u64,
    Hcr [
        VM OFFSET(0) NUMBITS(1) [],
        SWIO OFFSET(1) NUMBITS(1) [],
        PTW OFFSET(2) NUMBITS(1) [],
        FMO OFFSET(3) NUMBITS(1) [],
        IMO OFFSET(4) NUMBITS(1) [],
        AMO OFFSET(5) NUMBITS(1) [],
        FB OFFSET(9) NUMBITS(1) [],
        BSU OFFSET(10) NUMBITS(2) [InnerShareable = 1],
        TWI OFFSET(13) NUMBITS(1) [],
        TID3 OFFSET(18) NUMBITS(1) [],
        TSC OFFSET(19) NUMBITS(1) [],
        TIDCP OFFSET(20) NUMBITS(1) [],
        TACR OFFSET(21) NUMBITS(1) [],
        RW OFFSET(31) NUMBITS(1) [],
        TLOR OFFSET(35) NUMBITS(1) [],
        TERR OFFSET(36) NUMBITS(1) [],
    ],
    Cptr [
        RES1 OFFSET(0) NUMBITS(14) [Value = 0x33FF],
        TTA OFFSET(20) NUMBITS(1) [],
        TAM OFFSET(30) NUMBITS(1) [],
    ],
    Mdcr [
        TPMCR OFFSET(5) NUMBITS(1) [],
        TPM OFFSET(6) NUMBITS(1) [],
        TDA OFFSET(9) NUMBITS(1) [],
        TDOSA OFFSET(10) NUMBITS(1) [],
        TDRA OFFSET(11) NUMBITS(1) [],
    ]
}

/// Sets up what is the same for all guests of this CPU: what is trapped, how stage 2 is walked.
pub(crate) fn start(vtcr: u64) {
    let hypervisor = Hcr::VM::SET
        + Hcr::SWIO::SET
        + Hcr::PTW::SET
        + Hcr::FMO::SET
        + Hcr::IMO::SET
        + Hcr::AMO::SET
        + Hcr::FB::SET
        + Hcr::BSU::InnerShareable
        + Hcr::TWI::SET
        + Hcr::TID3::SET
        + Hcr::TSC::SET
        + Hcr::TIDCP::SET
        + Hcr::TACR::SET
        + Hcr::RW::SET
        + Hcr::TLOR::SET
        + Hcr::TERR::SET;
    HCR_EL2.set(hypervisor.value);
    CPTR_EL2.set((Cptr::RES1::Value + Cptr::TTA::SET + Cptr::TAM::SET).value);
    let counters = MDCR_EL2.get() & 0x1F;
    let debug =
        Mdcr::TPMCR::SET + Mdcr::TPM::SET + Mdcr::TDA::SET + Mdcr::TDOSA::SET + Mdcr::TDRA::SET;
    MDCR_EL2.set(debug.value | counters);
    HSTR_EL2.set(0);
    CNTHCTL_EL2.set(0);
    VTCR_EL2.set(vtcr);
    VPIDR_EL2.set(MIDR_EL1.get());
    CNTV_CTL_EL0.set(0);
    CNTP_CTL_EL0.set(0);
    barrier();
}

/// Makes a domain's address space and time this CPU's.
#[inline]
pub(crate) fn load_domain(vttbr: u64, counter_offset: u64) {
    VTTBR_EL2.set(vttbr);
    CNTVOFF_EL2.set(counter_offset);
}

/// Puts EL1's state on this CPU.
pub(crate) fn load_system(cpu: &Cpu) {
    VMPIDR_EL2.set(cpu.vmpidr_el2);
    SP_EL0.set(cpu.sp_el0);
    SP_EL1.set(cpu.sp_el1);
    ELR_EL1.set(cpu.elr_el1);
    SPSR_EL1.set(cpu.spsr_el1);
    SCTLR_EL1.set(cpu.sctlr_el1);
    CPACR_EL1.set(cpu.cpacr_el1);
    TTBR0_EL1.set(cpu.ttbr0_el1);
    TTBR1_EL1.set(cpu.ttbr1_el1);
    TCR_EL1.set(cpu.tcr_el1);
    ESR_EL1.set(cpu.esr_el1);
    AFSR0_EL1.set(cpu.afsr0_el1);
    AFSR1_EL1.set(cpu.afsr1_el1);
    FAR_EL1.set(cpu.far_el1);
    MAIR_EL1.set(cpu.mair_el1);
    AMAIR_EL1.set(cpu.amair_el1);
    VBAR_EL1.set(cpu.vbar_el1);
    CONTEXTIDR_EL1.set(cpu.contextidr_el1);
    TPIDR_EL0.set(cpu.tpidr_el0);
    TPIDRRO_EL0.set(cpu.tpidrro_el0);
    TPIDR_EL1.set(cpu.tpidr_el1);
    CNTKCTL_EL1.set(cpu.cntkctl_el1);
    CSSELR_EL1.set(cpu.csselr_el1);
    PAR_EL1.set(cpu.par_el1);
    barrier();
}

/// Takes EL1's state off this CPU.
pub(crate) fn save_system(cpu: &mut Cpu) {
    cpu.sp_el0 = SP_EL0.get();
    cpu.sp_el1 = SP_EL1.get();
    cpu.elr_el1 = ELR_EL1.get();
    cpu.spsr_el1 = SPSR_EL1.get();
    cpu.sctlr_el1 = SCTLR_EL1.get();
    cpu.cpacr_el1 = CPACR_EL1.get();
    cpu.ttbr0_el1 = TTBR0_EL1.get();
    cpu.ttbr1_el1 = TTBR1_EL1.get();
    cpu.tcr_el1 = TCR_EL1.get();
    cpu.esr_el1 = ESR_EL1.get();
    cpu.afsr0_el1 = AFSR0_EL1.get();
    cpu.afsr1_el1 = AFSR1_EL1.get();
    cpu.far_el1 = FAR_EL1.get();
    cpu.mair_el1 = MAIR_EL1.get();
    cpu.amair_el1 = AMAIR_EL1.get();
    cpu.vbar_el1 = VBAR_EL1.get();
    cpu.contextidr_el1 = CONTEXTIDR_EL1.get();
    cpu.tpidr_el0 = TPIDR_EL0.get();
    cpu.tpidrro_el0 = TPIDRRO_EL0.get();
    cpu.tpidr_el1 = TPIDR_EL1.get();
    cpu.cntkctl_el1 = CNTKCTL_EL1.get();
    cpu.csselr_el1 = CSSELR_EL1.get();
    cpu.par_el1 = PAR_EL1.get();
}

macro_rules! vectors {
    ($instruction:literal) => {
        concat!(
            ".arch_extension fp\n",
            $instruction,
            " q0, q1, [{0}, #0]\n",
            $instruction,
            " q2, q3, [{0}, #32]\n",
            $instruction,
            " q4, q5, [{0}, #64]\n",
            $instruction,
            " q6, q7, [{0}, #96]\n",
            $instruction,
            " q8, q9, [{0}, #128]\n",
            $instruction,
            " q10, q11, [{0}, #160]\n",
            $instruction,
            " q12, q13, [{0}, #192]\n",
            $instruction,
            " q14, q15, [{0}, #224]\n",
            $instruction,
            " q16, q17, [{0}, #256]\n",
            $instruction,
            " q18, q19, [{0}, #288]\n",
            $instruction,
            " q20, q21, [{0}, #320]\n",
            $instruction,
            " q22, q23, [{0}, #352]\n",
            $instruction,
            " q24, q25, [{0}, #384]\n",
            $instruction,
            " q26, q27, [{0}, #416]\n",
            $instruction,
            " q28, q29, [{0}, #448]\n",
            $instruction,
            " q30, q31, [{0}, #480]\n",
            ".arch_extension nofp\n",
        )
    };
}

/// Puts floating-point state on this CPU. The hypervisor itself uses none.
pub(crate) fn load_floating_point(state: &FloatingPoint) {
    #[cfg(target_os = "none")]
    // SAFETY: reads the 512 bytes of `v`; the registers are the guest's, the compiler does not know them.
    unsafe {
        core::arch::asm!(vectors!("ldp"), in(reg) state.v.as_ptr(), options(nostack, readonly));
    }
    FPCR.set(state.fpcr);
    FPSR.set(state.fpsr);
}

/// Takes floating-point state off this CPU.
pub(crate) fn save_floating_point(state: &mut FloatingPoint) {
    #[cfg(target_os = "none")]
    // SAFETY: writes the 512 bytes of `v`.
    unsafe {
        core::arch::asm!(vectors!("stp"), in(reg) state.v.as_mut_ptr(), options(nostack));
    }
    state.fpcr = FPCR.get();
    state.fpsr = FPSR.get();
}

#[cfg(not(target_os = "none"))]
const _: &str = concat!(vectors!("ldp"), vectors!("stp"));

/// One of the guest's timers, which are this CPU's EL1 timers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Timer {
    /// CNTV.
    Virtual,
    /// CNTP.
    Physical,
}

impl Timer {
    /// Control and compare value (the physical timer's in machine ticks).
    #[inline]
    pub(crate) fn read(self) -> (u64, u64) {
        match self {
            Self::Virtual => (CNTV_CTL_EL0.get(), CNTV_CVAL_EL0.get()),
            Self::Physical => (CNTP_CTL_EL0.get(), CNTP_CVAL_EL0.get()),
        }
    }

    /// Sets control and compare value.
    #[inline]
    pub(crate) fn write(self, control: u64, compare: u64) {
        match self {
            Self::Virtual => {
                CNTV_CVAL_EL0.set(compare);
                CNTV_CTL_EL0.set(control);
            }
            Self::Physical => {
                CNTP_CVAL_EL0.set(compare);
                CNTP_CTL_EL0.set(control);
            }
        }
    }

    /// Sets control alone.
    #[inline]
    pub(crate) fn control(self, control: u64) {
        match self {
            Self::Virtual => CNTV_CTL_EL0.set(control),
            Self::Physical => CNTP_CTL_EL0.set(control),
        }
    }

    /// Whether it asserts its interrupt: enabled, not masked, condition met.
    #[inline]
    pub(crate) fn is_asserted(self) -> bool {
        let control = match self {
            Self::Virtual => CNTV_CTL_EL0.get(),
            Self::Physical => CNTP_CTL_EL0.get(),
        };
        control & 7 == 5
    }
}

/// Registers that taking an exception to EL1 changes.
pub(crate) fn write_exception(elr: u64, spsr: u64, esr: u64, far: Option<u64>) {
    ELR_EL1.set(elr);
    SPSR_EL1.set(spsr);
    ESR_EL1.set(esr);
    if let Some(far) = far {
        FAR_EL1.set(far);
    }
}

/// VBAR_EL1 and SCTLR_EL1: what decides how an exception is taken.
pub(crate) fn exception_controls() -> (u64, u64) {
    (VBAR_EL1.get(), SCTLR_EL1.get())
}

/// Translates a virtual address as the loaded guest's EL1 would.
pub(crate) fn translate(address: u64, write: bool) -> Option<u64> {
    const FAILED: u64 = 1;
    const FRAME: u64 = 0x000F_FFFF_FFFF_F000;
    let guest = PAR_EL1.get();
    #[cfg(target_arch = "aarch64")]
    if write {
        // SAFETY: asks the MMU; only PAR_EL1 changes, which is put back below.
        unsafe { core::arch::asm!("at s1e1w, {}", "isb", in(reg) address, options(nostack)) };
    } else {
        // SAFETY: as above.
        unsafe { core::arch::asm!("at s1e1r, {}", "isb", in(reg) address, options(nostack)) };
    }
    let _ = write;
    let found = PAR_EL1.get();
    PAR_EL1.set(guest);
    (found & FAILED == 0).then_some(found & FRAME | address & 0xFFF)
}

#[inline(always)]
fn barrier() {
    #[cfg(target_arch = "aarch64")]
    // SAFETY: a barrier.
    unsafe {
        core::arch::asm!("isb", options(nostack));
    }
}
