//! `hvm_op`: parameters.
//!
//! A guest reads its own and sets only how upcalls arrive; Domain-0 reads and sets those of others. When Domain-0 sets
//! the frame of the console or xenstore ring, that frame is granted to it through the reference reserved for that ring
//! as well: before the guest first runs, nobody else could write the grant table.

use hv_abi::control::domain::DomainKind;
use hv_abi::xen::grant::{CONSOLE_REFERENCE, XENSTORE_REFERENCE};
use hv_abi::xen::hvm::{self as abi, Param, UpcallVector, callback, param};
use hv_abi::{DomId, Errno};

use super::{CallContext, Outcome};
use crate::arch::{Arch, Gfn, Platform};
use crate::device;
use crate::domain::DomainRef;
use crate::event;
use crate::grant;

/// Serves the call.
#[inline(never)]
pub fn call<A: Arch>(context: &mut CallContext<'_, A>, args: &[u64; 5]) -> Outcome {
    let [command, argument, ..] = *args;
    let result = match command {
        abi::SET_PARAM => set(context, argument),
        abi::GET_PARAM => get(context, argument),
        abi::SET_EVTCHN_UPCALL_VECTOR => set_upcall_vector(context, argument),
        // Linux asks whether the hint is wanted. As Xen says where guests have page tables of their own.
        abi::PAGETABLE_DYING => Err(Errno::EINVAL),
        _ => Err(Errno::ENOSYS),
    };
    Outcome::Done(result)
}

fn get<A: Arch>(context: &CallContext<'_, A>, argument: u64) -> Result<u64, Errno> {
    let mut request: Param = context.copy_in(argument)?;
    let subject = context.subject(request.domid)?;
    let value = subject.lock().params.get(request.index as usize).copied();
    request.value = value.ok_or(Errno::EINVAL)?;
    context.copy_out(argument, &request)?;
    Ok(0)
}

fn set<A: Arch>(context: &CallContext<'_, A>, argument: u64) -> Result<u64, Errno> {
    let request: Param = context.copy_in(argument)?;
    let subject = context.subject(request.domid)?;
    let may = context.domain.is_dom0() || request.index == param::CALLBACK_IRQ;
    if !may {
        return Err(Errno::EPERM);
    }
    if request.index >= param::COUNT {
        return Err(Errno::EINVAL);
    }
    let reference = match request.index {
        param::CONSOLE_PFN => Some(CONSOLE_REFERENCE),
        param::STORE_PFN => Some(XENSTORE_REFERENCE),
        _ => None,
    };
    if let Some(reference) = reference {
        seed(context, &subject, reference, Gfn(request.value))?;
    }
    if request.index == param::CONSOLE_PFN && subject.kind == DomainKind::HVM {
        device::attach(context.hypervisor, &subject, Gfn(request.value))?;
    }
    if let Some(value) = subject.lock().params.get_mut(request.index as usize) {
        *value = request.value;
    }
    if request.index == param::CALLBACK_IRQ {
        set_callback(context, &subject, request.value);
    }
    Ok(0)
}

/// The vector of one vCPU's upcalls. What is pending already comes by the new one.
fn set_upcall_vector<A: Arch>(context: &CallContext<'_, A>, argument: u64) -> Result<u64, Errno> {
    let request: UpcallVector = context.copy_in(argument)?;
    let domain = context.domain;
    domain
        .platform
        .set_upcall(Some(request.vcpu), request.vector)?;
    event::renew_upcalls(context.hypervisor, domain);
    Ok(0)
}

/// How upcalls of all vCPUs come, if it is by a vector.
fn set_callback<A: Arch>(context: &CallContext<'_, A>, subject: &DomainRef<A>, value: u64) {
    let Some(vector) = callback_vector(value) else {
        return;
    };
    // Where upcalls have a fixed interrupt, the parameter is kept and means nothing.
    if subject.platform.set_upcall(None, vector).is_ok() {
        event::renew_upcalls(context.hypervisor, subject);
    }
}

/// The vector that [`param::CALLBACK_IRQ`] names, if it names one.
pub(crate) fn callback_vector(value: u64) -> Option<u8> {
    let is_vector = value >> callback::KIND_SHIFT == callback::VECTOR;
    is_vector.then_some((value & 0xFF) as u8)
}

fn seed<A: Arch>(
    context: &CallContext<'_, A>,
    subject: &DomainRef<A>,
    reference: u32,
    gfn: Gfn,
) -> Result<(), Errno> {
    grant::seed(context.hypervisor, subject, reference, DomId::ZERO, gfn)
}
