//! Our `shared_info` page: words that the hypervisor sets and we clear.

use super::hypercall::call_with;
use super::machine::SHARED_INFO;
use alloc::alloc::alloc_zeroed;
use core::alloc::Layout;
use core::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use hv_abi::xen::memory::{self, AddToPhysmap};
use hv_abi::{CallNumber, DomId, Errno, FRAME_SHIFT, FRAME_SIZE};
use spin::Once;

const WORDS: usize = 64;

/// The page, registered with the hypervisor.
pub(crate) struct SharedInfo {
    address: u64,
}

static PAGE: Once<SharedInfo> = Once::new();

/// Registers our page. Call once.
///
/// # Errors
/// The hypervisor's; `ENOMEM` when the heap is exhausted.
pub(crate) fn register() -> Result<(), Errno> {
    let page = SharedInfo::register()?;
    PAGE.call_once(|| page);
    Ok(())
}

/// Our page, once it is registered.
pub(crate) fn page() -> Option<&'static SharedInfo> {
    PAGE.get()
}

impl SharedInfo {
    /// Gives up a page of the heap, whose place the shared page takes.
    fn register() -> Result<Self, Errno> {
        let layout = Layout::from_size_align(FRAME_SIZE, FRAME_SIZE).map_err(|_| Errno::EINVAL)?;
        // SAFETY: the layout has a size above zero. The page is never given back.
        let page = unsafe { alloc_zeroed(layout) };
        if page.is_null() {
            return Err(Errno::ENOMEM);
        }
        let address = page as u64;
        let mut argument = AddToPhysmap {
            domid: DomId::SELF,
            size: 0,
            space: u32::from(memory::space::SHARED_INFO),
            index: 0,
            gpfn: address >> FRAME_SHIFT,
        };
        call_with(CallNumber::MEMORY_OP, memory::ADD_TO_PHYSMAP, &mut argument)?;
        Ok(Self { address })
    }

    fn word(&self, offset: usize) -> &AtomicU64 {
        // SAFETY: every offset used here is a multiple of 8 within the page, which stays mapped for ever and is shared
        // with the hypervisor through atomics only.
        unsafe { &*((self.address + offset as u64) as *const AtomicU64) }
    }

    /// The byte that the hypervisor sets when it has selected a port.
    pub(in crate::hw) fn upcall_pending(&self) -> &AtomicU8 {
        // SAFETY: as in `word`; the offset is that of a byte in the page.
        unsafe { &*((self.address + SHARED_INFO.upcall_pending as u64) as *const AtomicU8) }
    }

    /// Lets a port's events through. `true`: one is waiting, which the hypervisor does not tell of any more.
    pub(crate) fn unmask(&self, port: u32) -> bool {
        let index = port / 64;
        let bit = 1 << (port % 64);
        if index as usize >= WORDS {
            return false;
        }
        let offset = index as usize * 8;
        self.word(SHARED_INFO.mask + offset)
            .fetch_and(!bit, Ordering::SeqCst);
        let waiting = self
            .word(SHARED_INFO.pending + offset)
            .load(Ordering::SeqCst)
            & bit
            != 0;
        if waiting {
            self.word(SHARED_INFO.pending_sel)
                .fetch_or(1 << index, Ordering::SeqCst);
        }
        waiting
    }

    /// Clears a port that is polled for, and masks it: [`take_pending`](Self::take_pending) leaves it alone.
    #[cfg_attr(
        target_arch = "aarch64",
        expect(dead_code, reason = "no device's interrupt is an event there")
    )]
    pub(in crate::hw) fn take_for_poller(&self, port: u32) {
        let (index, bit) = (port as usize / 64, 1 << (port % 64));
        if index < WORDS {
            let offset = index * 8;
            self.word(SHARED_INFO.mask + offset)
                .fetch_or(bit, Ordering::SeqCst);
            self.word(SHARED_INFO.pending + offset)
                .fetch_and(!bit, Ordering::SeqCst);
        }
    }

    /// Clears and reports every pending, unmasked port.
    pub(crate) fn take_pending(&self, handle: &mut dyn FnMut(u32)) {
        loop {
            self.upcall_pending().store(0, Ordering::SeqCst);
            let mut selected = self.word(SHARED_INFO.pending_sel).swap(0, Ordering::SeqCst);
            while selected != 0 {
                let index = selected.trailing_zeros();
                selected &= selected - 1;
                self.take_word(index, handle);
            }
            if self.upcall_pending().load(Ordering::SeqCst) == 0 {
                return;
            }
        }
    }

    fn take_word(&self, index: u32, handle: &mut dyn FnMut(u32)) {
        let mask = self
            .word(SHARED_INFO.mask + index as usize * 8)
            .load(Ordering::SeqCst);
        let mut ready = self
            .word(SHARED_INFO.pending + index as usize * 8)
            .fetch_and(mask, Ordering::SeqCst)
            & !mask;
        while ready != 0 {
            handle(index * 64 + ready.trailing_zeros());
            ready &= ready - 1;
        }
    }
}
