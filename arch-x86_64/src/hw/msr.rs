//! Model-specific registers of this CPU.

/// Reads an MSR that the CPU has.
#[inline]
pub(crate) fn read(number: u32) -> u64 {
    #[cfg(target_os = "none")]
    // SAFETY: callers name MSRs that the CPU has, reading which changes nothing.
    return unsafe { x86_64::registers::model_specific::Msr::new(number).read() };
    #[cfg(not(target_os = "none"))]
    {
        let _ = number;
        0
    }
}

/// Writes an MSR that the CPU has. Callers are in this folder, and write only what does not touch the hypervisor's memory:
/// its own APIC, virtualization switched on, guests' values of what the hypervisor does not use.
#[inline]
pub(super) fn write(number: u32, value: u64) {
    #[cfg(target_os = "none")]
    // SAFETY: see above.
    unsafe {
        x86_64::registers::model_specific::Msr::new(number).write(value);
    }
    #[cfg(not(target_os = "none"))]
    let _ = (number, value);
}

/// Sets what RDTSCP and RDPID give the guest, where the CPU has them. The hypervisor does not use it.
pub(crate) fn write_tsc_aux(value: u64) {
    if super::identity::features().has_tsc_aux {
        write(crate::msr::TSC_AUX, value);
    }
}
