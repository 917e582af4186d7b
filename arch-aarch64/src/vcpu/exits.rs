//! What to do about a synchronous exit.

use hv_common::arch::{Exit, Gpa};

use super::{Fault, Pending, Vcpu};
use crate::exit::{Access, Cause, DataFault, Syndrome};
use crate::host::ArmHost;
use crate::hw::world::{self, Left};
use crate::platform::Platform;
use crate::psci::{self, Answer};
use crate::vgic::Frame;

impl Vcpu {
    /// Decides about a synchronous exit that is no hypercall. `None`: it is dealt with, the guest goes on.
    #[inline(never)]
    pub(super) fn synchronous(&mut self, host: &ArmHost, platform: &Platform) -> Option<Exit> {
        let syndrome = world::syndrome();
        match syndrome.decode() {
            Cause::Access(access, address) => self.access(platform, &syndrome, access, address),
            cause => self.rare(host, platform, &syndrome, cause),
        }
    }

    /// The hypercall that the guest was left for, if it was.
    #[inline(always)]
    pub(super) fn hypercall(&mut self, left: Left) -> Option<Exit> {
        if left != Left::Synchronous || world::exception() != self.hypercall {
            return None;
        }
        self.pending = Pending::Call;
        let x = &self.context.x;
        Some(Exit::Call {
            number: x[16],
            args: [x[0], x[1], x[2], x[3], x[4]],
        })
    }

    #[inline(never)]
    fn rare(
        &mut self,
        host: &ArmHost,
        platform: &Platform,
        syndrome: &Syndrome,
        cause: Cause,
    ) -> Option<Exit> {
        match cause {
            Cause::Register(register) => self.register(host, platform, syndrome, register),
            Cause::Wait => {
                self.skip(syndrome.esr);
                Some(Exit::Idle)
            }
            Cause::Hvc(0) => self.firmware(platform),
            Cause::Smc => {
                // Trapped before it is done, unlike HVC.
                self.skip(syndrome.esr);
                self.context.x[0] = psci::code::NOT_SUPPORTED;
                None
            }
            Cause::Data(fault) => Some(self.refuse_data(syndrome, fault)),
            Cause::Fetch => {
                let refusal = self.refusal("instruction fetch", syndrome.esr, syndrome.far);
                self.inject_abort(syndrome.esr, syndrome.far);
                Some(Exit::Refused(refusal))
            }
            Cause::Hvc(tag) => {
                // Taken after it is done, unlike an instruction that is undefined.
                let length = syndrome.instruction_length();
                self.context.pc = self.context.pc.wrapping_sub(length);
                Some(self.undefined("HVC", u64::from(tag)))
            }
            Cause::Undefined => Some(self.undefined("instruction", syndrome.esr)),
            Cause::Access(..) | Cause::Other => Some(Exit::Fault(self.refusal(
                "exception",
                syndrome.esr,
                syndrome.far,
            ))),
        }
    }

    /// Refuses an instruction: it is undefined.
    pub(super) fn undefined(&mut self, what: &'static str, detail: u64) -> Exit {
        let refusal = self.refusal(what, detail, 0);
        self.inject_undefined();
        Exit::Refused(refusal)
    }

    fn refuse_data(&mut self, syndrome: &Syndrome, fault: DataFault) -> Exit {
        let what = match fault {
            DataFault::NotDescribed => "access by an instruction that cannot be emulated",
            DataFault::Permission => "access without permission",
            DataFault::Other => "access that failed",
        };
        let refusal = self.refusal(what, syndrome.esr, syndrome.far);
        self.inject_abort(syndrome.esr, syndrome.far);
        Exit::Refused(refusal)
    }

    /// A load or store outside RAM: the interrupt controller here, the rest elsewhere.
    #[inline(always)]
    fn access(
        &mut self,
        platform: &Platform,
        syndrome: &Syndrome,
        access: Access,
        address: u64,
    ) -> Option<Exit> {
        if let Some((frame, offset)) = platform.frame_at(address, self.index) {
            return self.controller(platform, syndrome, access, frame, offset);
        }
        let fault = Fault {
            esr: syndrome.esr,
            far: syndrome.far,
        };
        let gpa = Gpa(address);
        let size = access.size;
        if access.is_write {
            self.pending = Pending::Store(fault);
            let value = access.truncate(self.context.register(access.target));
            Some(Exit::Store { gpa, size, value })
        } else {
            self.pending = Pending::Load(access, fault);
            Some(Exit::Load { gpa, size })
        }
    }

    /// An access to the interrupt controller's registers.
    #[inline]
    fn controller(
        &mut self,
        platform: &Platform,
        syndrome: &Syndrome,
        access: Access,
        frame: Frame,
        offset: u64,
    ) -> Option<Exit> {
        if self.lists != 0 {
            self.fold(platform);
            platform.call_attention(self.index);
        }
        self.skip(syndrome.esr);
        if !access.is_write {
            let value = platform.gic().read(frame, offset, access.size);
            self.context
                .set_register(access.target, access.extend(value));
            return None;
        }
        let value = access.truncate(self.context.register(access.target));
        let effect = platform.gic().write(frame, offset, access.size, value);
        if effect.look == 0 && effect.deactivate.1 == 0 {
            return None;
        }
        self.wake(platform.apply(effect, self.index))
    }

    /// The exit that wakes other vCPUs, if there are any to wake.
    pub(super) fn wake(&self, others: u32) -> Option<Exit> {
        let vcpus = u64::from(others & !(1 << self.index));
        (vcpus != 0).then_some(Exit::Wake { vcpus })
    }

    /// `HVC #0`: firmware's calls.
    fn firmware(&mut self, platform: &Platform) -> Option<Exit> {
        let x = &mut self.context.x;
        match psci::answer([x[0], x[1], x[2], x[3]], platform.hypervisor_visible()) {
            Answer::Value(value) => x[0] = value,
            Answer::Values(values) => {
                for (register, value) in x.iter_mut().zip(values) {
                    *register = value;
                }
            }
            Answer::Ask(power, question) => {
                self.pending = Pending::Power(question);
                return Some(Exit::Power(power));
            }
            Answer::Suspend => {
                x[0] = psci::code::SUCCESS;
                return Some(Exit::Idle);
            }
        }
        None
    }
}
