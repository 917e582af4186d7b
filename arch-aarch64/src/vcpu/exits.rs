//! What to do about a synchronous exit.

use hv_common::arch::{Exit, Gpa, RefusalKind};

use super::{Done, Pending, Vcpu};
use crate::exit::{Access, Cause, DataFault, Syndrome};
use crate::host::ArmHost;
use crate::hw::world::{self, Left};
use crate::platform::Platform;
use crate::psci::{self, Answer};
use crate::vgic::Frame;

impl Vcpu {
    /// Decides about a synchronous exit that is no hypercall. Short and without a stack frame: what a load or store of a
    /// device costs is counted.
    #[inline(never)]
    pub(super) fn synchronous(&mut self, host: &ArmHost, platform: &Platform) -> Done {
        let syndrome = world::syndrome();
        let Some((access, address)) = syndrome.access() else {
            return self.rare(host, platform, syndrome);
        };
        match platform.frame_at(address, self.index) {
            Some((frame, offset)) => self.controller(platform, access, frame, offset),
            None => self.access(syndrome, address),
        }
    }

    /// A load or store that is no RAM, nor the interrupt controller.
    #[inline(always)]
    fn access(&mut self, syndrome: Syndrome, address: u64) -> Done {
        self.pending = Pending::Access;
        self.access = syndrome;
        self.address = address;
        Done::Access
    }

    /// The exit for such a one.
    #[inline(always)]
    pub(super) fn access_exit(&self) -> Exit {
        let access = Access::from_bits(self.access.esr);
        let (gpa, size) = (Gpa(self.address), access.size());
        if access.is_write() {
            let value = access.truncate(self.context.register(access.target()));
            Exit::Store { gpa, size, value }
        } else {
            Exit::Load { gpa, size }
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
    fn rare(&mut self, host: &ArmHost, platform: &Platform, syndrome: Syndrome) -> Done {
        let exit = self.decide(host, platform, &syndrome);
        exit.map_or(Done::GoOn, Done::Exit)
    }

    fn decide(&mut self, host: &ArmHost, platform: &Platform, syndrome: &Syndrome) -> Option<Exit> {
        match syndrome.decode() {
            Cause::Register(register) => self.register(host, platform, syndrome, register),
            Cause::Wait => {
                self.skip(syndrome.esr);
                Some(Exit::Idle)
            }
            Cause::Hvc(0) => self.firmware(platform),
            Cause::Smc => {
                // Trapped before it is done, unlike HVC.
                let function = self.context.x[0];
                let refusal = self.refusal(RefusalKind::Firmware, "SMC", function, 0);
                self.skip(syndrome.esr);
                self.context.x[0] = psci::code::NOT_SUPPORTED;
                Some(Exit::Refused(refusal))
            }
            Cause::Data(fault) => Some(self.refuse_data(syndrome, fault)),
            Cause::Fetch => {
                let refusal = self.refusal(
                    RefusalKind::Access,
                    "instruction fetch",
                    syndrome.esr,
                    syndrome.far,
                );
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
                RefusalKind::Instruction,
                "exception",
                syndrome.esr,
                syndrome.far,
            ))),
        }
    }

    /// Refuses an instruction: it is undefined.
    pub(super) fn undefined(&mut self, what: &'static str, detail: u64) -> Exit {
        let refusal = self.refusal(RefusalKind::Instruction, what, detail, 0);
        self.inject_undefined();
        Exit::Refused(refusal)
    }

    fn refuse_data(&mut self, syndrome: &Syndrome, fault: DataFault) -> Exit {
        let what = match fault {
            DataFault::NotDescribed => "access by an instruction that cannot be emulated",
            DataFault::Permission => "access without permission",
            DataFault::Other => "access that failed",
        };
        let refusal = self.refusal(RefusalKind::Access, what, syndrome.esr, syndrome.far);
        self.inject_abort(syndrome.esr, syndrome.far);
        Exit::Refused(refusal)
    }

    /// An access to the interrupt controller's registers.
    #[inline(never)]
    fn controller(
        &mut self,
        platform: &Platform,
        access: Access,
        frame: Frame,
        offset: u64,
    ) -> Done {
        if self.lists != 0 {
            self.fold(platform);
            platform.call_attention(self.index);
        }
        self.skip(access.into_bits());
        if !access.is_write() {
            let value = platform.gic().read(frame, offset, access.size());
            self.context
                .set_register(access.target(), access.extend(value));
            return Done::GoOn;
        }
        let value = access.truncate(self.context.register(access.target()));
        let effect = platform.gic().write(frame, offset, access.size(), value);
        if effect.look == 0 && effect.deactivate.1 == 0 {
            return Done::GoOn;
        }
        let wake = self.wake(platform.apply(effect, self.index));
        wake.map_or(Done::GoOn, Done::Exit)
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
