//! Event channels: the shared page, and its upcall (Xen's `event_channel.h`, 2-level ABI).
// UNSAFETY: a page that is shared with the hypervisor, reached by atomics.
#![expect(unsafe_code, reason = "a page shared with the hypervisor")]

use core::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use hv_abi::xen::{event, memory};
use hv_abi::{CallNumber, DomId, FRAME_SHIFT};

use crate::arch::place::SHARED_INFO;
use crate::hypercall::call_with;

#[repr(C, align(4096))]
struct Page([AtomicU64; 512]);

/// Our RAM there gives way to the shared page.
static SHARED: Page = Page([const { AtomicU64::new(0) }; 512]);

/// A word of the shared page.
pub(crate) fn word(offset: usize) -> &'static AtomicU64 {
    &SHARED.0[offset / 8]
}

/// Has the shared page mapped.
pub fn init() {
    let mut argument = memory::AddToPhysmap {
        domid: DomId::SELF,
        size: 0,
        space: u32::from(memory::space::SHARED_INFO),
        index: 0,
        gpfn: SHARED.0.as_ptr() as u64 >> FRAME_SHIFT,
    };
    call_with(CallNumber::MEMORY_OP, memory::ADD_TO_PHYSMAP, &mut argument)
        .expect("the shared page is mapped");
    let_upcalls_through(0);
}

/// Lets a CPU have its upcalls.
pub fn let_upcalls_through(cpu: u32) {
    if let Some(mask) = SHARED_INFO.upcall_mask {
        byte(info_of(cpu) + mask).store(0, Ordering::SeqCst);
    }
}

/// Where a CPU's `vcpu_info` begins in the page.
fn info_of(cpu: u32) -> usize {
    cpu as usize * SHARED_INFO.vcpu_info_size
}

/// A port that notifies us when we send to it.
#[must_use]
pub fn to_self() -> u32 {
    to_cpu(0)
}

/// A port that notifies a CPU when any of ours sends to it.
#[must_use]
pub fn to_cpu(cpu: u32) -> u32 {
    let mut argument = event::BindIpi { vcpu: cpu, port: 0 };
    call_with(CallNumber::EVENT_CHANNEL_OP, event::BIND_IPI, &mut argument)
        .expect("a port is free");
    argument.port
}

/// Sends to a port.
#[inline]
pub fn send(port: u32) {
    let mut argument = event::Port { port };
    call_with(CallNumber::EVENT_CHANNEL_OP, event::SEND, &mut argument)
        .expect("the port takes events");
}

/// Lets a port's events through.
pub fn unmask(port: u32) {
    word(SHARED_INFO.mask + port as usize / 64 * 8)
        .fetch_and(!(1 << (port % 64)), Ordering::SeqCst);
}

/// Takes all pending events of the first CPU and returns how many there were.
#[inline]
pub fn take() -> u32 {
    take_of(0)
}

/// Takes all pending events of a CPU and returns how many there were.
#[inline]
pub(crate) fn take_of(cpu: u32) -> u32 {
    let info = info_of(cpu);
    let mut taken = 0;
    if byte(info + SHARED_INFO.upcall_pending).swap(0, Ordering::SeqCst) == 0 {
        return taken;
    }
    let mut selected = word(info + SHARED_INFO.pending_sel).swap(0, Ordering::SeqCst);
    while selected != 0 {
        let index = selected.trailing_zeros() as usize * 8;
        selected &= selected - 1;
        let mask = word(SHARED_INFO.mask + index).load(Ordering::SeqCst);
        let pending = word(SHARED_INFO.pending + index).fetch_and(mask, Ordering::SeqCst);
        taken += (pending & !mask).count_ones();
    }
    taken
}

fn byte(offset: usize) -> &'static AtomicU8 {
    let address = SHARED.0.as_ptr() as usize + offset;
    // SAFETY: a byte of the static page above, which both sides reach by atomics only.
    unsafe { &*(address as *const AtomicU8) }
}
