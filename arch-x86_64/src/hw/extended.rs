//! Extended state: x87, SSE, AVX and what else XSAVE keeps (Intel SDM, volume 1, "Managing State Using the XSAVE Feature
//! Set"). The hypervisor itself uses none of it, so a guest's stays in the registers as long as the vCPU is loaded.

use hv_abi::Errno;
use hv_abi::record::x86::XSAVE_SIZE;

use super::identity;

/// A vCPU's area.
#[repr(C, align(64))]
pub(crate) struct ExtendedState([u8; XSAVE_SIZE]);

/// Offsets in an area.
const MXCSR: usize = 24;
const HEADER: usize = 512;
const HEADER_END: usize = 576;

/// State components by their bits.
const X87: u64 = 1;
const SSE: u64 = 2;
const AVX: u64 = 4;
const AVX512: u64 = 0xE0;

impl ExtendedState {
    /// After reset: FCW 0x37F, MXCSR 0x1F80.
    pub(crate) const INITIAL: Self = {
        let mut area = [0; XSAVE_SIZE];
        area[0] = 0x7F;
        area[1] = 0x03;
        area[MXCSR] = 0x80;
        area[MXCSR + 1] = 0x1F;
        Self(area)
    };

    /// The area, as a record has it.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// The components that a guest may have here.
fn allowed() -> u64 {
    identity::features().xcr0 & crate::cpuid::XCR0
}

/// Whether a guest may set XCR0 to this.
pub(crate) fn is_valid(xcr0: u64) -> bool {
    is_consistent(xcr0) && xcr0 & !allowed() == 0
}

fn is_consistent(xcr0: u64) -> bool {
    xcr0 & X87 != 0
        && (xcr0 & AVX == 0 || xcr0 & SSE != 0)
        && (xcr0 & AVX512 == 0 || xcr0 & AVX512 == AVX512 && xcr0 & AVX != 0)
}

/// An area as a record has it, if restoring it cannot fault.
///
/// # Errors
/// `EINVAL`.
pub(crate) fn check(bytes: &[u8]) -> Result<ExtendedState, Errno> {
    let area: [u8; XSAVE_SIZE] = bytes.try_into().map_err(|_| Errno::EINVAL)?;
    let word = |at: usize| {
        let bytes = area.get(at..at + 8).and_then(|bytes| bytes.try_into().ok());
        u64::from_le_bytes(bytes.unwrap_or_default())
    };
    let (present, compaction) = (word(HEADER), word(HEADER + 8));
    let reserved = area
        .get(HEADER + 16..HEADER_END)
        .is_some_and(|bytes| bytes.iter().all(|byte| *byte == 0));
    let mxcsr = word(MXCSR) as u32;
    let fits = present & !(allowed() | X87 | SSE) == 0
        && compaction == 0
        && reserved
        && mxcsr & !0xFFFF == 0;
    fits.then_some(ExtendedState(area)).ok_or(Errno::EINVAL)
}

/// Sets XCR0 of the guest that is loaded. It was checked.
pub(crate) fn set_xcr0(value: u64) {
    if !identity::features().has_xsave {
        return;
    }
    #[cfg(target_os = "none")]
    // SAFETY: a valid combination of what the CPU has, and the hypervisor uses none of that state.
    unsafe {
        core::arch::asm!(
            "xsetbv",
            in("ecx") 0,
            in("eax") value as u32,
            in("edx") (value >> 32) as u32,
            options(nomem, nostack, preserves_flags)
        );
    }
    #[cfg(not(target_os = "none"))]
    let _ = value;
}

/// Lets the hypervisor save and restore it: CR4.OSFXSR, OSXMMEXCPT, OSXSAVE; no traps in CR0.
pub(crate) fn start() {
    #[cfg(target_os = "none")]
    {
        use x86_64::registers::control::{Cr4, Cr4Flags};
        let mut flags = Cr4::read() | Cr4Flags::OSFXSR | Cr4Flags::OSXMMEXCPT_ENABLE;
        if identity::features().has_xsave {
            flags |= Cr4Flags::OSXSAVE;
        }
        // SAFETY: enables instructions; changes nothing about memory.
        unsafe { Cr4::write(flags) };
    }
}

/// Puts a guest's state into the registers.
pub(crate) fn load(state: &ExtendedState, xcr0: u64) {
    #[cfg(target_os = "none")]
    if identity::features().has_xsave {
        let components = allowed();
        set_xcr0(components);
        // SAFETY: an aligned area, made by XSAVE or checked.
        unsafe {
            core::arch::asm!(
                "xrstor64 [{}]",
                in(reg) state.0.as_ptr(),
                in("eax") components as u32,
                in("edx") (components >> 32) as u32,
                options(readonly, nostack)
            );
        }
        set_xcr0(xcr0);
    } else {
        // SAFETY: as above.
        unsafe {
            core::arch::asm!("fxrstor64 [{}]", in(reg) state.0.as_ptr(), options(readonly, nostack));
        }
    }
    #[cfg(not(target_os = "none"))]
    let _ = (state, xcr0);
}

/// XCR0 of the guest that is loaded, without what guests may not have. QEMU does not intercept XSETBV (7.2), so what was
/// emulated need not be what is there.
fn guest_xcr0() -> u64 {
    #[cfg(target_os = "none")]
    {
        let (low, high): (u32, u32);
        // SAFETY: reads a register.
        unsafe {
            core::arch::asm!(
                "xgetbv",
                in("ecx") 0,
                out("eax") low,
                out("edx") high,
                options(nomem, nostack, preserves_flags)
            );
        }
        let xcr0 = u64::from(high) << 32 | u64::from(low);
        if is_valid(xcr0 & allowed()) {
            xcr0 & allowed()
        } else {
            X87
        }
    }
    #[cfg(not(target_os = "none"))]
    X87
}

/// Takes it out of the registers; XCR0, too.
pub(crate) fn save(state: &mut ExtendedState, xcr0: &mut u64) {
    #[cfg(target_os = "none")]
    if identity::features().has_xsave {
        *xcr0 = guest_xcr0();
        let components = allowed();
        set_xcr0(components);
        // SAFETY: an aligned area that is large enough for these components.
        unsafe {
            core::arch::asm!(
                "xsave64 [{}]",
                in(reg) state.0.as_mut_ptr(),
                in("eax") components as u32,
                in("edx") (components >> 32) as u32,
                options(nostack)
            );
        }
    } else {
        // SAFETY: as above.
        unsafe {
            core::arch::asm!("fxsave64 [{}]", in(reg) state.0.as_mut_ptr(), options(nostack));
        }
    }
    #[cfg(not(target_os = "none"))]
    let _ = (state, xcr0, guest_xcr0());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn combinations_of_components() {
        assert!(is_consistent(1) && is_consistent(7) && is_consistent(0xE7));
        assert!(!is_consistent(0) && !is_consistent(2) && !is_consistent(5));
        assert!(!is_consistent(0x27) && !is_consistent(0xE3));
    }

    #[test]
    fn an_area_that_would_fault_is_refused() {
        let good = ExtendedState::INITIAL;
        assert!(check(good.bytes()).is_ok());
        for (at, value) in [
            (HEADER + 7, 1),
            (HEADER + 8, 1),
            (HEADER + 40, 1),
            (MXCSR + 2, 1),
        ] {
            let mut area = good.0;
            area[at] = value;
            assert!(check(&area).is_err(), "{at}");
        }
        assert!(check(&good.bytes()[1..]).is_err());
    }
}
