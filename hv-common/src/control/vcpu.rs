//! vCPUs of domains: their first context, and facts.

use core::sync::atomic::Ordering;

use hv_abi::Errno;
use hv_abi::control::domain::state;
use hv_abi::control::vcpu::{self as abi, StartContext, VcpuInfo};

use super::domain::{find, find_guest};
use crate::arch::{Arch, Vcpu};
use crate::domain::DomainRef;
use crate::hypercall::CallContext;
use crate::sched;
use crate::vcpu::{Activity, VcpuSlot};

/// Serves the call.
///
/// # Errors
/// As the operation says in `hv_abi`.
pub(super) fn call<A: Arch>(context: &CallContext<'_, A>, args: &[u64; 5]) -> Result<u64, Errno> {
    let [operation, number, vcpu, address, length] = *args;
    let domain = match operation {
        abi::SET_CONTEXT => find_guest(context.hypervisor, number)?,
        _ => find(context.hypervisor, number)?,
    };
    let index = u32::try_from(vcpu).map_err(|_| Errno::EINVAL)?;
    let slot = domain.vcpu(index).ok_or(Errno::EINVAL)?;
    match operation {
        abi::SET_CONTEXT if length == size_of::<StartContext>() as u64 => {
            let start: StartContext = context.copy_in(address)?;
            set_context(&domain, slot, start)
        }
        abi::INFO if length == size_of::<VcpuInfo>() as u64 => {
            let info = describe(slot, context.hypervisor.now_ns());
            context.copy_out(address, &info).map(|()| 0)
        }
        abi::SET_AFFINITY => sched::set_affinity(context.hypervisor, slot, address).map(|()| 0),
        abi::GET_AFFINITY => Ok(slot.affinity() & sched::all_cpus(context.hypervisor)),
        abi::SET_CONTEXT | abi::INFO => Err(Errno::EINVAL),
        _ => Err(Errno::ENOSYS),
    }
}

fn set_context<A: Arch>(
    domain: &DomainRef<A>,
    slot: &VcpuSlot<A>,
    start: StartContext,
) -> Result<u64, Errno> {
    let state = domain.lock();
    if state.started {
        return Err(Errno::EBUSY);
    }
    let mut registers = slot.registers().ok_or(Errno::EBUSY)?;
    registers.start(&domain.platform, start);
    drop(registers);
    slot.has_context.store(true, Ordering::Release);
    slot.set_activity(Activity::Ready);
    Ok(0)
}

fn describe<A: Arch>(slot: &VcpuSlot<A>, now_ns: u64) -> VcpuInfo {
    VcpuInfo {
        state: match slot.activity() {
            Activity::Off => 0,
            Activity::Blocked => state::BLOCKED,
            Activity::Ready => state::RUNNABLE,
        },
        cpu: u32::try_from(slot.home()).unwrap_or(0),
        pc: slot.counters.pc.load(Ordering::Relaxed),
        usage: slot.usage(now_ns),
    }
}
