//! Debug registers 0 to 3, which the hypervisor does not use: they are the loaded guest's. DR6 and DR7 are switched with the
//! guest.

/// Loads a guest's.
pub(crate) fn load(values: &[u64; 4]) {
    #[cfg(target_os = "none")]
    // SAFETY: breakpoint addresses mean nothing while DR7 of the host enables none.
    unsafe {
        core::arch::asm!(
            "mov dr0, {}", "mov dr1, {}", "mov dr2, {}", "mov dr3, {}",
            in(reg) values[0], in(reg) values[1], in(reg) values[2], in(reg) values[3],
            options(nomem, nostack, preserves_flags)
        );
    }
    #[cfg(not(target_os = "none"))]
    let _ = values;
}

/// Reads them back.
pub(crate) fn save(values: &mut [u64; 4]) {
    #[cfg(target_os = "none")]
    // SAFETY: reads registers.
    unsafe {
        core::arch::asm!(
            "mov {}, dr0", "mov {}, dr1", "mov {}, dr2", "mov {}, dr3",
            out(reg) values[0], out(reg) values[1], out(reg) values[2], out(reg) values[3],
            options(nomem, nostack, preserves_flags)
        );
    }
    #[cfg(not(target_os = "none"))]
    let _ = values;
}
