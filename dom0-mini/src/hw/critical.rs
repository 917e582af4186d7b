//! Critical sections: they need nothing, as interrupts are never enabled and there is one vCPU.

struct AlwaysCritical;
critical_section::set_impl!(AlwaysCritical);

// SAFETY: with one vCPU and interrupts masked for ever, all code already runs in a critical section.
unsafe impl critical_section::Impl for AlwaysCritical {
    unsafe fn acquire() {}
    unsafe fn release((): ()) {}
}
