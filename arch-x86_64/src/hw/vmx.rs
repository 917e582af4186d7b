//! VMX instructions, and entering a guest.

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use arch_common::cpus::CPUS_MAX;
use spin::Once;

#[cfg(target_os = "none")]
use super::registers::{load_guest, pop_kept, push_kept, store_guest};
use super::{cpu, msr};
use crate::msr::FEATURE_CONTROL;
#[cfg(target_os = "none")]
use crate::msr::{EFER, PAT};
use crate::vendor::Registers;
use crate::vmx::field::{Field, pin};

const MSR_BASIC: u32 = 0x480;
const MSR_PIN: u32 = 0x481;
const MSR_PROCESSOR: u32 = 0x482;
const MSR_EXIT: u32 = 0x483;
const MSR_ENTRY: u32 = 0x484;
const MSR_MISC: u32 = 0x485;
const MSR_SECONDARY: u32 = 0x48B;
const MSR_EPT_VPID: u32 = 0x48C;
/// The "true" capabilities of pin, processor, exit and entry controls are this much further on, where there are any.
const TRUE: u32 = 0xC;
const HAS_TRUE: u64 = 1 << 55;
/// MSRs of a guest that the CPU does not switch: STAR, LSTAR, CSTAR, SFMASK, KERNEL_GS_BASE. The hypervisor uses none.
pub(crate) const MSRS: [u32; 5] = [
    0xC000_0081,
    0xC000_0082,
    0xC000_0083,
    0xC000_0084,
    0xC000_0102,
];
/// No VMCS is current.
const NONE: u64 = u64::MAX;

/// A page that the CPU keeps something of its own in.
#[repr(C, align(4096))]
struct Page(UnsafeCell<[u8; 4096]>);

// SAFETY: written once before the CPU uses it, then the CPU's alone.
unsafe impl Sync for Page {}

static VMXON: [Page; CPUS_MAX] = [const { Page(UnsafeCell::new([0; 4096])) }; CPUS_MAX];
/// The current VMCS of each CPU.
static CURRENT: [AtomicU64; CPUS_MAX] = [const { AtomicU64::new(NONE) }; CPUS_MAX];

/// What the capability MSRs say of controls.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Capabilities {
    pub(crate) pin: u64,
    pub(crate) processor: u64,
    pub(crate) secondary: u64,
    pub(crate) exit: u64,
    pub(crate) entry: u64,
    revision: u32,
    ept_vpid: u64,
}

static CAPABILITIES: Once<Capabilities> = Once::new();

/// See [`stay`].
static STAY: AtomicU32 = AtomicU32::new(0);

/// How long a guest stays at most before the host looks for interrupts, as the preemption timer counts; 0: until one
/// comes.
pub(crate) fn stay() -> u32 {
    STAY.load(Ordering::Relaxed)
}

/// Has guests leave when the TSC has gone on by this much (Intel SDM volume 3, 26.5.1 and appendix A.6).
pub(crate) fn limit_stay(ticks: u64) {
    if (capabilities().pin >> 32) as u32 & pin::PREEMPTION_TIMER == 0 {
        return;
    }
    let shift = msr::read(MSR_MISC) & 0x1F;
    let count = u32::try_from(ticks >> shift).unwrap_or(u32::MAX);
    STAY.store(count.max(1), Ordering::Relaxed);
}

/// See [`Capabilities`]. The same on all CPUs.
pub(crate) fn capabilities() -> &'static Capabilities {
    CAPABILITIES.call_once(|| {
        let basic = msr::read(MSR_BASIC);
        let shift = if basic & HAS_TRUE != 0 { TRUE } else { 0 };
        Capabilities {
            pin: msr::read(MSR_PIN + shift),
            processor: msr::read(MSR_PROCESSOR + shift),
            secondary: secondary(),
            exit: msr::read(MSR_EXIT + shift),
            entry: msr::read(MSR_ENTRY + shift),
            revision: basic as u32 & 0x7FFF_FFFF,
            ept_vpid: msr::read(MSR_EPT_VPID),
        }
    })
}

/// What may be one of the secondary controls; nothing where there are none.
pub(crate) fn secondary() -> u64 {
    const HAS_SECONDARY: u64 = 1 << 63;
    if msr::read(MSR_PROCESSOR) & HAS_SECONDARY == 0 {
        return 0;
    }
    msr::read(MSR_SECONDARY)
}

/// Makes this CPU able to enter guests.
pub(crate) fn start() {
    const LOCKED_ON: u64 = 1 | 1 << 2;
    let control = msr::read(FEATURE_CONTROL);
    if control & 1 == 0 {
        msr::write(FEATURE_CONTROL, control | LOCKED_ON);
    }
    let Some(page) = VMXON.get(cpu::this().number) else {
        return;
    };
    let revision = capabilities().revision;
    // SAFETY: the page is this CPU's, which does not use it yet.
    unsafe { page.0.get().cast::<u32>().write(revision) };
    #[cfg(target_os = "none")]
    {
        use x86_64::registers::control::{Cr4, Cr4Flags};
        // SAFETY: lets VMXON be executed; changes nothing about memory.
        unsafe { Cr4::write(Cr4::read() | Cr4Flags::VIRTUAL_MACHINE_EXTENSIONS) };
        let address = page.0.get().addr() as u64;
        // SAFETY: the address of a page with the right revision, which lies at its machine address.
        unsafe { core::arch::asm!("vmxon [{}]", in(reg) &raw const address, options(nostack)) };
    }
}

/// A VMCS region. It must not move once it was current.
#[repr(C, align(4096))]
pub(crate) struct Region(UnsafeCell<[u8; 4096]>);

// SAFETY: only the CPU touches a region, by instructions that this module executes for its owner.
unsafe impl Send for Region {}

impl Region {
    pub(crate) const fn new() -> Self {
        Self(UnsafeCell::new([0; 4096]))
    }

    fn address(&self) -> u64 {
        self.0.get().addr() as u64
    }

    /// Makes it this CPU's current VMCS; `is_new`: it has never been one.
    pub(crate) fn make_current(&mut self, is_new: bool) {
        if is_new {
            // SAFETY: the region is ours, and no CPU's yet.
            unsafe { self.0.get().cast::<u32>().write(capabilities().revision) };
            clear(self.address());
        }
        load(self.address());
    }

    /// Writes it back to memory: it is no CPU's then.
    pub(crate) fn clear(&mut self) {
        clear(self.address());
        current().store(NONE, Ordering::Relaxed);
    }

    /// Looks at it while it is no CPU's.
    pub(crate) fn while_current(&self, look: impl FnOnce()) {
        let before = current().load(Ordering::Relaxed);
        load(self.address());
        look();
        clear(self.address());
        if before == NONE {
            current().store(NONE, Ordering::Relaxed);
        } else {
            load(before);
        }
    }
}

fn current() -> &'static AtomicU64 {
    &CURRENT[cpu::this().number]
}

fn load(address: u64) {
    current().store(address, Ordering::Relaxed);
    #[cfg(target_os = "none")]
    // SAFETY: a region with the right revision that is no other CPU's.
    unsafe {
        core::arch::asm!("vmptrld [{}]", in(reg) &raw const address, options(nostack));
    }
}

fn clear(address: u64) {
    #[cfg(target_os = "none")]
    // SAFETY: as above.
    unsafe {
        core::arch::asm!("vmclear [{}]", in(reg) &raw const address, options(nostack));
    }
    #[cfg(not(target_os = "none"))]
    let _ = address;
}

/// A field of the current VMCS; 0 if the CPU has no such field.
#[inline]
pub(crate) fn read(field: Field) -> u64 {
    #[cfg(target_os = "none")]
    {
        let value;
        // SAFETY: reads the current VMCS.
        unsafe {
            core::arch::asm!(
                "vmread {}, {}",
                inout(reg) 0_u64 => value,
                in(reg) field.0,
                options(nomem, nostack)
            );
        }
        value
    }
    #[cfg(not(target_os = "none"))]
    {
        let _ = field;
        0
    }
}

/// Sets a field of the current VMCS.
#[inline]
pub(crate) fn write(field: Field, value: u64) {
    #[cfg(target_os = "none")]
    // SAFETY: what is written to fields of the guest is the guest's; controls and maps come from `crate::vmx`, which
    // keeps the guest out of the hypervisor's memory and state.
    unsafe {
        core::arch::asm!("vmwrite {}, {}", in(reg) field.0, in(reg) value, options(nostack));
    }
    #[cfg(not(target_os = "none"))]
    let _ = (field, value);
}

/// Writes what this CPU goes back to when the guest exits.
pub(crate) fn write_host_state() {
    #[cfg(target_os = "none")]
    {
        use x86_64::instructions::tables::{sgdt, sidt};
        use x86_64::registers::control::{Cr0, Cr3, Cr4};

        unsafe extern "C" {
            fn alcove_vmx_exit();
        }
        const CODE: u64 = 0x08;
        const DATA: u64 = 0x10;
        const TASK: u64 = 0x18;
        let this = core::ptr::from_ref(cpu::this()).addr() as u64;
        for (field, value) in [
            (Field::HOST_CR0, Cr0::read_raw()),
            (Field::HOST_CR3, Cr3::read().0.start_address().as_u64()),
            (Field::HOST_CR4, Cr4::read_raw()),
            (Field::HOST_CS_SELECTOR, CODE),
            (Field::HOST_SS_SELECTOR, DATA),
            (Field::HOST_DS_SELECTOR, DATA),
            (Field::HOST_ES_SELECTOR, DATA),
            (Field::HOST_FS_SELECTOR, 0),
            (Field::HOST_GS_SELECTOR, 0),
            (Field::HOST_TR_SELECTOR, TASK),
            (Field::HOST_FS_BASE, 0),
            (Field::HOST_GS_BASE, this),
            (Field::HOST_TR_BASE, cpu::task_state_address()),
            (Field::HOST_GDTR_BASE, sgdt().base.as_u64()),
            (Field::HOST_IDTR_BASE, sidt().base.as_u64()),
            (Field::HOST_SYSENTER_CS, 0),
            (Field::HOST_SYSENTER_ESP, 0),
            (Field::HOST_SYSENTER_EIP, 0),
            (Field::HOST_PAT, msr::read(PAT)),
            (Field::HOST_EFER, msr::read(EFER)),
            (Field::HOST_RIP, alcove_vmx_exit as *const () as u64),
        ] {
            write(field, value);
        }
    }
}

/// Puts a guest's MSRs in place.
pub(crate) fn load_msrs(values: &[u64; MSRS.len()]) {
    for (number, value) in MSRS.into_iter().zip(values) {
        msr::write(number, *value);
    }
}

/// Takes them back.
pub(crate) fn save_msrs(values: &mut [u64; MSRS.len()]) {
    for (number, value) in MSRS.into_iter().zip(values) {
        *value = msr::read(number);
    }
}

/// Puts a guest's CR2 and DR6 in place. The hypervisor has no use for them but in its last words.
pub(crate) fn load_fault_registers(cr2: u64, dr6: u64) {
    #[cfg(target_os = "none")]
    // SAFETY: neither means anything to the hypervisor.
    unsafe {
        core::arch::asm!(
            "mov cr2, {}", "mov dr6, {}",
            in(reg) cr2, in(reg) dr6,
            options(nomem, nostack, preserves_flags)
        );
    }
    #[cfg(not(target_os = "none"))]
    let _ = (cr2, dr6);
}

/// Takes them back.
pub(crate) fn save_fault_registers() -> (u64, u64) {
    #[cfg(target_os = "none")]
    {
        let (cr2, dr6): (u64, u64);
        // SAFETY: reads registers.
        unsafe {
            core::arch::asm!(
                "mov {}, cr2", "mov {}, dr6",
                out(reg) cr2, out(reg) dr6,
                options(nomem, nostack, preserves_flags)
            );
        }
        (cr2, dr6)
    }
    #[cfg(not(target_os = "none"))]
    (0, 0)
}

/// What a debug exception says goes into the guest's DR6, which an exit for it leaves as it was.
pub(crate) fn add_to_dr6(bits: u64) {
    const CAUSES: u64 = 0xE00F;
    let (cr2, dr6) = save_fault_registers();
    load_fault_registers(cr2, dr6 | bits & CAUSES);
}

/// Drops what this CPU has cached of any guest's translations.
pub(crate) fn flush(ept_pointer: u64) {
    const SINGLE_EPT: u64 = 1 << 25;
    const ALL_EPT: u64 = 1 << 26;
    const ALL_VPIDS: u64 = 1 << 42;
    let capabilities = capabilities().ept_vpid;
    if capabilities & ALL_EPT != 0 {
        invalidate_ept(2, 0);
    } else if capabilities & SINGLE_EPT != 0 {
        invalidate_ept(1, ept_pointer);
    }
    if capabilities & ALL_VPIDS != 0 {
        invalidate_vpid(2);
    }
}

fn invalidate_ept(kind: u64, pointer: u64) {
    #[cfg(target_os = "none")]
    {
        let descriptor = [pointer, 0];
        // SAFETY: drops cached translations; walkers look at tables again.
        unsafe {
            core::arch::asm!("invept {}, [{}]", in(reg) kind, in(reg) &raw const descriptor, options(nostack));
        }
    }
    #[cfg(not(target_os = "none"))]
    let _ = (kind, pointer);
}

fn invalidate_vpid(kind: u64) {
    #[cfg(target_os = "none")]
    {
        let descriptor = [0_u64; 2];
        // SAFETY: as above.
        unsafe {
            core::arch::asm!("invvpid {}, [{}]", in(reg) kind, in(reg) &raw const descriptor, options(nostack));
        }
    }
    #[cfg(not(target_os = "none"))]
    let _ = kind;
}

/// Runs the guest of the current VMCS until it exits. Returns whether it was entered at all. Interrupts are masked before
/// and after; while it runs they make it exit.
#[inline]
pub(crate) fn enter(registers: &mut Registers, is_launched: bool) -> bool {
    #[cfg(target_os = "none")]
    {
        // SAFETY: the VMCS has its controls, maps, host state and stage 2. The guest has no access to memory of the
        // hypervisor. All registers are as before.
        let failed = unsafe { alcove_vmx_enter(registers, u64::from(is_launched)) };
        failed == 0
    }
    #[cfg(not(target_os = "none"))]
    {
        let _ = (registers, is_launched);
        true
    }
}

#[cfg(target_os = "none")]
unsafe extern "C" {
    fn alcove_vmx_enter(registers: *mut Registers, is_launched: u64) -> u64;
}

// RDI: registers, RSI: whether the VMCS was launched. 0x6C14 is the host's RSP.
#[cfg(target_os = "none")]
core::arch::global_asm!(
    ".global alcove_vmx_enter",
    "alcove_vmx_enter:",
    push_kept!(),
    "push rdi",
    "mov eax, 0x6C14",
    "vmwrite rax, rsp",
    "test esi, esi",
    "mov rax, [rdi]",
    load_guest!(),
    "jnz 2f",
    "vmlaunch",
    "jmp 3f",
    "2: vmresume",
    "3: mov eax, 1",
    "pop rdi",
    "jmp 4f",
    ".global alcove_vmx_exit",
    "alcove_vmx_exit:",
    "xchg rax, [rsp]",
    store_guest!(),
    "pop rcx",
    "mov [rax], rcx",
    "xor eax, eax",
    "4:",
    pop_kept!(),
    "ret",
);
