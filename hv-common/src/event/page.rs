//! The pages in which a guest sees its events: `shared_info` and `vcpu_info`.

use core::sync::atomic::{AtomicU64, Ordering};

use hv_abi::{Errno, FRAME_SHIFT, FRAME_SIZE};

use crate::arch::{Access, Arch, Gpa, Host, Mfn};
use crate::domain::{Domain, DomainState, notify_upcall};
use crate::hypervisor::Hypervisor;
use crate::time;
use crate::vcpu::{NO_ADDRESS, VcpuSlot};

/// The words of a `vcpu_info` that concern events.
pub(super) struct InfoWords<'h, A: Arch> {
    /// `evtchn_pending_sel`.
    pub(super) selector: &'h AtomicU64,
    /// The word with `evtchn_upcall_pending` and `evtchn_upcall_mask`.
    pub(super) flags: &'h AtomicU64,
    /// The bit of the former.
    pub(super) upcall_bit: u64,
    arch: core::marker::PhantomData<fn() -> A>,
}

const fn bit_of_byte(offset: usize) -> u64 {
    1 << (8 * (offset % 8))
}

impl<'h, A: Arch> InfoWords<'h, A> {
    /// The words of the `vcpu_info` at a machine address, a multiple of 8.
    pub(super) fn at(host: &'h A::Host, address: u64) -> Option<Self> {
        if address == NO_ADDRESS {
            return None;
        }
        let words = host.words(Mfn(address >> FRAME_SHIFT));
        let offset = Gpa(address).offset();
        let layout = &A::SHARED_INFO;
        Some(Self {
            selector: words.get((offset + layout.pending_sel) / 8)?,
            flags: words.get((offset + layout.upcall_pending) / 8)?,
            upcall_bit: bit_of_byte(layout.upcall_pending),
            arch: core::marker::PhantomData,
        })
    }

    /// Pending and not masked.
    pub(super) fn is_upcall_due(&self) -> bool {
        let flags = self.flags.load(Ordering::SeqCst);
        let mask = A::SHARED_INFO
            .upcall_mask
            .map_or(0, |offset| 0xFF * bit_of_byte(offset));
        flags & self.upcall_bit != 0 && flags & mask == 0
    }
}

/// Takes the mask off a vCPU's upcalls, where there is one: it is about to wait for them.
pub fn enable_upcalls<A: Arch>(hypervisor: &Hypervisor<A>, slot: &VcpuSlot<A>) {
    let Some(mask) = A::SHARED_INFO.upcall_mask else {
        return;
    };
    let address = slot.info_address.load(Ordering::Acquire);
    if let Some(info) = InfoWords::<A>::at(hypervisor.host, address) {
        info.flags
            .fetch_and(!(0xFF * bit_of_byte(mask)), Ordering::SeqCst);
    }
}

/// The frame of `shared_info`; made if there is none yet.
///
/// # Errors
/// `ENOMEM`.
pub fn ensure_shared_info<A: Arch>(
    hypervisor: &Hypervisor<A>,
    domain: &Domain<A>,
    state: &mut DomainState<A>,
) -> Result<Mfn, Errno> {
    if let Some(page) = state.shared_info {
        return Ok(page);
    }
    let page = hypervisor.memory(domain).take_special()?;
    state.shared_info = Some(page);
    time::publish_wall_clock(hypervisor, domain, page);
    for slot in domain.vcpus.iter().take(A::SHARED_INFO.vcpu_infos) {
        let offset = slot.index as usize * A::SHARED_INFO.vcpu_info_size;
        let address = (page.0 << FRAME_SHIFT) + offset as u64;
        if slot.info_address.load(Ordering::Acquire) == NO_ADDRESS
            && hypervisor.frames.add_reference(page, domain.id)
        {
            slot.info_address.store(address, Ordering::Release);
            time::publish_clock(hypervisor, domain, address);
        }
    }
    Ok(page)
}

/// Tells all vCPUs that have a `vcpu_info` how time comes of their counter.
pub(crate) fn publish_clocks<A: Arch>(hypervisor: &Hypervisor<A>, domain: &Domain<A>) {
    for slot in &domain.vcpus {
        let address = slot.info_address.load(Ordering::Acquire);
        if address != NO_ADDRESS {
            time::publish_clock(hypervisor, domain, address);
        }
    }
}

/// Moves a vCPU's `vcpu_info` to a place in the domain's RAM, for good. All ports are marked as worth a look then:
/// whatever arrived before is found.
///
/// # Errors
/// `EINVAL`: not aligned, across a page's end, registered before; `EFAULT`: not RAM.
pub fn register_vcpu_info<A: Arch>(
    hypervisor: &Hypervisor<A>,
    domain: &Domain<A>,
    slot: &VcpuSlot<A>,
    gpa: Gpa,
) -> Result<(), Errno> {
    place_vcpu_info(hypervisor, domain, slot, gpa)?;
    let address = slot.info_address.load(Ordering::Acquire);
    let info = InfoWords::<A>::at(hypervisor.host, address).ok_or(Errno::EFAULT)?;
    info.selector.store(u64::MAX, Ordering::SeqCst);
    info.flags.fetch_or(info.upcall_bit, Ordering::SeqCst);
    notify_upcall(hypervisor, domain, slot.index);
    Ok(())
}

/// The same without touching its content: for a restored domain.
///
/// # Errors
/// As [`register_vcpu_info`].
pub(crate) fn place_vcpu_info<A: Arch>(
    hypervisor: &Hypervisor<A>,
    domain: &Domain<A>,
    slot: &VcpuSlot<A>,
    gpa: Gpa,
) -> Result<(), Errno> {
    let fits = gpa.offset() + A::SHARED_INFO.vcpu_info_size <= FRAME_SIZE;
    if !gpa.0.is_multiple_of(8) || !fits {
        return Err(Errno::EINVAL);
    }
    let memory = hypervisor.memory(domain);
    let state = domain.lock();
    if slot.info_gpa.load(Ordering::Acquire) != NO_ADDRESS {
        return Err(Errno::EINVAL);
    }
    let frame = memory.frame_at(&state, gpa, Access::Write);
    let frame = frame.ok_or(Errno::EFAULT)?;
    if !hypervisor.frames.add_reference(frame, domain.id) {
        return Err(Errno::EFAULT);
    }
    let address = (frame.0 << FRAME_SHIFT) + gpa.offset() as u64;
    let before = slot.info_address.swap(address, Ordering::AcqRel);
    if before != NO_ADDRESS {
        hypervisor.frames.drop_reference(Mfn(before >> FRAME_SHIFT));
    }
    slot.info_gpa.store(gpa.0, Ordering::Release);
    time::publish_clock(hypervisor, domain, address);
    Ok(())
}
