//! Entering a guest by VMRUN.

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, Ordering};

use arch_common::cpus::CPUS_MAX;

#[cfg(target_os = "none")]
use super::registers::{load_guest, pop_kept, push_kept, store_guest};
use super::{cpu, identity, msr};
use crate::msr::{EFER, efer};
use crate::svm::vmcb::Vmcb;
use crate::vendor::Registers;

const MSR_HSAVE_PA: u32 = 0xC001_0117;
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
    let is_guest = identity::cpuid(1, 0).ecx & HYPERVISOR != 0;
    let name = identity::cpuid(0x4000_0000, 0);
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
    msr::write(EFER, msr::read(EFER) | efer::SVME);
    msr::write(MSR_HSAVE_PA, area.saved_by_vmrun.get().addr() as u64);
    let features = identity::features().svm_features;
    HAS_NEXT_RIP.store(features & NEXT_RIP != 0, Ordering::Relaxed);
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
    push_kept!(),
    "push rdx",
    "push rdi",
    "clgi",
    "mov rax, rsi",
    load_guest!(),
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
    store_guest!(),
    "pop rax",
    "vmload rax",
    "stgi",
    pop_kept!(),
    "ret",
    shadow = const core::mem::offset_of!(Vmcb, interrupt_shadow),
);
