//! Invalidation of stage-2 translations.

use hv_common::arch::{Gfn, Mfn};

/// Pages up to which single invalidations are cheaper than the whole.
const SINGLE_MAX: u64 = 64;

/// Makes entries that were written to a stage-2 table visible to walkers.
#[inline]
pub(crate) fn publish_stage2() {
    #[cfg(target_arch = "aarch64")]
    // SAFETY: a barrier.
    unsafe {
        core::arch::asm!("dsb ishst", "isb", options(nostack));
    }
}

/// Drops what this CPU has cached of the loaded domain's stage 1: another of its vCPUs ran here, whose tables may be
/// others under the same identifiers.
#[inline]
pub(crate) fn invalidate_stage1() {
    #[cfg(target_arch = "aarch64")]
    // SAFETY: invalidation makes walkers look at tables again; EL2 itself does not use stage 1 of EL1.
    unsafe {
        core::arch::asm!("isb", "tlbi vmalle1", "dsb nsh", "isb", options(nostack));
    }
}

/// Drops what any CPU has cached of a domain's stage 2, and of walks through it.
pub(crate) fn invalidate_stage2(root: Mfn, vmid: u16, range: Option<(Gfn, u64)>) {
    #[cfg(target_arch = "aarch64")]
    {
        use aarch64_cpu::registers::VTTBR_EL2;
        use tock_registers::interfaces::{Readable, Writeable};

        let loaded = VTTBR_EL2.get();
        let wanted = crate::stage2::vttbr(root, vmid);
        // SAFETY: invalidation makes walkers look at tables again; EL2 itself does not use stage 2.
        unsafe { core::arch::asm!("dsb ishst", options(nostack)) };
        if loaded != wanted {
            VTTBR_EL2.set(wanted);
            // SAFETY: a barrier.
            unsafe { core::arch::asm!("isb", options(nostack)) };
        }
        match range {
            Some((first, count)) if count <= SINGLE_MAX => {
                for page in first.0..first.0.saturating_add(count) {
                    // SAFETY: as above.
                    unsafe {
                        core::arch::asm!("tlbi ipas2e1is, {}", in(reg) page, options(nostack))
                    };
                }
                // SAFETY: as above.
                unsafe { core::arch::asm!("dsb ish", "tlbi vmalle1is", options(nostack)) };
            }
            // SAFETY: as above.
            _ => unsafe { core::arch::asm!("tlbi vmalls12e1is", options(nostack)) },
        }
        // SAFETY: as above.
        unsafe { core::arch::asm!("dsb ish", "isb", options(nostack)) };
        if loaded != wanted {
            VTTBR_EL2.set(loaded);
            // SAFETY: a barrier.
            unsafe { core::arch::asm!("isb", options(nostack)) };
        }
    }
    #[cfg(not(target_arch = "aarch64"))]
    let _ = (root, vmid, range, SINGLE_MAX);
}
