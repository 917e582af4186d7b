//! `sched_op` and `set_timer_op`.

use core::sync::atomic::Ordering;

use hv_abi::Errno;
use hv_abi::control::domain::ShutdownReason;
use hv_abi::xen::sched as abi;

use super::{After, CallContext, Outcome};
use crate::arch::Arch;
use crate::vcpu::{NOT_POLLING, POLLING_ANY};
use crate::{domain, event, sched, time};

/// Ports that one poll names at most.
const POLL_PORTS_MAX: usize = 128;

/// Serves the call.
#[inline(never)]
pub fn call<A: Arch>(context: &mut CallContext<'_, A>, args: &[u64; 5]) -> Outcome {
    let [command, argument, ..] = *args;
    let result = match command {
        abi::YIELD => {
            context.after = After::Yield;
            Ok(0)
        }
        abi::BLOCK => Ok(block(context)),
        abi::POLL => poll(context, argument),
        abi::SHUTDOWN => shutdown(context, argument),
        abi::REMOTE_SHUTDOWN => remote_shutdown(context, argument),
        // Offered by no promise: the watchdog, and a reason remembered for later.
        abi::WATCHDOG | abi::SHUTDOWN_CODE => Ok(Errno::ENOSYS.to_return_value()),
        _ => Err(Errno::ENOSYS),
    };
    Outcome::Done(result)
}

fn block<A: Arch>(context: &mut CallContext<'_, A>) -> u64 {
    event::enable_upcalls(context.hypervisor, context.slot);
    context.after = After::Block { until_ns: None };
    0
}

fn poll<A: Arch>(context: &mut CallContext<'_, A>, argument: u64) -> Result<u64, Errno> {
    let request: abi::Poll = context.copy_in(argument)?;
    let mut ports = [0_u32; POLL_PORTS_MAX];
    let count = usize::try_from(request.count).map_err(|_| Errno::EINVAL)?;
    let ports = ports.get_mut(..count).ok_or(Errno::EINVAL)?;
    context.read_bytes(request.ports, zerocopy::IntoBytes::as_mut_bytes(ports))?;
    let polling = match ports {
        [port] => *port,
        _ => POLLING_ANY,
    };
    // Published first, looked at second: see `event`.
    context.slot.polling.store(polling, Ordering::SeqCst);
    match any_pending(context, ports) {
        Ok(false) => {
            let until_ns = (request.timeout != 0)
                .then(|| time::host_time_ns(context.hypervisor, context.domain, request.timeout));
            context.after = After::Block { until_ns };
        }
        over => {
            context.slot.polling.store(NOT_POLLING, Ordering::SeqCst);
            over?;
        }
    }
    Ok(0)
}

fn any_pending<A: Arch>(context: &CallContext<'_, A>, ports: &[u32]) -> Result<bool, Errno> {
    let host = context.hypervisor.host;
    let state = context.domain.lock();
    for port in ports {
        if state.events.get(host, *port).is_none() {
            return Err(Errno::EINVAL);
        }
        if event::is_port_pending(host, &state, *port) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn reason(number: u32) -> Result<ShutdownReason, Errno> {
    let reason = ShutdownReason(number);
    let known = number <= ShutdownReason::WATCHDOG.0;
    known.then_some(reason).ok_or(Errno::EINVAL)
}

fn shutdown<A: Arch>(context: &mut CallContext<'_, A>, argument: u64) -> Result<u64, Errno> {
    let request: abi::Shutdown = context.copy_in(argument)?;
    domain::shutdown(context.hypervisor, context.domain, reason(request.reason)?);
    context.after = After::Yield;
    Ok(0)
}

fn remote_shutdown<A: Arch>(context: &CallContext<'_, A>, argument: u64) -> Result<u64, Errno> {
    if !context.domain.is_dom0() {
        return Err(Errno::EPERM);
    }
    let request: abi::RemoteShutdown = context.copy_in(argument)?;
    let target = context.hypervisor.domain(request.domid);
    let target = target.ok_or(Errno::ESRCH)?;
    domain::shutdown(context.hypervisor, &target, reason(request.reason)?);
    Ok(0)
}

/// `set_timer_op`: `(system time in nanoseconds)`, 0: none.
pub fn set_timer<A: Arch>(context: &mut CallContext<'_, A>, args: &[u64; 5]) -> Outcome {
    let [at, ..] = *args;
    let at = (at != 0).then(|| time::host_time_ns(context.hypervisor, context.domain, at));
    sched::set_singleshot(context.hypervisor, context.domain, context.slot, at);
    Outcome::Done(Ok(0))
}
