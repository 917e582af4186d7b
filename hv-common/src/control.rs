//! The control hypercalls, for Domain-0 only: `hv_abi::control`.

use hv_abi::{CallNumber, Errno};

use crate::arch::Arch;
use crate::hypercall::{CallContext, Outcome};

mod domain;
mod host;
mod memory;
pub mod record;
pub mod state;
mod vcpu;

/// Serves a control hypercall.
#[inline(never)]
pub fn call<A: Arch>(
    context: &mut CallContext<'_, A>,
    number: CallNumber,
    args: &[u64; 5],
) -> Outcome {
    if !context.domain.is_dom0() {
        return Outcome::Done(Err(Errno::EPERM));
    }
    match number {
        CallNumber::CONTROL_HOST => host::call(context, args).into(),
        CallNumber::CONTROL_DOMAIN => domain::call(context, args),
        CallNumber::CONTROL_MEMORY => memory::call(context, args).into(),
        CallNumber::CONTROL_VCPU => vcpu::call(context, args).into(),
        CallNumber::CONTROL_STATE => state::call(context, args),
        _ => Outcome::Done(Err(Errno::ENOSYS)),
    }
}

#[cfg(test)]
mod tests;
