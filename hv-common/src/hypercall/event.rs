//! `event_channel_op`, and whom a guest means by a domain number.

use hv_abi::xen::event as abi;
use hv_abi::{DomId, Errno};

use super::{CallContext, Outcome};
use crate::arch::Arch;
use crate::domain::DomainRef;
use crate::event::{self, Use};
use crate::hypercall::BATCH;

impl<A: Arch> CallContext<'_, A> {
    /// Whether a number means the caller: "self", or the number it was told it has.
    #[must_use]
    pub fn is_self(&self, id: DomId) -> bool {
        id == DomId::SELF || id == self.domain.guest_id
    }

    /// The domain on which a call acts: the caller, or for Domain-0 any.
    ///
    /// # Errors
    /// `EPERM`, `ESRCH`.
    pub fn subject(&self, id: DomId) -> Result<DomainRef<A>, Errno> {
        if self.is_self(id) {
            Ok(self.domain.clone())
        } else if self.domain.is_dom0() {
            self.hypervisor.domain(id).ok_or(Errno::ESRCH)
        } else {
            Err(Errno::EPERM)
        }
    }

    /// The domain with which a call deals: the caller or any other, which has agreed in some other way.
    ///
    /// # Errors
    /// `ESRCH`.
    pub fn peer(&self, id: DomId) -> Result<DomainRef<A>, Errno> {
        if self.is_self(id) {
            Ok(self.domain.clone())
        } else {
            self.hypervisor.domain(id).ok_or(Errno::ESRCH)
        }
    }
}

/// Serves the call. Sending is what happens all the time: it does not pay for the frame that the rest needs.
#[inline(never)]
pub fn call<A: Arch>(context: &mut CallContext<'_, A>, args: &[u64; 5]) -> Outcome {
    let [command, argument, ..] = *args;
    if command == abi::SEND {
        return Outcome::Done(send(context, argument));
    }
    rare(context, args)
}

#[inline(never)]
fn rare<A: Arch>(context: &mut CallContext<'_, A>, args: &[u64; 5]) -> Outcome {
    let [command, argument, ..] = *args;
    let result = match command {
        abi::UNMASK => unmask(context, argument),
        abi::ALLOC_UNBOUND => alloc_unbound(context, argument),
        abi::BIND_INTERDOMAIN => bind_interdomain(context, argument),
        abi::BIND_VIRQ => bind_virq(context, argument),
        abi::BIND_IPI => bind_ipi(context, argument),
        abi::BIND_VCPU => bind_vcpu(context, argument),
        abi::CLOSE => close(context, argument),
        abi::STATUS => status(context, argument),
        abi::RESET => return reset(context, args),
        // Linux asks for the FIFO ABI first and takes this for an answer: nothing to count as a refusal.
        abi::INIT_CONTROL | abi::EXPAND_ARRAY | abi::SET_PRIORITY => {
            return Outcome::Done(Ok(Errno::ENOSYS.to_return_value()));
        }
        _ => Err(Errno::ENOSYS),
    };
    Outcome::Done(result)
}

fn send<A: Arch>(context: &CallContext<'_, A>, argument: u64) -> Result<u64, Errno> {
    let abi::Port { port } = context.copy_in(argument)?;
    event::send(context.hypervisor, context.domain, port)?;
    Ok(0)
}

fn unmask<A: Arch>(context: &CallContext<'_, A>, argument: u64) -> Result<u64, Errno> {
    let abi::Port { port } = context.copy_in(argument)?;
    event::unmask(context.hypervisor, context.domain, port)?;
    Ok(0)
}

fn alloc_unbound<A: Arch>(context: &CallContext<'_, A>, argument: u64) -> Result<u64, Errno> {
    let mut request: abi::AllocUnbound = context.copy_in(argument)?;
    let subject = context.subject(request.dom)?;
    let remote = if context.is_self(request.remote_dom) {
        context.domain.id
    } else {
        request.remote_dom
    };
    request.port = event::alloc_unbound(context.hypervisor, &subject, remote)?;
    finish(context, argument, &request, &subject, request.port)
}

/// Copies the answer out; a port whose number cannot be told is closed again.
fn finish<A: Arch, T: zerocopy::IntoBytes + zerocopy::Immutable>(
    context: &CallContext<'_, A>,
    argument: u64,
    answer: &T,
    domain: &DomainRef<A>,
    port: u32,
) -> Result<u64, Errno> {
    context.copy_out(argument, answer).inspect_err(|_| {
        let _was_open = event::close(context.hypervisor, domain, port);
    })?;
    Ok(0)
}

fn bind_interdomain<A: Arch>(context: &CallContext<'_, A>, argument: u64) -> Result<u64, Errno> {
    let mut request: abi::BindInterdomain = context.copy_in(argument)?;
    let peer = context.peer(request.remote_dom)?;
    request.local_port = event::bind_interdomain(
        context.hypervisor,
        context.domain,
        &peer,
        request.remote_port,
    )?;
    finish(
        context,
        argument,
        &request,
        context.domain,
        request.local_port,
    )
}

fn bind_virq<A: Arch>(context: &CallContext<'_, A>, argument: u64) -> Result<u64, Errno> {
    let mut request: abi::BindVirq = context.copy_in(argument)?;
    let (virq, vcpu) = (request.virq, request.vcpu);
    request.port = event::bind_virq(context.hypervisor, context.domain, virq, vcpu)?;
    finish(context, argument, &request, context.domain, request.port)
}

fn bind_ipi<A: Arch>(context: &CallContext<'_, A>, argument: u64) -> Result<u64, Errno> {
    let mut request: abi::BindIpi = context.copy_in(argument)?;
    request.port = event::bind_ipi(context.hypervisor, context.domain, request.vcpu)?;
    finish(context, argument, &request, context.domain, request.port)
}

fn bind_vcpu<A: Arch>(context: &CallContext<'_, A>, argument: u64) -> Result<u64, Errno> {
    let abi::BindVcpu { port, vcpu } = context.copy_in(argument)?;
    event::bind_vcpu(context.hypervisor, context.domain, port, vcpu)?;
    Ok(0)
}

fn close<A: Arch>(context: &CallContext<'_, A>, argument: u64) -> Result<u64, Errno> {
    let abi::Port { port } = context.copy_in(argument)?;
    event::close(context.hypervisor, context.domain, port)?;
    Ok(0)
}

fn status<A: Arch>(context: &CallContext<'_, A>, argument: u64) -> Result<u64, Errno> {
    let mut request: abi::Status = context.copy_in(argument)?;
    let subject = context.subject(request.dom)?;
    if request.port >= abi::PORTS {
        return Err(Errno::EINVAL);
    }
    let entry = {
        let state = subject.lock();
        state.events.get(context.hypervisor.host, request.port)
    };
    let (status, detail) = match entry.map(|entry| entry.what) {
        None => (abi::status::CLOSED, [0, 0]),
        Some(Use::Unbound { remote }) => (abi::status::UNBOUND, [u32::from(remote.0), 0]),
        Some(Use::Interdomain { remote, port }) => {
            (abi::status::INTERDOMAIN, [u32::from(remote.0), port])
        }
        Some(Use::Virq { virq }) => (abi::status::VIRQ, [virq, 0]),
        Some(Use::Ipi) => (abi::status::IPI, [0, 0]),
    };
    request.status = status;
    request.detail = detail;
    request.vcpu = entry.map_or(0, |entry| entry.vcpu);
    context.copy_out(argument, &request)?;
    Ok(0)
}

fn reset<A: Arch>(context: &CallContext<'_, A>, args: &[u64; 5]) -> Outcome {
    let [_, argument, ..] = *args;
    let subject = context
        .copy_in(argument)
        .and_then(|abi::Reset { dom }| context.subject(dom));
    match subject {
        Err(errno) => Outcome::Done(Err(errno)),
        Ok(subject) if event::close_some(context.hypervisor, &subject, BATCH as u32) => {
            Outcome::Done(Ok(0))
        }
        Ok(_) => Outcome::Again(*args),
    }
}
