//! `vcpu_op`, and the runstate area.
//!
//! vCPUs are started and stopped here only where the architecture says how ([`Arch::VCPU_CONTEXT`]). A vCPU is given
//! registers once; one that was stopped goes on after its call.

use core::sync::atomic::{Ordering, fence};

use hv_abi::control::domain::ShutdownReason;
use hv_abi::xen::assist;
use hv_abi::xen::vcpu::{self as abi, RunstateInfo, runstate};
use hv_abi::{Errno, FRAME_SHIFT, FRAME_SIZE};
use zerocopy::IntoBytes;

use super::{After, CallContext, Outcome};
use crate::arch::{Access, Arch, Gpa, Vcpu};
use crate::domain::{self, Domain};
use crate::hypervisor::Hypervisor;
use crate::vcpu::{Activity, NO_ADDRESS, VcpuSlot};
use crate::{event, sched, time};

/// Flag of a singleshot timer: refuse a time that is past.
const FUTURE: u32 = 1;
/// Offset of the entry time in a [`RunstateInfo`].
const ENTRY_TIME: u64 = 8;

/// Serves the call.
#[inline(never)]
pub fn call<A: Arch>(context: &mut CallContext<'_, A>, args: &[u64; 5]) -> Outcome {
    Outcome::Done(serve(context, args))
}

fn serve<A: Arch>(context: &mut CallContext<'_, A>, args: &[u64; 5]) -> Result<u64, Errno> {
    let [command, vcpu, argument, ..] = *args;
    let vcpu = u32::try_from(vcpu).map_err(|_| Errno::ENOENT)?;
    let domain = context.domain;
    let slot = domain.vcpu(vcpu).ok_or(Errno::ENOENT)?;
    match command {
        abi::INITIALISE => initialise(context, slot, argument),
        abi::UP => up(context, slot),
        abi::DOWN => down(context, slot),
        abi::IS_UP => Ok(u64::from(slot.is_up())),
        abi::GET_RUNSTATE_INFO => {
            let info = read_runstate(context.hypervisor, context.domain, slot);
            context.copy_out(argument, &info)?;
            Ok(0)
        }
        abi::REGISTER_RUNSTATE_MEMORY_AREA => register_runstate(context, slot, argument),
        abi::REGISTER_VCPU_TIME_MEMORY_AREA => register_clock(context, slot, argument),
        abi::REGISTER_VCPU_INFO => register_info(context, slot, argument),
        abi::SET_SINGLESHOT_TIMER => set_singleshot(context, slot, argument),
        abi::STOP_SINGLESHOT_TIMER => {
            own(context, slot)?;
            sched::set_singleshot(context.hypervisor, context.domain, slot, None);
            Ok(0)
        }
        // There is none, so it has stopped.
        abi::STOP_PERIODIC_TIMER => Ok(0),
        _ => Err(Errno::ENOSYS),
    }
}

/// The largest context there is.
const CONTEXT_MAX: usize = 256;

fn initialise<A: Arch>(
    context: &CallContext<'_, A>,
    slot: &VcpuSlot<A>,
    argument: u64,
) -> Result<u64, Errno> {
    let length = A::VCPU_CONTEXT.ok_or(Errno::ENOSYS)?;
    let mut bytes = [0; CONTEXT_MAX];
    let bytes = bytes.get_mut(..length).ok_or(Errno::ENOSYS)?;
    context.read_bytes(argument, bytes)?;
    // Held until it is marked: of two that initialise it, one is the first. One that runs has its registers in use.
    let mut registers = slot.registers().ok_or(Errno::EEXIST)?;
    if slot.is_online() || slot.has_context.load(Ordering::Acquire) {
        return Err(Errno::EEXIST);
    }
    registers.initialise(bytes)?;
    slot.has_context.store(true, Ordering::Release);
    Ok(0)
}

fn up<A: Arch>(context: &CallContext<'_, A>, slot: &VcpuSlot<A>) -> Result<u64, Errno> {
    A::VCPU_CONTEXT.ok_or(Errno::ENOSYS)?;
    if !slot.has_context.load(Ordering::Acquire) {
        return Err(Errno::EINVAL);
    }
    if slot.change_activity(Activity::Off, Activity::Ready) {
        sched::enqueue(context.hypervisor, context.domain, slot);
    }
    Ok(0)
}

fn down<A: Arch>(context: &mut CallContext<'_, A>, slot: &VcpuSlot<A>) -> Result<u64, Errno> {
    A::VCPU_CONTEXT.ok_or(Errno::ENOSYS)?;
    let (hypervisor, domain) = (context.hypervisor, context.domain);
    let is_last = {
        // Two that stop each other: one of them is the last.
        let _one_at_a_time = domain.lock();
        let mut others = domain.vcpus.iter();
        let is_last = !others.any(|other| other.index != slot.index && other.is_online());
        if !is_last {
            slot.run_state.switch_off();
        }
        is_last
    };
    if is_last {
        domain::shutdown(hypervisor, domain, ShutdownReason::POWEROFF);
    } else if let Some(_not_on_a_cpu) = slot.registers() {
        slot.runstate.enter(runstate::OFFLINE, hypervisor.now_ns());
    } else {
        sched::interrupt_domain(hypervisor, domain);
    }
    if is_last || slot.index == context.slot.index {
        context.after = After::Yield;
    }
    Ok(0)
}

/// A vCPU sets its own timers only.
fn own<A: Arch>(context: &CallContext<'_, A>, slot: &VcpuSlot<A>) -> Result<(), Errno> {
    let own = slot.index == context.slot.index;
    own.then_some(()).ok_or(Errno::EINVAL)
}

fn set_singleshot<A: Arch>(
    context: &CallContext<'_, A>,
    slot: &VcpuSlot<A>,
    argument: u64,
) -> Result<u64, Errno> {
    own(context, slot)?;
    let request: abi::SetSingleshotTimer = context.copy_in(argument)?;
    let at = request.timeout_abs_ns;
    if request.flags & FUTURE != 0 && at < time::system_time_ns(context.hypervisor, context.domain)
    {
        return Err(Errno::ETIME);
    }
    let at = time::host_time_ns(context.hypervisor, context.domain, at);
    sched::set_singleshot(context.hypervisor, context.domain, slot, Some(at));
    Ok(0)
}

fn register_info<A: Arch>(
    context: &CallContext<'_, A>,
    slot: &VcpuSlot<A>,
    argument: u64,
) -> Result<u64, Errno> {
    let request: abi::RegisterVcpuInfo = context.copy_in(argument)?;
    let base = request
        .mfn
        .checked_mul(FRAME_SIZE as u64)
        .ok_or(Errno::EINVAL)?;
    if u64::from(request.offset) >= 1 << FRAME_SHIFT {
        return Err(Errno::EINVAL);
    }
    let gpa = Gpa(base + u64::from(request.offset));
    event::register_vcpu_info(context.hypervisor, context.domain, slot, gpa)?;
    Ok(0)
}

/// An area of the caller's memory that it wants kept up to date. It is translated now, because the address belongs to an
/// address space that may not be the current one later.
enum Area {
    /// None any more.
    None,
    /// In guest-physical memory.
    At(Gpa),
    /// In two pieces of guest-physical memory: not kept up to date.
    Torn,
}

fn area<A: Arch>(
    context: &CallContext<'_, A>,
    argument: u64,
    length: usize,
) -> Result<Area, Errno> {
    let abi::RegisterArea { address } = context.copy_in(argument)?;
    if address == 0 {
        return Ok(Area::None);
    }
    let to_last = length as u64 - 1;
    let end = address.checked_add(to_last).ok_or(Errno::EFAULT)?;
    let first = context.translate(address, Access::Write)?;
    let last = context.translate(end, Access::Write)?;
    if last.0.wrapping_sub(first.0) != to_last {
        return Ok(Area::Torn);
    }
    Ok(Area::At(first))
}

fn register_runstate<A: Arch>(
    context: &CallContext<'_, A>,
    slot: &VcpuSlot<A>,
    argument: u64,
) -> Result<u64, Errno> {
    let (hypervisor, domain) = (context.hypervisor, context.domain);
    match area(context, argument, size_of::<RunstateInfo>())? {
        Area::None => slot.runstate_gpa.store(NO_ADDRESS, Ordering::Release),
        Area::At(gpa) => {
            let info = read_runstate(hypervisor, domain, slot);
            hypervisor.memory(domain).write(gpa, info.as_bytes())?;
            slot.runstate_gpa.store(gpa.0, Ordering::Release);
        }
        // A sound guest may do it, so it is told nothing.
        Area::Torn => log::warn!("d{}: runstate area in two pieces: ignored", domain.id.0),
    }
    Ok(0)
}

/// How time comes of the counter does not change while a domain lives, so that the copy is as good as the first one from
/// now on.
fn register_clock<A: Arch>(
    context: &CallContext<'_, A>,
    slot: &VcpuSlot<A>,
    argument: u64,
) -> Result<u64, Errno> {
    match area(context, argument, abi::TIME_INFO_SIZE)? {
        Area::None => slot.clock_gpa.store(NO_ADDRESS, Ordering::Release),
        Area::At(gpa) => {
            time::publish_clock_area(context.hypervisor, context.domain, gpa)?;
            slot.clock_gpa.store(gpa.0, Ordering::Release);
        }
        Area::Torn => return Err(Errno::EINVAL),
    }
    Ok(0)
}

fn read_runstate<A: Arch>(
    hypervisor: &Hypervisor<A>,
    domain: &Domain<A>,
    slot: &VcpuSlot<A>,
) -> RunstateInfo {
    let now = hypervisor.now_ns();
    let (state, since, time) = slot.runstate.read(now);
    let ago = now.saturating_sub(since);
    RunstateInfo {
        state,
        reserved: 0,
        state_entry_time: time::system_time_ns(hypervisor, domain).saturating_sub(ago),
        time,
    }
}

/// Brings a vCPU's runstate area up to date, if it registered one. Called when it gets a CPU, before it is loaded.
pub fn publish_runstate<A: Arch>(
    hypervisor: &Hypervisor<A>,
    domain: &Domain<A>,
    slot: &VcpuSlot<A>,
) {
    let address = slot.runstate_gpa.load(Ordering::Acquire);
    if address == NO_ADDRESS {
        return;
    }
    let info = read_runstate(hypervisor, domain, slot);
    let flagged = domain.lock().assists & 1 << assist::RUNSTATE_UPDATE_FLAG != 0;
    if write_runstate(hypervisor, domain, Gpa(address), &info, flagged).is_err() {
        // The guest took the page away: nothing to keep up to date any more.
        slot.runstate_gpa.store(NO_ADDRESS, Ordering::Release);
    }
}

fn write_runstate<A: Arch>(
    hypervisor: &Hypervisor<A>,
    domain: &Domain<A>,
    at: Gpa,
    info: &RunstateInfo,
    flagged: bool,
) -> Result<(), Errno> {
    let memory = hypervisor.memory(domain);
    if !flagged {
        return memory.write(at, info.as_bytes());
    }
    let entry_time = Gpa(at.0.checked_add(ENTRY_TIME).ok_or(Errno::EFAULT)?);
    let mut marked = *info;
    marked.state_entry_time |= runstate::UPDATE;
    memory.write(entry_time, marked.state_entry_time.as_bytes())?;
    fence(Ordering::SeqCst);
    memory.write(at, marked.as_bytes())?;
    fence(Ordering::SeqCst);
    memory.write(entry_time, info.state_entry_time.as_bytes())
}

#[cfg(test)]
mod tests;
