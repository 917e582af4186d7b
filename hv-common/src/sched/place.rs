//! On which CPU a vCPU waits and runs.

use core::sync::atomic::Ordering;

use super::{Cpu, Key, get_attention, key};
use crate::arch::Arch;
use crate::domain::Domain;
use crate::hypervisor::Hypervisor;
use crate::vcpu::VcpuSlot;

impl Cpu {
    /// Whether it has nothing to do.
    fn is_idle(&self) -> bool {
        !self.busy.load(Ordering::Relaxed) && self.waiting.load(Ordering::Relaxed) == 0
    }

    fn load(&self) -> usize {
        self.waiting.load(Ordering::Relaxed) + usize::from(self.busy.load(Ordering::Relaxed))
    }
}

/// The CPU in whose queue a vCPU that is ready waits: its home if that is idle, else one that is idle, else its home, and
/// where it may not run at home, the one with the least to do. It is the vCPU's home then.
pub(super) fn choose<'h, A: Arch>(
    hypervisor: &'h Hypervisor<A>,
    domain: &Domain<A>,
    slot: &VcpuSlot<A>,
) -> Option<&'h Cpu> {
    let home = hypervisor.cpu(slot.home())?;
    let stays = slot.may_run_on(home.number);
    if stays && (hypervisor.cpus.len() == 1 || home.is_idle()) {
        return Some(home);
    }
    let allowed = || {
        let all = hypervisor.cpus.iter().map(|cpu| &**cpu);
        all.filter(|cpu| slot.may_run_on(cpu.number))
    };
    let chosen = match allowed().find(|cpu| cpu.is_idle()) {
        Some(idle) => idle,
        None if stays => home,
        None => allowed().min_by_key(|cpu| cpu.load())?,
    };
    adopt(hypervisor, chosen, domain, slot);
    Some(chosen)
}

/// Makes a CPU a vCPU's home: its timers come along, and what it has paid counts as much there as it did.
pub(super) fn adopt<A: Arch>(
    hypervisor: &Hypervisor<A>,
    cpu: &Cpu,
    domain: &Domain<A>,
    slot: &VcpuSlot<A>,
) {
    if slot.home() == cpu.number as usize {
        return;
    }
    let key = key(domain, slot);
    let now = hypervisor.now_ns();
    let (timers, before) = match hypervisor.cpu(slot.home()) {
        Some(old) => {
            let mut queue = old.queue.lock();
            (queue.take_timers(key), old.floor_ns(&queue, now))
        }
        None => ([None; 3], 0),
    };
    slot.set_home(cpu.number);
    let mut queue = cpu.queue.lock();
    for (kind, at_ns) in timers.into_iter().flatten() {
        queue.set_timer(key, kind, at_ns);
    }
    let paid = slot.virtual_ns.load(Ordering::Relaxed);
    let ahead = paid.saturating_sub(before);
    let paid = cpu.floor_ns(&queue, now).saturating_add(ahead);
    drop(queue);
    slot.virtual_ns.store(paid, Ordering::Relaxed);
}

/// Takes a vCPU that waits for another CPU.
pub(super) fn steal<A: Arch>(hypervisor: &Hypervisor<A>, cpu: &Cpu) -> Option<Key> {
    let others = hypervisor.cpus.iter().map(|other| &**other);
    let mut loaded = others
        .filter(|other| other.number != cpu.number && other.waiting.load(Ordering::Relaxed) > 0);
    loaded.find_map(|other| {
        let mut queue = other.queue.lock();
        let taken = queue.give_away(cpu.number)?;
        other.waiting.store(queue.waiting(), Ordering::Relaxed);
        Some(taken.key)
    })
}

/// Makes a CPU that has nothing to do look, if vCPUs wait for this one.
pub(super) fn share_work<A: Arch>(hypervisor: &Hypervisor<A>, cpu: &Cpu) {
    if hypervisor.cpus.len() == 1 || cpu.waiting.load(Ordering::Relaxed) == 0 {
        return;
    }
    let others = hypervisor.cpus.iter().map(|other| &**other);
    let mut idle = others.filter(|other| other.number != cpu.number && other.is_idle());
    if let Some(other) = idle.next() {
        get_attention(hypervisor, other);
    }
}
