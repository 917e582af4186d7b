//! The heap: everything of our RAM that the image does not occupy.

use hv_abi::start::Range;
use talc::TalcLock;
use talc::source::Claim;

/// A lock for a domain with one vCPU whose code is never interrupted: taking it twice is a bug.
pub(crate) struct Uncontended(core::cell::Cell<bool>);

// SAFETY: Domain-0 has one vCPU and never unmasks interrupts, so there is one thread of execution.
unsafe impl Sync for Uncontended {}
// SAFETY: as above.
unsafe impl Send for Uncontended {}

// SAFETY: with one thread of execution, a flag is a lock: `lock` succeeds only if nobody holds it.
unsafe impl lock_api::RawMutex for Uncontended {
    #[allow(
        clippy::declare_interior_mutable_const,
        reason = "lock_api asks for an initial value in this form"
    )]
    const INIT: Self = Self(core::cell::Cell::new(false));
    type GuardMarker = lock_api::GuardNoSend;

    fn lock(&self) {
        assert!(self.try_lock(), "the heap was entered twice");
    }

    fn try_lock(&self) -> bool {
        !self.0.replace(true)
    }

    unsafe fn unlock(&self) {
        self.0.set(false);
    }
}

#[global_allocator]
static HEAP: TalcLock<Uncontended, Claim> = TalcLock::new(Claim::standby());

/// Gives the heap its memory, once.
pub(crate) fn open(range: Range) {
    // SAFETY: the range is RAM of ours that neither image nor start page occupy (the caller computes it from the start
    // page), and this is called once.
    unsafe {
        HEAP.lock()
            .claim(range.base as *mut u8, range.size as usize)
    };
}

/// How much of the heap is in use.
pub(crate) fn usage() -> xend::hypervisor::HeapUse {
    let heap = HEAP.lock();
    let counters = heap.counters();
    xend::hypervisor::HeapUse {
        used: counters.allocated_bytes as u64,
        size: counters.claimed_bytes as u64,
    }
}
