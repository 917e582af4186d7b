//! Claim: a guest whose exception vectors lead nowhere harms itself alone.
#![cfg_attr(target_os = "none", no_std, no_main)]

guests::guest!("runaway", || {
    guests::say!("ok runaway");
    // Between the interrupt controller and the grant frames: no domain has anything there.
    guests::vectors::point_at(0x1000_0000);
    panic_by_undefined_instruction()
});

#[cfg(target_os = "none")]
#[expect(unsafe_code, reason = "an instruction that is undefined on purpose")]
fn panic_by_undefined_instruction() {
    // SAFETY: `udf` always takes an exception, and the vectors now lead nowhere.
    unsafe { core::arch::asm!("udf #0", options(noreturn)) }
}
