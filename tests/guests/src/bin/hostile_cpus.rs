//! Claim: vCPUs that switch one another on, off and ask for one another, all at once and without end, hurt nobody but us.
//!
//! All but the first execute [`secondary`]: MMU off, no stack, a number in a register that says what is next.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(all(target_os = "none", target_arch = "aarch64"))]
mod claims {
    // UNSAFETY: what vCPUs do that were just switched on.
    #![expect(unsafe_code, reason = "what vCPUs do that were just switched on")]

    use core::arch::global_asm;
    use core::sync::atomic::{AtomicU32, Ordering};

    use guests::hostile::{ATTEMPTS, Random, firmware, tolerate};

    const CPU_ON: u64 = 0xC400_0003;
    const AFFINITY_INFO: u64 = 0xC400_0004;

    global_asm!(
        r#"
        .section .text
        .globl secondary
    secondary:
        adr     x20, secondary
        adrp    x21, secondary_calls
        add     x21, x21, :lo12:secondary_calls
        mov     x19, x0
        mov     x22, #1
        orr     x19, x19, x22
    1:  eor     x19, x19, x19, lsl #13      // xorshift64
        eor     x19, x19, x19, lsr #7
        eor     x19, x19, x19, lsl #17
        ldr     w9, [x21]                   // lost counts do not matter
        add     w9, w9, #1
        str     w9, [x21]
        ubfx    x1, x19, #8, #3             // some of eight, half of which are not there
        mov     x2, x20
        mov     x3, x19
        and     x9, x19, #31
        cbz     x9, 4f
        tbz     x19, #0, 2f
        ldr     w0, =0xC4000003             // CPU_ON
        b       3f
    2:  ldr     w0, =0xC4000004             // AFFINITY_INFO
        mov     x2, #0
    3:  hvc     #0
        b       1b
    4:  ldr     w0, =0x84000002             // CPU_OFF
        hvc     #0
        b       1b
        .ltorg
    "#
    );

    unsafe extern "C" {
        static secondary: u8;
    }

    /// Calls of all vCPUs but the first.
    #[unsafe(no_mangle)]
    static secondary_calls: AtomicU32 = AtomicU32::new(0);

    pub(super) fn hold() {
        let mut random = Random::of_this_guest();
        tolerate();
        let start = (&raw const secondary) as u64;
        let mut own = 0;
        while own < ATTEMPTS || secondary_calls.load(Ordering::Relaxed) < ATTEMPTS {
            let cpu = random.below(8);
            let call = random.choose(&[CPU_ON, AFFINITY_INFO]);
            let answer = firmware(
                false,
                call,
                [cpu, start * u64::from(call == CPU_ON), own.into()],
            );
            assert!(cpu < 4 || answer != 0, "there is no vCPU {cpu}");
            own += 1;
        }
        guests::log!("\nok hostile_cpus");
        // While the others go on.
        guests::power::off();
    }
}

guests::guest!("aarch64", "hostile_cpus", || claims::hold());
