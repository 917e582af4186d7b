//! Exits, decided.

use hv_abi::Errno;
use hv_abi::layout::x86::APIC_BASE;
use hv_common::arch::{Exit, RefusalKind};

use super::{ARGUMENTS, Done, Pending, Vcpu};
use crate::control_registers::{cr0, cr4};
use crate::cpuid::{self, View};
use crate::host::X86Host;
use crate::hw::{extended, identity, interrupts, timer};
use crate::msr::efer;
use crate::platform::Platform;
use crate::ports;
use crate::vendor::{
    Control, ControlRegister, Event, Injection, Memory, Port, Register, Vendor, exception, gpr,
};

const CPUID: [u8; 2] = [0x0F, 0xA2];
const HLT: [u8; 1] = [0xF4];
const INVD: [u8; 2] = [0x0F, 0x08];
const WBINVD: [u8; 2] = [0x0F, 0x09];
const XSETBV: [u8; 3] = [0x0F, 0x01, 0xD1];
const PAUSE: [u8; 2] = [0xF3, 0x90];

impl<V: Vendor> Vcpu<V> {
    /// Goes on after an instruction of that length.
    #[inline(always)]
    pub(super) fn skip(&mut self, length: u64) {
        let rip = self.rip().wrapping_add(length);
        let rip = if self.control.mode().is_64_bit {
            rip
        } else {
            rip & 0xFFFF_FFFF
        };
        self.control.set(Register::Rip, rip);
        self.control.end_interrupt_shadow();
    }

    /// Goes on after an instruction with this opcode, if it is still there. Returns whether it was.
    #[inline(always)]
    pub(super) fn finish(&mut self, host: &X86Host, opcode: &[u8]) -> bool {
        match self.length_of(host, opcode) {
            Some(length) => {
                self.skip(length);
                true
            }
            None => false,
        }
    }

    pub(super) fn fault(&mut self, vector: u8, error: Option<u32>) {
        self.control.inject(Injection::Exception(vector, error));
    }

    /// General protection fault, error code 0.
    pub(super) fn protection_fault(&mut self) {
        self.fault(exception::GP, Some(0));
    }

    /// Refuses what the guest did: the fault is injected.
    pub(super) fn refuse(
        &mut self,
        kind: RefusalKind,
        what: &'static str,
        detail: u64,
        address: u64,
    ) -> Done {
        let refusal = self.refusal(kind, what, detail, address);
        self.protection_fault();
        Done::Exit(Exit::Refused(refusal))
    }

    /// The guest cannot go on.
    fn crash(&self, what: &'static str, detail: u64, address: u64) -> Done {
        let refusal = self.refusal(RefusalKind::Instruction, what, detail, address);
        Done::Exit(Exit::Fault(refusal))
    }

    #[inline(always)]
    pub(super) fn hypercall(&mut self, host: &X86Host) -> Done {
        let at = self.rip();
        let mode = self.control.mode();
        if !self.finish(host, &V::HYPERCALL) {
            return Done::GoOn;
        }
        if mode.privilege != 0 {
            self.registers.set(gpr::RAX, Errno::EPERM.to_return_value());
            return Done::GoOn;
        }
        self.pending = Pending::Call(at);
        let args = ARGUMENTS.map(|register| self.registers.get(register));
        Done::Exit(Exit::Call {
            number: self.registers.get(gpr::RAX) & 0xFFFF_FFFF,
            args,
        })
    }

    #[inline(never)]
    pub(super) fn serve(&mut self, host: &X86Host, platform: &Platform, event: Event) -> Done {
        self.trail.note(event, self.rip());
        match event {
            Event::Hypercall => self.hypercall(host),
            Event::Interrupted => self.interrupted(),
            Event::WindowOpen => {
                self.is_asked = true;
                Done::GoOn
            }
            Event::Cpuid => self.cpuid(host, platform),
            Event::ReadMsr => self.read_msr(host, platform),
            Event::WriteMsr => self.write_msr(host, platform),
            Event::Port(port) => self.port(port),
            Event::Halt => self.halt(host),
            Event::Memory(memory) => self.memory_access(memory),
            other => self.serve_rare(host, other),
        }
    }

    #[cold]
    fn serve_rare(&mut self, host: &X86Host, event: Event) -> Done {
        match event {
            Event::Xsetbv => self.xsetbv(host),
            Event::Cache => {
                let _left = self.finish(host, &WBINVD) || self.finish(host, &INVD);
                Done::GoOn
            }
            Event::Pause => {
                let _left = self.finish(host, &PAUSE);
                Done::GoOn
            }
            Event::Undefined(what) => {
                let refusal = self.refusal(RefusalKind::Instruction, what, 0, 0);
                self.fault(exception::UD, None);
                Done::Exit(Exit::Refused(refusal))
            }
            Event::ControlRegister(access) => self.control_register(host, access),
            Event::Exception(vector, error) => {
                self.fault(vector, error);
                Done::GoOn
            }
            Event::TaskSwitch => self.refuse(RefusalKind::Instruction, "task switch", 0, 0),
            Event::TripleFault => self.crash("triple fault", 0, 0),
            Event::Failed(reason, detail) => self.crash("guest state not valid", reason, detail),
            Event::Unknown(code) => self.crash("unknown exit", code, 0),
            _ => Done::GoOn,
        }
    }

    /// The host's interrupts are noted; those that are for others make the guest leave.
    fn interrupted(&mut self) -> Done {
        interrupts::take();
        if timer::take_guest_deadline() {
            self.is_asked = true;
        }
        if interrupts::are_noted() {
            // The timer may come while others look at the rest.
            self.is_asked = true;
            return Done::Exit(Exit::Interrupted);
        }
        Done::GoOn
    }

    #[inline]
    fn cpuid(&mut self, host: &X86Host, platform: &Platform) -> Done {
        if !self.finish(host, &CPUID) {
            return Done::GoOn;
        }
        let view = View {
            vcpu: self.index,
            vcpus: platform.vcpus(),
            guest_id: platform.guest_id.0,
            hypervisor_visible: platform.hypervisor_visible,
            osxsave: self.control.get(Register::Cr4) & cr4::OSXSAVE != 0,
            tsc_khz: host.tsc_khz,
        };
        let leaf = self.registers.get(gpr::RAX) as u32;
        let subleaf = self.registers.get(gpr::RCX) as u32;
        let answer = cpuid::answer(leaf, subleaf, &view, identity::cpuid);
        self.registers.set(gpr::RAX, u64::from(answer.eax));
        self.registers.set(gpr::RBX, u64::from(answer.ebx));
        self.registers.set(gpr::RCX, u64::from(answer.ecx));
        self.registers.set(gpr::RDX, u64::from(answer.edx));
        Done::GoOn
    }

    #[inline]
    fn port(&mut self, port: Port) -> Done {
        if port.is_string {
            let number = u64::from(port.number);
            return self.refuse(RefusalKind::Instruction, "string port access", number, 0);
        }
        if port.is_input {
            let value = ports::read_nothing(port.number, port.size);
            let rax = ports::merge(self.registers.get(gpr::RAX), value, port.size);
            self.registers.set(gpr::RAX, rax);
        }
        self.skip(port.length);
        let value = self.registers.get(gpr::RAX) as u8;
        if !port.is_input
            && port.size == 1
            && let Some(power) = ports::written(port.number, value)
        {
            self.pending = Pending::Power;
            return Done::Exit(Exit::Power(power));
        }
        Done::GoOn
    }

    fn halt(&mut self, host: &X86Host) -> Done {
        if self.finish(host, &HLT) {
            // If it goes on at once, something is there for it.
            self.is_asked = true;
            return Done::Exit(Exit::Idle);
        }
        Done::GoOn
    }

    fn memory_access(&mut self, memory: Memory) -> Done {
        let what = match memory {
            Memory { gpa, .. } if gpa & !0xFFF == APIC_BASE => "APIC access without x2APIC",
            Memory { in_walk: true, .. } => "page table outside RAM",
            Memory { is_fetch: true, .. } => "fetch",
            Memory { is_write: true, .. } => "store",
            Memory { .. } => "load",
        };
        // A fault on top would be delivered to the same stack and tables, without end.
        if self.control.is_injecting() {
            return self.crash("event delivery outside RAM", 0, memory.gpa);
        }
        self.refuse(RefusalKind::Access, what, 0, memory.gpa)
    }

    fn xsetbv(&mut self, host: &X86Host) -> Done {
        let value = self.registers.edx_eax();
        let index = self.registers.get(gpr::RCX) as u32;
        let privileged = self.control.mode().privilege == 0;
        if index != 0 || !privileged || !extended::is_valid(value) {
            return self.refuse(RefusalKind::Instruction, "xsetbv", u64::from(index), value);
        }
        if self.finish(host, &XSETBV) {
            self.xcr0 = value;
            extended::set_xcr0(value);
        }
        Done::GoOn
    }

    /// What of control registers exits: the task priority, and bits that the vendor keeps for the hypervisor.
    fn control_register(&mut self, host: &X86Host, access: ControlRegister) -> Done {
        let register = usize::from(access.register);
        let value = self.register(register);
        let done = match (access.number, access.is_write) {
            (0, true) => self.write_cr0(host, value),
            (4, true) => self.write_cr4(value),
            (8, true) => self.write_cr8(value),
            (8, false) => {
                let class = u64::from(self.apic.task_priority() >> 4);
                self.set_register(register, class);
                Some(())
            }
            _ => None,
        };
        if done.is_none() {
            let number = u64::from(access.number);
            return self.refuse(RefusalKind::Instruction, "control register", number, value);
        }
        if let Some(length) = self.control.instruction_length() {
            self.skip(length);
        }
        Done::GoOn
    }

    /// `None`: a fault.
    fn write_cr0(&mut self, host: &X86Host, value: u64) -> Option<()> {
        let paging = self.paging();
        let rises = value & !paging.cr0;
        let is_valid = value >> 32 == 0
            && (value & cr0::PG == 0 || value & cr0::PE != 0)
            && (value & cr0::NW == 0 || value & cr0::CD != 0)
            && (rises & cr0::PG == 0 || paging.efer & efer::LME == 0 || paging.cr4 & cr4::PAE != 0);
        is_valid.then(|| {
            self.control.set(Register::Cr0, value & cr0::ALL | cr0::ET);
            self.load_page_pointers(host);
        })
    }

    /// Bits that virtualization needs are not the guest's.
    fn write_cr4(&mut self, value: u64) -> Option<()> {
        (value & !cr4::ALL == 0).then(|| self.control.set(Register::Cr4, value))
    }

    fn write_cr8(&mut self, value: u64) -> Option<()> {
        let class = u8::try_from(value).ok().filter(|class| *class <= 0xF)?;
        self.apic.set_priority_class(class);
        self.is_asked = true;
        Some(())
    }

    /// A general register, RSP included.
    pub(super) fn register(&self, index: usize) -> u64 {
        match index {
            gpr::RSP => self.control.get(Register::Rsp),
            other => self.registers.get(other),
        }
    }

    pub(super) fn set_register(&mut self, index: usize, value: u64) {
        match index {
            gpr::RSP => self.control.set(Register::Rsp, value),
            other => self.registers.set(other, value),
        }
    }
}
