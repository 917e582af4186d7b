//! Claim: code and page tables that another vCPU changes under an instruction that exits confuse nobody but us.
//!
//! The first vCPU goes to the window and executes what is there; the second writes other instructions there, and shows
//! other memory in the window.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(all(target_os = "none", target_arch = "x86_64"))]
mod attack {
    use core::sync::atomic::{AtomicBool, Ordering};

    use guests::hostile::{ATTEMPTS, Random, jump_to};
    use guests::{cpus, interrupts, mmu, msr};
    use hv_abi::CallNumber;

    /// RAM that we do not use, each 2 MiB, with code at its beginning.
    const CODE: [u64; 2] = [8 << 20, 10 << 20];
    /// Each a whole instruction that exits, and `jmp r15`.
    const CPUID: u64 = from(&[0x0F, 0xA2, 0x41, 0xFF, 0xE7]);
    const RDMSR: u64 = from(&[0x0F, 0x32, 0x41, 0xFF, 0xE7]);
    const HLT: u64 = from(&[0xF4, 0x41, 0xFF, 0xE7]);
    const VMMCALL: u64 = from(&[0x0F, 0x01, 0xD9, 0x41, 0xFF, 0xE7]);
    const VMCALL: u64 = from(&[0x0F, 0x01, 0xC1, 0x41, 0xFF, 0xE7]);
    const PREFIXED_CPUID: u64 = from(&[0x2E, 0x48, 0x0F, 0xA2, 0x41, 0xFF, 0xE7]);
    const WBINVD: u64 = from(&[0x0F, 0x09, 0x41, 0xFF, 0xE7]);
    const IN: u64 = from(&[0xE4, 0x80, 0x41, 0xFF, 0xE7]);
    const UD2: u64 = from(&[0x0F, 0x0B, 0x41, 0xFF, 0xE7]);
    const JUMP: u64 = from(&[0x41, 0xFF, 0xE7]);
    const INSTRUCTIONS: [u64; 10] = [
        CPUID,
        RDMSR,
        HLT,
        VMMCALL,
        VMCALL,
        PREFIXED_CPUID,
        WBINVD,
        IN,
        UD2,
        JUMP,
    ];
    /// Of a page-directory entry: present, writable, 2 MiB.
    const PAGE: u64 = 0x83;
    const TABLE: u64 = 3;

    static IS_OVER: AtomicBool = AtomicBool::new(false);

    const fn from(bytes: &[u8]) -> u64 {
        let mut word = 0;
        let mut index = bytes.len();
        while index > 0 {
            index -= 1;
            word = word << 8 | bytes[index] as u64;
        }
        word
    }

    /// What the second vCPU does.
    fn change(_: u32) {
        let mut random = Random::of_this_guest();
        while !IS_OVER.load(Ordering::Relaxed) {
            let code = mmu::word_at(random.choose(&CODE));
            code.store(random.choose(&INSTRUCTIONS), Ordering::SeqCst);
            let entry = match random.below(16) {
                0 => 0,
                1 => guests::place::NOTHING | PAGE,
                2 => guests::place::NOTHING | TABLE,
                _ => random.choose(&CODE) | PAGE,
            };
            mmu::set_window_entry(entry);
            // Whoever waits goes on.
            interrupts::send_to(0, 0);
        }
    }

    pub(super) fn execute() {
        for code in CODE {
            mmu::word_at(code).store(JUMP, Ordering::SeqCst);
        }
        assert_eq!(cpus::switch_on(1, change), cpus::answer::DONE);
        interrupts::unmask();
        for _ in 0..ATTEMPTS / 4 {
            mmu::forget_window();
            // RDMSR reads the APIC's base, a call asks for the version.
            jump_to(
                mmu::WINDOW,
                CallNumber::XEN_VERSION.0,
                u64::from(msr::APIC_BASE),
            );
        }
        interrupts::mask();
        IS_OVER.store(true, Ordering::Relaxed);
    }
}

guests::guest!("x86_64", "hostile_tables", || {
    guests::hostile::tolerate();
    attack::execute();
    guests::timer::sleep_until(guests::timer::now() + guests::timer::frequency() / 10);
    guests::hostile::report(format_args!("ok hostile_tables"));
});
