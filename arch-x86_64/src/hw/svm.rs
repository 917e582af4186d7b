//! Entering a guest by VMRUN.

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, Ordering};

use arch_common::cpus::CPUS_MAX;

use super::{cpu, msr};
use crate::svm::vmcb::Vmcb;
use crate::vendor::Registers;

const MSR_EFER: u32 = 0xC000_0080;
const MSR_HSAVE_PA: u32 = 0xC001_0117;
const EFER_SVME: u64 = 1 << 12;
/// CPUID 0x8000000A, EDX: the CPU saves the next RIP.
const NEXT_RIP: u32 = 1 << 3;

/// What one CPU needs to enter guests: where VMRUN keeps the host's registers, and a VMCB for those of VMSAVE.
#[repr(C, align(4096))]
struct HostArea {
    saved_by_vmrun: UnsafeCell<[u8; 4096]>,
    saved_by_vmsave: UnsafeCell<[u8; 4096]>,
}

// SAFETY: each CPU's area is touched by that CPU's VMRUN, VMSAVE and VMLOAD only.
unsafe impl Sync for HostArea {}

static HOST: [HostArea; CPUS_MAX] = [const {
    HostArea {
        saved_by_vmrun: UnsafeCell::new([0; 4096]),
        saved_by_vmsave: UnsafeCell::new([0; 4096]),
    }
}; CPUS_MAX];

static HAS_NEXT_RIP: AtomicBool = AtomicBool::new(false);

static DELIVERS_TWICE: AtomicBool = AtomicBool::new(false);

/// Whether an external interrupt that is injected can come twice.
///
/// QEMU's emulation (7.2) leaves the vector of EVENTINJ noted as an exception to raise. When another CPU asks all of
/// them to stop just then, the interrupt is delivered, and raised once more behind it: even where the guest masks
/// interrupts. Its virtual interrupts (V_IRQ) are not so.
pub(crate) fn delivers_twice() -> bool {
    DELIVERS_TWICE.load(Ordering::Relaxed)
}

fn is_emulated_by_qemu() -> bool {
    const HYPERVISOR: u32 = 1 << 31;
    let is_guest = core::arch::x86_64::__cpuid(1).ecx & HYPERVISOR != 0;
    let name = core::arch::x86_64::__cpuid(0x4000_0000);
    let qemu = u32::from_le_bytes(*b"TCGT");
    is_guest && name.ebx == qemu
}

/// Whether VMCBs say where the next instruction is.
pub(crate) fn has_next_rip() -> bool {
    HAS_NEXT_RIP.load(Ordering::Relaxed)
}

/// Makes this CPU able to enter guests.
pub(crate) fn start() {
    let Some(area) = HOST.get(cpu::this().number) else {
        return;
    };
    msr::write(MSR_EFER, msr::read(MSR_EFER) | EFER_SVME);
    msr::write(MSR_HSAVE_PA, area.saved_by_vmrun.get().addr() as u64);
    let features = core::arch::x86_64::__cpuid(0x8000_000A);
    HAS_NEXT_RIP.store(features.edx & NEXT_RIP != 0, Ordering::Relaxed);
    DELIVERS_TWICE.store(is_emulated_by_qemu(), Ordering::Relaxed);
    #[cfg(target_os = "none")]
    // SAFETY: SVM is on; writes FS, GS, TR, LDTR and the MSRs that belong to them to this CPU's own page.
    unsafe {
        core::arch::asm!("vmsave rax", in("rax") area.saved_by_vmsave.get(), options(nostack));
    }
}

/// Runs the guest until it exits. Interrupts are masked before and after; while it runs they make it exit.
#[inline]
pub(crate) fn enter(vmcb: &mut Vmcb, registers: &mut Registers) {
    #[cfg(target_os = "none")]
    {
        let host = &HOST[cpu::this().number].saved_by_vmsave;
        // SAFETY: the VMCB is ours alone and lies at its machine address (the map is one to one); its maps, stage 2 and
        // registers are set. The guest has no access to memory of the hypervisor. All registers are as before.
        unsafe { alcove_svm_enter(registers, vmcb, host.get().cast()) };
    }
    #[cfg(not(target_os = "none"))]
    let _ = (vmcb, registers);
}

#[cfg(target_os = "none")]
unsafe extern "C" {
    fn alcove_svm_enter(registers: *mut Registers, vmcb: *mut Vmcb, host: *mut u8);
}

// RDI: registers, RSI: VMCB, RDX: what VMSAVE saved of the host. With the global interrupt flag off, IF says only
// whether interrupts make the guest exit. STI holds them back for one more instruction: that must not be VMRUN, behind which
// QEMU's emulation (7.2) does so for the guest's first one, and where that exits, too, no interrupt ever came.
// It does not look at the VMCB's interrupt shadow, so that STI stands in for it: without, a guest's `sti; hlt` sleeps past
// the interrupt that came between the two.
#[cfg(target_os = "none")]
core::arch::global_asm!(
    ".global alcove_svm_enter",
    "alcove_svm_enter:",
    "push rbx",
    "push rbp",
    "push r12",
    "push r13",
    "push r14",
    "push r15",
    "push rdx",
    "push rdi",
    "clgi",
    "mov rax, rsi",
    "mov rcx, [rdi + 8]",
    "mov rdx, [rdi + 16]",
    "mov rbx, [rdi + 24]",
    "mov rbp, [rdi + 40]",
    "mov rsi, [rdi + 48]",
    "mov r8, [rdi + 64]",
    "mov r9, [rdi + 72]",
    "mov r10, [rdi + 80]",
    "mov r11, [rdi + 88]",
    "mov r12, [rdi + 96]",
    "mov r13, [rdi + 104]",
    "mov r14, [rdi + 112]",
    "mov r15, [rdi + 120]",
    "mov rdi, [rdi + 56]",
    "sti",
    "vmload rax",
    "test byte ptr [rax + {shadow}], 1",
    "jz 2f",
    "sti",
    "2:",
    "vmrun rax",
    "cli",
    "vmsave rax",
    "pop rax",
    "mov [rax + 8], rcx",
    "mov [rax + 16], rdx",
    "mov [rax + 24], rbx",
    "mov [rax + 40], rbp",
    "mov [rax + 48], rsi",
    "mov [rax + 56], rdi",
    "mov [rax + 64], r8",
    "mov [rax + 72], r9",
    "mov [rax + 80], r10",
    "mov [rax + 88], r11",
    "mov [rax + 96], r12",
    "mov [rax + 104], r13",
    "mov [rax + 112], r14",
    "mov [rax + 120], r15",
    "pop rax",
    "vmload rax",
    "stgi",
    "pop r15",
    "pop r14",
    "pop r13",
    "pop r12",
    "pop rbp",
    "pop rbx",
    "ret",
    shadow = const core::mem::offset_of!(Vmcb, interrupt_shadow),
);
