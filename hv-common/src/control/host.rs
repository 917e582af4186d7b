//! Facts of the host, its log, its wall clock, and frames for Domain-0's store.

use hv_abi::control::domain::DomainInfo;
use hv_abi::control::host::{
    self as abi, HostInfo, LogWindow, MessageInterrupt, SAMPLE_VCPUS, Sample,
};
use hv_abi::{DomId, Errno, control};

use super::domain::describe;
use crate::arch::{Arch, Attributes, Gfn, Host, Mfn};
use crate::event;
use crate::hypercall::CallContext;
use crate::hypervisor::Hypervisor;
use crate::memory::frames::{Frame, FrameKind, Funding};
use crate::time::{self, SECOND_NS};

/// Largest order that can be claimed.
const CLAIM_ORDER_MAX: u64 = 9;
/// Bytes of the log copied at once.
const LOG_CHUNK: usize = 512;
/// Bytes of the log one call returns.
const LOG_MAX: u64 = 16 * 1024;

/// Serves the call.
///
/// # Errors
/// As the operation says in `hv_abi`.
pub(super) fn call<A: Arch>(context: &CallContext<'_, A>, args: &[u64; 5]) -> Result<u64, Errno> {
    let [operation, first, second, ..] = *args;
    match operation {
        abi::VERSION => Ok(control::VERSION),
        abi::INFO => context
            .copy_out(
                first,
                &info(context.hypervisor, context.hypervisor.now_ns()),
            )
            .map(|()| 0),
        abi::LOG_READ => read_log(context, first),
        abi::SET_WALL_CLOCK => set_wall_clock(context.hypervisor, first, second),
        abi::CLAIM => claim(context, first),
        abi::RELEASE => release(context, Mfn(first), second),
        abi::SAMPLE => sample(context, first),
        abi::BIND_IRQ => bind_irq(context, first),
        abi::BIND_MSI => bind_message(context, first),
        _ => Err(Errno::ENOSYS),
    }
}

/// An event port of the caller for a device's interrupt: one that nobody but the interrupt sends through.
fn bind_irq<A: Arch>(context: &CallContext<'_, A>, number: u64) -> Result<u64, Errno> {
    let number = u32::try_from(number).map_err(|_| Errno::ENOENT)?;
    let hypervisor = context.hypervisor;
    if let Some(port) = hypervisor.device_ports.of(number) {
        return Ok(u64::from(port));
    }
    let port = event::bind_ipi(hypervisor, context.domain, 0)?;
    if !hypervisor.device_ports.set(number, port) {
        event::close(hypervisor, context.domain, port)?;
        return Err(Errno::ENOENT);
    }
    hypervisor.host.enable_device_interrupt(number, true);
    Ok(u64::from(port))
}

fn bind_message<A: Arch>(context: &CallContext<'_, A>, address: u64) -> Result<u64, Errno> {
    let interrupt = context.hypervisor.host.message_interrupt();
    let interrupt = interrupt.ok_or(Errno::ENOSPC)?;
    let port = bind_irq(context, u64::from(interrupt.number))?;
    let answer = MessageInterrupt {
        address: interrupt.address,
        data: interrupt.data,
        port: u32::try_from(port).map_err(|_| Errno::EINVAL)?,
    };
    context.copy_out(address, &answer)?;
    Ok(0)
}

fn info<A: Arch>(hypervisor: &Hypervisor<A>, now_ns: u64) -> HostInfo {
    let usage = hypervisor.frames.usage();
    let kib = |frames: u64| frames << 2;
    HostInfo {
        total_kib: kib(usage.total),
        free_kib: kib(usage.free),
        hypervisor_kib: kib(usage.hypervisor),
        dom0_kib: kib(usage.dom0),
        boot_kib: kib(usage.boot),
        store_kib: kib(usage.store),
        domains_kib: kib(usage.domains),
        cpus: hypervisor.facts.cpus,
        domains: u32::try_from(hypervisor.domains.iter().count()).unwrap_or(u32::MAX),
        now_ns,
        dom0_started_ns: hypervisor
            .dom0_started_ns
            .load(core::sync::atomic::Ordering::Relaxed),
        counter_hz: hypervisor.host.counter_hz(),
        ipa_bits: hypervisor.facts.ipa_bits,
        interrupt_controller_version: hypervisor.facts.interrupt_controller_version,
        idle_ns: hypervisor.cpus.iter().map(|cpu| cpu.idle_ns()).sum(),
        cpu_id: hypervisor.facts.cpu_id,
        extension: hypervisor.facts.extension,
        reserved: 0,
        log_bytes: crate::log::written(),
    }
}

/// Goes through the table of domains once: its order is nobody's business, and a search for the next higher number each
/// time would cost the most.
fn sample<A: Arch>(context: &CallContext<'_, A>, address: u64) -> Result<u64, Errno> {
    let hypervisor = context.hypervisor;
    let mut sample: Sample = context.copy_in(address)?;
    let now_ns = hypervisor.now_ns();
    let seen = usize::try_from(sample.cursor).unwrap_or(usize::MAX);
    let mut slots = hypervisor.domains.from_slot(seen).peekable();
    let mut vcpus = 0;
    sample.count = 0;
    while sample.count < sample.capacity && vcpus < SAMPLE_VCPUS {
        let Some((slot, domain)) = slots.next() else {
            break;
        };
        let offset = sample.count * size_of::<DomainInfo>() as u64;
        let at = sample.buffer.checked_add(offset).ok_or(Errno::EFAULT)?;
        context.copy_out(at, &describe(&domain, now_ns))?;
        vcpus += domain.vcpus.len();
        sample.count += 1;
        sample.cursor = slot as u64 + 1;
    }
    sample.host = info(hypervisor, now_ns);
    context.copy_out(address, &sample)?;
    Ok(u64::from(slots.peek().is_some()))
}

fn read_log<A: Arch>(context: &CallContext<'_, A>, address: u64) -> Result<u64, Errno> {
    let mut window: LogWindow = context.copy_in(address)?;
    let mut left = window.capacity.min(LOG_MAX);
    let mut done = 0;
    window.lost = 0;
    while left > 0 {
        let mut chunk = [0; LOG_CHUNK];
        let wanted = usize::try_from(left).unwrap_or(LOG_CHUNK).min(LOG_CHUNK);
        let piece = crate::log::read(window.cursor, chunk.get_mut(..wanted).unwrap_or_default());
        window.cursor = piece.next;
        window.lost += piece.lost;
        if piece.length == 0 {
            break;
        }
        let to = window.buffer.checked_add(done).ok_or(Errno::EFAULT)?;
        context.write_bytes(to, chunk.get(..piece.length).unwrap_or_default())?;
        done += piece.length as u64;
        left -= piece.length as u64;
    }
    context.copy_out(address, &window)?;
    Ok(done)
}

fn set_wall_clock<A: Arch>(
    hypervisor: &Hypervisor<A>,
    seconds: u64,
    ns: u64,
) -> Result<u64, Errno> {
    if ns >= SECOND_NS {
        return Err(Errno::EINVAL);
    }
    let base = seconds
        .checked_mul(SECOND_NS)
        .and_then(|whole| whole.checked_add(ns))
        .ok_or(Errno::EINVAL)?;
    hypervisor.wall_clock.set_base_ns(base);
    for domain in hypervisor.domains.iter() {
        let page = domain.lock().shared_info;
        if let Some(page) = page {
            time::publish_wall_clock(hypervisor, &domain, page);
        }
    }
    Ok(0)
}

fn claim<A: Arch>(context: &CallContext<'_, A>, order: u64) -> Result<u64, Errno> {
    let order = u32::try_from(order.min(CLAIM_ORDER_MAX + 1)).unwrap_or(u32::MAX);
    if u64::from(order) > CLAIM_ORDER_MAX {
        return Err(Errno::EINVAL);
    }
    let hypervisor = context.hypervisor;
    let frame = Frame::new(FrameKind::Store, DomId::ZERO);
    let first = hypervisor
        .frames
        .allocate(order, frame, Funding::Free)
        .map_err(|_| Errno::ENOMEM)?;
    let count = 1_u64 << order;
    (first.0..first.0 + count).for_each(|mfn| hypervisor.host.clear(Mfn(mfn)));
    let memory = hypervisor.memory(context.domain);
    let mut state = context.domain.lock();
    let mapped = memory.map(&mut state, Gfn(first.0), first, count, Attributes::SHARED);
    if let Err(errno) = mapped {
        drop(state);
        hypervisor.frames.release_block(first, order, Funding::Free);
        return Err(errno);
    }
    Ok(first.0)
}

fn release<A: Arch>(context: &CallContext<'_, A>, first: Mfn, order: u64) -> Result<u64, Errno> {
    if order > CLAIM_ORDER_MAX {
        return Err(Errno::EINVAL);
    }
    let hypervisor = context.hypervisor;
    let end = first.0.checked_add(1 << order).ok_or(Errno::EINVAL)?;
    let is_store = |mfn: u64| {
        let frame = hypervisor.frames.describe(Mfn(mfn));
        frame.is_some_and(|frame| frame.kind == FrameKind::Store && frame.owner == DomId::ZERO)
    };
    if !(first.0..end).all(is_store) {
        return Err(Errno::EINVAL);
    }
    let memory = hypervisor.memory(context.domain);
    let mut state = context.domain.lock();
    state
        .stage2
        .unmap_range(&memory, Gfn(first.0), end - first.0)?;
    drop(state);
    let order = u32::try_from(order).map_err(|_| Errno::EINVAL)?;
    hypervisor.frames.release_block(first, order, Funding::Free);
    Ok(0)
}
