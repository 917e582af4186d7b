//! RDMSR and WRMSR, and what they lead to.

use hv_abi::control::vcpu::StartContext;
use hv_common::arch::{Exit, Power, RefusalKind};

use super::{Done, Vcpu};
use crate::apic::{Destination, Effect, Ipi, IpiKind};
use crate::host::X86Host;
use crate::hw::{msr as hw_msr, timer};
use crate::msr::{self, Msr};
use crate::platform::Platform;
use crate::vendor::{Control, Register, Vendor, gpr};

const RDMSR: [u8; 2] = [0x0F, 0x32];
const WRMSR: [u8; 2] = [0x0F, 0x30];

impl<V: Vendor> Vcpu<V> {
    #[inline]
    pub(super) fn read_msr(&mut self, host: &X86Host, platform: &Platform) -> Done {
        let number = self.registers.get(gpr::RCX) as u32;
        let Some(value) = self.msr(host, platform, number) else {
            return self.refuse_msr("rdmsr", number, 0);
        };
        if self.finish(host, &RDMSR) {
            self.registers.set_edx_eax(value);
        }
        Done::GoOn
    }

    #[cold]
    fn refuse_msr(&mut self, what: &'static str, number: u32, value: u64) -> Done {
        if Msr::from_number(number) == Msr::Absent {
            self.protection_fault();
            return Done::GoOn;
        }
        self.refuse(RefusalKind::Instruction, what, u64::from(number), value)
    }

    fn msr(&mut self, host: &X86Host, platform: &Platform, number: u32) -> Option<u64> {
        Some(match Msr::from_number(number) {
            Msr::Tsc => timer::now_ticks().wrapping_add(self.tsc_offset),
            Msr::ApicBase => self.apic.base,
            Msr::TscDeadline => self.apic.tsc_deadline(),
            Msr::Pat => self.control.get(Register::Pat),
            Msr::Efer => self.control.get(Register::Efer),
            Msr::TscAux => self.tsc_aux,
            Msr::X2apic(register) if self.apic.is_x2apic() => {
                self.take_priority();
                let irr = platform.requests(self.index).irr();
                self.apic.read(register, &irr, self.now(host)).ok()?
            }
            Msr::Constant(value) => value,
            Msr::Ignored => 0,
            Msr::HypercallPage if platform.hypervisor_visible => 0,
            Msr::X2apic(_) | Msr::HypercallPage | Msr::Absent | Msr::Unknown => {
                return None;
            }
        })
    }

    #[inline]
    pub(super) fn write_msr(&mut self, host: &X86Host, platform: &Platform) -> Done {
        let number = self.registers.get(gpr::RCX) as u32;
        let value = self.registers.edx_eax();
        let Some(effect) = self.set_msr(host, platform, number, value) else {
            return self.refuse_msr("wrmsr", number, value);
        };
        if !self.finish(host, &WRMSR) {
            // Whoever changed the instruction meanwhile gets the effect and the new instruction.
            return Done::GoOn;
        }
        self.follow(host, platform, effect)
    }

    /// `None`: a fault.
    fn set_msr(
        &mut self,
        host: &X86Host,
        platform: &Platform,
        number: u32,
        value: u64,
    ) -> Option<Effect> {
        match Msr::from_number(number) {
            Msr::X2apic(register) if self.apic.is_x2apic() => {
                self.take_priority();
                let effect = self.apic.write(register, value, self.now(host)).ok()?;
                self.control
                    .set_task_priority((self.apic.task_priority() >> 4) as u8);
                return Some(effect);
            }
            Msr::TscDeadline => return Some(self.apic.set_tsc_deadline(value)),
            Msr::ApicBase => self.apic.set_base(value).ok()?,
            Msr::Pat => {
                msr::is_pat(value).then(|| self.control.set(Register::Pat, value))?;
            }
            Msr::Efer => {
                let before = self.control.get(Register::Efer);
                let cr0 = self.control.get(Register::Cr0);
                let value = msr::write_efer(before, value, cr0, host.efer_allowed)?;
                self.control.set(Register::Efer, value);
            }
            Msr::TscAux => {
                u32::try_from(value).ok()?;
                self.tsc_aux = value;
                hw_msr::write_tsc_aux(value);
            }
            Msr::HypercallPage if platform.hypervisor_visible => {
                self.place_hypercall_page(host, value)?;
            }
            Msr::Constant(kept) => (kept == value).then_some(())?,
            Msr::Ignored => {}
            // A guest's TSC is where it is.
            Msr::Tsc => {}
            Msr::X2apic(_) | Msr::HypercallPage | Msr::Absent | Msr::Unknown => {
                return None;
            }
        }
        Some(Effect::Nothing)
    }

    /// The page's number is in the lowest bits; there is one.
    fn place_hypercall_page(&self, host: &X86Host, value: u64) -> Option<()> {
        if value & 0xFFF != 0 {
            return None;
        }
        self.write_page(host, value, &msr::hypercall_page::<V>())
    }

    fn follow(&mut self, host: &X86Host, platform: &Platform, effect: Effect) -> Done {
        match effect {
            Effect::Nothing => Done::GoOn,
            Effect::Look => {
                self.is_asked = true;
                Done::GoOn
            }
            Effect::Timer => {
                self.set_timer(host);
                self.is_asked = true;
                Done::GoOn
            }
            Effect::Send(ipi) => self.send(platform, ipi),
        }
    }

    fn send(&mut self, platform: &Platform, ipi: Ipi) -> Done {
        if let (IpiKind::Startup(vector), Destination::Physical(vcpu)) = (ipi.kind, ipi.to) {
            return self.start_other(vcpu, vector);
        }
        let others = platform.send(self.index, ipi.to, ipi.kind);
        if others == 0 {
            return Done::GoOn;
        }
        Done::Exit(Exit::Wake { vcpus: others })
    }

    /// A start-up IPI: it concerns a vCPU that is off.
    fn start_other(&mut self, vcpu: u32, vector: u8) -> Done {
        self.pending = super::Pending::Power;
        Done::Exit(Exit::Power(Power::CpuOn {
            vcpu,
            context: StartContext {
                entry: StartContext::REAL_MODE | u64::from(vector) << 12,
                argument: 0,
            },
        }))
    }
}
