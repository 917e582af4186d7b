//! What Intel's VMX and AMD's SVM do differently.
//!
//! A vendor turns what its control structure says after an exit into an [`Event`] and applies what was decided through
//! [`Control`]. Decisions are made above, once for both: [`crate::vcpu`].

use hv_abi::record::Kind;
use hv_abi::record::x86::Cpu;
use hv_common::arch::{Mfn, Pte};

/// A virtualization extension.
pub trait Vendor: Sized + Send + Sync + 'static {
    /// Its stage-2 entries.
    type Pte: Pte;
    /// What a CPU needs to run a guest CPU, and keeps of it.
    type Control: Control;
    /// Kind of the record of a vCPU's registers: a guest that has seen one vendor's features is not for the other.
    const CPU_RECORD: Kind;
    /// The instruction of a hypercall.
    const HYPERCALL: [u8; 3];
}

/// The general registers, in the order of their encoding; RSP is in the control structure.
#[repr(C)]
#[derive(Clone, Copy, Default, Debug)]
pub struct Registers(pub [u64; 16]);

/// Indices into [`Registers`].
pub mod gpr {
    /// RAX.
    pub const RAX: usize = 0;
    /// RCX.
    pub const RCX: usize = 1;
    /// RDX.
    pub const RDX: usize = 2;
    /// RBX.
    pub const RBX: usize = 3;
    /// RSP.
    pub const RSP: usize = 4;
    /// RSI.
    pub const RSI: usize = 6;
    /// RDI.
    pub const RDI: usize = 7;
    /// R8.
    pub const R8: usize = 8;
    /// R10.
    pub const R10: usize = 10;
}

impl Registers {
    /// One of them.
    #[inline(always)]
    #[must_use]
    pub fn get(&self, index: usize) -> u64 {
        self.0.get(index).copied().unwrap_or(0)
    }

    /// Sets one of them.
    #[inline(always)]
    pub fn set(&mut self, index: usize, value: u64) {
        if let Some(register) = self.0.get_mut(index) {
            *register = value;
        }
    }

    /// EDX:EAX.
    #[must_use]
    pub fn edx_eax(&self) -> u64 {
        self.get(gpr::RDX) << 32 | self.get(gpr::RAX) & 0xFFFF_FFFF
    }

    /// Sets RAX and RDX to the halves of a value.
    pub fn set_edx_eax(&mut self, value: u64) {
        self.set(gpr::RAX, value & 0xFFFF_FFFF);
        self.set(gpr::RDX, value >> 32);
    }
}

/// A register in the control structure.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "as the architecture names them")]
pub enum Register {
    Rip,
    Rsp,
    Rflags,
    Cr0,
    Cr3,
    Cr4,
    Efer,
    Pat,
    CsBase,
}

/// What a guest CPU needs of the machine while it is on a CPU.
#[derive(Clone, Copy, Debug)]
pub struct World {
    /// The domain's stage-2 root.
    pub stage2: Mfn,
    /// Tag of what the CPU caches of the guest's translations: ASID or VPID, not 0.
    pub tag: u32,
    /// Guest TSC minus machine TSC.
    pub tsc_offset: u64,
    /// The domain has Domain-0's devices: their ports do not exit.
    pub hardware: bool,
}

/// What has to be dropped of cached translations before the guest goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flush {
    /// Nothing.
    Nothing,
    /// What belongs to this stage 2.
    Stage2,
    /// Everything of every guest.
    All,
}

/// A guest CPU's control structure. It lies where it is for as long as it is loaded.
pub trait Control: Send {
    /// One for a CPU after reset.
    fn new() -> Self;

    /// Puts it on this CPU.
    fn load(&mut self, world: &World);

    /// Takes it off this CPU.
    fn unload(&mut self);

    /// Runs the guest until it exits. Host interrupts are masked before and after.
    fn run(&mut self, registers: &mut Registers, flush: Flush) -> Event;

    /// A register. Only while loaded.
    fn get(&self, register: Register) -> u64;

    /// Sets a register. Only while loaded.
    fn set(&mut self, register: Register, value: u64);

    /// Whether the code segment is a 64-bit one in long mode, and the privilege level. Only while loaded.
    fn mode(&self) -> Mode;

    /// Length of the instruction that exited, if the CPU says it.
    fn instruction_length(&self) -> Option<u64>;

    /// An instruction was emulated: interrupts are not held back by the one before it any more.
    fn end_interrupt_shadow(&mut self);

    /// Whether an external interrupt can be put into the guest now.
    fn takes_interrupt(&self) -> bool;

    /// Whether the guest masks interrupts.
    fn masks_interrupts(&self) -> bool;

    /// Makes the guest take this at its next entry. Nothing else is to be taken there.
    fn inject(&mut self, event: Injection);

    /// Whether something is to be taken at the next entry.
    fn is_injecting(&self) -> bool;

    /// Makes the guest exit with [`Event::WindowOpen`] when it would take an interrupt, or not.
    fn watch_window(&mut self, watch: bool);

    /// The guest's task priority class (CR8), where the hardware keeps it.
    fn task_priority(&self) -> Option<u8>;

    /// Sets it there.
    fn set_task_priority(&mut self, class: u8);

    /// Sets the page-directory pointers of PAE paging, which a write of CR0 or CR3 loads, where the hardware does not load
    /// them by itself.
    fn set_page_pointers(&mut self, entries: [u64; 4]) {
        let _ = entries;
    }

    /// All registers except the general ones, debug registers 0 to 3, XCR0 and TSC_AUX. Only while not loaded.
    fn save(&self, out: &mut Cpu);

    /// Sets them. They were checked. Only while not loaded.
    fn restore(&mut self, state: &Cpu);
}

/// How the guest runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mode {
    /// In 64-bit mode.
    pub is_64_bit: bool,
    /// Current privilege level.
    pub privilege: u8,
}

/// What a guest takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Injection {
    /// An external interrupt.
    Interrupt(u8),
    /// A non-maskable interrupt.
    Nmi,
    /// An exception, with its error code if it has one.
    Exception(u8, Option<u32>),
}

/// Vectors of exceptions.
pub mod exception {
    /// Debug.
    pub const DB: u8 = 1;
    /// Undefined instruction.
    pub const UD: u8 = 6;
    /// General protection.
    pub const GP: u8 = 13;
    /// Page fault.
    pub const PF: u8 = 14;
    /// Alignment check.
    pub const AC: u8 = 17;
}

/// Why a guest exited.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// The host has an interrupt.
    Interrupted,
    /// The guest would take an interrupt now: see [`Control::watch_window`].
    WindowOpen,
    /// CPUID.
    Cpuid,
    /// RDMSR.
    ReadMsr,
    /// WRMSR.
    WriteMsr,
    /// The vendor's hypercall instruction.
    Hypercall,
    /// HLT.
    Halt,
    /// XSETBV.
    Xsetbv,
    /// INVD or WBINVD.
    Cache,
    /// PAUSE, too often.
    Pause,
    /// An instruction that guests do not have.
    Undefined(&'static str),
    /// IN or OUT.
    Port(Port),
    /// MOV to or from a control register that guests do not write at will.
    ControlRegister(ControlRegister),
    /// A guest-physical address that stage 2 does not map so.
    Memory(Memory),
    /// An exception of the guest that the host looks at: it is the guest's.
    Exception(u8, Option<u32>),
    /// A task switch through a task gate or segment.
    TaskSwitch,
    /// The guest cannot handle its own exceptions.
    TripleFault,
    /// The CPU did not enter the guest: reason and detail.
    Failed(u64, u64),
    /// An exit that is not asked for: its code.
    Unknown(u64),
}

/// An access to a port.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Port {
    /// Its number.
    pub number: u16,
    /// Bytes: 1, 2 or 4.
    pub size: u8,
    /// IN, not OUT.
    pub is_input: bool,
    /// INS or OUTS.
    pub is_string: bool,
    /// With a REP prefix.
    pub is_repeated: bool,
    /// Where the guest goes on.
    pub length: u64,
}

/// An access to a control register.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ControlRegister {
    /// Its number.
    pub number: u8,
    /// MOV to it, not from it.
    pub is_write: bool,
    /// The general register.
    pub register: u8,
}

/// An access that stage 2 refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Memory {
    /// Where.
    pub gpa: u64,
    /// A write.
    pub is_write: bool,
    /// An instruction fetch.
    pub is_fetch: bool,
    /// While the guest's own page tables were walked.
    pub in_walk: bool,
}
