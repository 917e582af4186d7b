//! Hypercalls: decode, authorise, dispatch.
//!
//! A handler is `fn(&mut CallContext<A>, args: &[u64; 5]) -> Outcome`, one per call family, each in its own module. It
//! copies its arguments in once, decides on the copy, and copies results out; the context's copies take the domain's
//! lock, so no handler holds it across them. A handler that has done 64 elements of a batch, or sees
//! [`CallContext::should_stop`], returns [`Outcome::Again`] with the registers of the call that does the rest.

use hv_abi::{CallNumber, Errno};
use zerocopy::{FromBytes, IntoBytes};

use crate::arch::{Access, Arch, Gpa, Vcpu};
use crate::control;
use crate::domain::DomainRef;
use crate::hypervisor::Hypervisor;
use crate::memory::guest::left_in_page;
use crate::vcpu::VcpuSlot;

pub mod console;
pub mod event;
pub mod grant;
pub mod hvm;
pub mod memory;
pub mod sched;
pub mod vcpu;
pub mod version;

/// Elements of a batch before a call gives way.
pub const BATCH: usize = 64;

/// What a handler made of a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It is over.
    Done(Result<u64, Errno>),
    /// It gives way: the vCPU makes the call again with these arguments.
    Again([u64; 5]),
}

impl From<Result<u64, Errno>> for Outcome {
    fn from(result: Result<u64, Errno>) -> Self {
        Self::Done(result)
    }
}

/// What the vCPU does once the call has returned.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum After {
    /// It goes on.
    Resume,
    /// It lets others run.
    Yield,
    /// It waits for an event, or until this time on the host's clock.
    Block {
        /// Host nanoseconds.
        until_ns: Option<u64>,
    },
}

/// A hypercall being served: who makes it, and from where.
pub struct CallContext<'a, A: Arch> {
    /// The hypervisor.
    pub hypervisor: &'a Hypervisor<A>,
    /// The caller's domain.
    pub domain: &'a DomainRef<A>,
    /// The calling vCPU.
    pub slot: &'a VcpuSlot<A>,
    /// What happens after the call.
    pub after: After,
    registers: &'a A::Vcpu,
}

impl<'a, A: Arch> CallContext<'a, A> {
    /// The context of a call by the loaded vCPU `registers`.
    pub fn new(
        hypervisor: &'a Hypervisor<A>,
        domain: &'a DomainRef<A>,
        slot: &'a VcpuSlot<A>,
        registers: &'a A::Vcpu,
    ) -> Self {
        Self {
            hypervisor,
            domain,
            slot,
            after: After::Resume,
            registers,
        }
    }

    /// The calling vCPU's number.
    #[must_use]
    pub fn vcpu(&self) -> u32 {
        self.slot.index
    }

    /// Whether a batch should give way: after this many elements, or because something else wants the CPU.
    #[must_use]
    pub fn should_stop(&self, done: usize) -> bool {
        let wanted = || {
            self.hypervisor
                .this_cpu()
                .is_some_and(|cpu| cpu.wants_attention())
        };
        done >= BATCH || (done > 0 && wanted())
    }

    /// Where a virtual address of the caller is.
    ///
    /// # Errors
    /// `EFAULT`.
    pub fn translate(&self, va: u64, access: Access) -> Result<Gpa, Errno> {
        self.registers
            .translate(self.hypervisor.host, va, access)
            .ok_or(Errno::EFAULT)
    }

    /// Copies a value in.
    ///
    /// # Errors
    /// `EFAULT`.
    pub fn copy_in<T: FromBytes + IntoBytes>(&self, va: u64) -> Result<T, Errno> {
        let mut value = T::new_zeroed();
        let bytes = value.as_mut_bytes();
        if bytes.len() > left_in_page(va) {
            self.read_bytes(va, bytes)?;
            return Ok(value);
        }
        let gpa = self.translate(va, Access::Read)?;
        self.hypervisor
            .memory(self.domain)
            .read_in_page(gpa, bytes)?;
        Ok(value)
    }

    /// Copies a value out.
    ///
    /// # Errors
    /// `EFAULT`.
    pub fn copy_out<T: IntoBytes + zerocopy::Immutable>(
        &self,
        va: u64,
        value: &T,
    ) -> Result<(), Errno> {
        self.write_bytes(va, value.as_bytes())
    }

    /// Copies bytes in.
    ///
    /// # Errors
    /// `EFAULT`; a part may have been copied.
    pub fn read_bytes(&self, va: u64, out: &mut [u8]) -> Result<(), Errno> {
        let memory = self.hypervisor.memory(self.domain);
        let mut at = va;
        let mut rest = out;
        while !rest.is_empty() {
            let length = left_in_page(at).min(rest.len());
            let (chunk, after) = rest.split_at_mut(length);
            memory.read_in_page(self.translate(at, Access::Read)?, chunk)?;
            at = at.checked_add(length as u64).ok_or(Errno::EFAULT)?;
            rest = after;
        }
        Ok(())
    }

    /// Copies bytes out.
    ///
    /// # Errors
    /// `EFAULT`; a part may have been copied.
    pub fn write_bytes(&self, va: u64, bytes: &[u8]) -> Result<(), Errno> {
        let memory = self.hypervisor.memory(self.domain);
        let mut at = va;
        let mut rest = bytes;
        while !rest.is_empty() {
            let length = left_in_page(at).min(rest.len());
            let (chunk, after) = rest.split_at(length);
            memory.write_in_page(self.translate(at, Access::Write)?, chunk)?;
            at = at.checked_add(length as u64).ok_or(Errno::EFAULT)?;
            rest = after;
        }
        Ok(())
    }
}

/// Serves a hypercall. Families are not inlined here: the frame that the largest needs would be set up for each call.
pub fn dispatch<A: Arch>(
    context: &mut CallContext<'_, A>,
    number: u64,
    args: &[u64; 5],
) -> Outcome {
    match CallNumber(number) {
        CallNumber::MEMORY_OP => memory::call(context, args),
        CallNumber::SET_TIMER_OP => sched::set_timer(context, args),
        CallNumber::XEN_VERSION => version::call(context, args),
        CallNumber::CONSOLE_IO => console::call(context, args),
        CallNumber::GRANT_TABLE_OP => grant::call(context, args),
        CallNumber::VM_ASSIST => version::assist(context, args),
        CallNumber::VCPU_OP => vcpu::call(context, args),
        CallNumber::SCHED_OP => sched::call(context, args),
        CallNumber::EVENT_CHANNEL_OP => event::call(context, args),
        CallNumber::HVM_OP => hvm::call(context, args),
        number @ (CallNumber::CONTROL_HOST
        | CallNumber::CONTROL_DOMAIN
        | CallNumber::CONTROL_MEMORY
        | CallNumber::CONTROL_VCPU
        | CallNumber::CONTROL_STATE) => control::call(context, number, args),
        _ => Outcome::Done(Err(Errno::ENOSYS)),
    }
}

#[cfg(test)]
mod tests;
