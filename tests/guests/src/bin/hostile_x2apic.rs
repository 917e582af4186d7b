//! Claim: an x2APIC stands any access, storms of interrupts to anybody, ends of interrupts that nobody began, and a timer
//! in any mode.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(all(target_os = "none", target_arch = "x86_64"))]
mod attack {
    use core::sync::atomic::{AtomicBool, Ordering};

    use guests::hostile::{Random, read_msr, write_msr};
    use guests::{cpus, interrupts, msr, timer};

    const EOI: u32 = msr::X2APIC + 0xB;
    const SVR: u32 = msr::X2APIC + 0xF;
    const ICR: u32 = msr::X2APIC + 0x30;
    const LVT_TIMER: u32 = msr::X2APIC + 0x32;
    const INITIAL_COUNT: u32 = msr::X2APIC + 0x38;
    const DIVIDE: u32 = msr::X2APIC + 0x3E;
    const SELF_IPI: u32 = msr::X2APIC + 0x3F;
    const TIMER_VECTOR: u64 = 0x40;
    /// Vectors that our handlers know, and some that are no interrupts at all.
    const VECTORS: [u64; 8] = [0, 1, 15, 0x50, 0x5F, 0x70, 0xEE, 0xFF];
    /// Pages that a start-up IPI may lead to: where our CPUs start, and where there is a CPU's end.
    const PAGES: [u64; 3] = [8, 0x10, 0x20];

    static IS_OVER: AtomicBool = AtomicBool::new(false);

    /// What the other CPUs do: take what comes.
    fn take(_: u32) {
        interrupts::unmask();
        while !IS_OVER.load(Ordering::Relaxed) {
            core::hint::spin_loop();
        }
        interrupts::mask();
    }

    pub(super) fn start_others() {
        /// CLI; HLT; JMP to both.
        const END: u32 = 0xFCEB_F4FA;
        for page in &PAGES[1..] {
            guests::hostile::shared_page(page << 12)[0].store(END, Ordering::SeqCst);
        }
        for cpu in 1..cpus::count() {
            assert_eq!(cpus::switch_on(cpu, take), cpus::answer::DONE);
        }
    }

    pub(super) fn stop_others() {
        IS_OVER.store(true, Ordering::Relaxed);
    }

    /// A command for somebody, most of them legal.
    fn command(random: &mut Random) -> u64 {
        const NMI: u64 = 4;
        const STARTUP: u64 = 6;
        const ITSELF: u64 = 1;
        let kind = random.choose(&[0, 0, 0, 0, 1, 2, 3, NMI, 5, STARTUP, 7]);
        let vector = match kind {
            STARTUP => random.choose(&PAGES),
            _ => random.choose(&VECTORS),
        };
        let to = random.choose(&[0, 1, 2, 3, 5, 1 << 16 | 1, u32::MAX.into()]) << 32;
        let logical = random.below(2) << 11;
        let level = random.below(4) << 14;
        // A CPU that is just starting has nothing to handle an NMI with.
        let shorthand = if kind == NMI { ITSELF } else { random.below(4) } << 18;
        let noise = if random.below(16) == 0 {
            1 << random.below(64) & !0xC_07FF
        } else {
            0
        };
        to | shorthand | level | logical | kind << 8 | vector | noise
    }

    pub(super) fn storm(random: &mut Random, count: u32) {
        for _ in 0..count {
            match random.below(8) {
                0 => write_msr(SELF_IPI, random.choose(&VECTORS)),
                1 => write_msr(EOI, random.below(2)),
                _ => write_msr(ICR, command(random)),
            };
            if random.below(4) == 0 {
                interrupts::unmask();
                interrupts::mask();
            }
        }
    }

    /// Any register, with any value that leaves us able to go on.
    pub(super) fn registers(random: &mut Random) {
        for number in msr::X2APIC..msr::X2APIC + 0x400 {
            let before = read_msr(number);
            for _ in 0..4 {
                if ![ICR, SELF_IPI].contains(&number) {
                    write_msr(number, random.value());
                }
            }
            if let Some(value) = before {
                write_msr(number, value);
            }
        }
        // Off and on again, each step that is allowed and those that are not.
        let base = read_msr(msr::APIC_BASE).expect("it is there");
        let (enabled, x2apic) = (1 << 11, 1 << 10);
        let off = base & !(enabled | x2apic);
        for value in [off | x2apic, off | enabled, off, base, off | enabled, base] {
            write_msr(msr::APIC_BASE, value);
            core::hint::black_box(read_msr(SVR));
        }
        assert_eq!(read_msr(msr::APIC_BASE), Some(base));
        interrupts::begin_anew();
    }

    pub(super) fn timer() {
        for mode in 0..4 {
            for divide in 0..17 {
                write_msr(LVT_TIMER, mode << 17 | TIMER_VECTOR);
                write_msr(DIVIDE, divide);
                for count in [0, 1, 2, 1000, 0xFFFF_FFFF] {
                    write_msr(INITIAL_COUNT, count);
                    moment();
                }
                let now = timer::now();
                for deadline in [1, now, now + 1000, 1 << 63, u64::MAX] {
                    write_msr(msr::TSC_DEADLINE, deadline);
                    moment();
                }
                write_msr(INITIAL_COUNT, 0);
                write_msr(msr::TSC_DEADLINE, 0);
            }
        }
        // Vectors that are no interrupts.
        for vector in 0..16 {
            write_msr(LVT_TIMER, vector);
            write_msr(INITIAL_COUNT, 1);
            moment();
        }
        interrupts::begin_anew();
    }

    fn moment() {
        interrupts::unmask();
        for _ in 0..100 {
            core::hint::spin_loop();
        }
        interrupts::mask();
    }
}

guests::guest!("x86_64", "hostile_x2apic", || {
    let mut random = guests::hostile::Random::of_this_guest();
    guests::hostile::tolerate();
    attack::registers(&mut random);
    attack::timer();
    attack::start_others();
    attack::storm(&mut random, guests::hostile::ATTEMPTS / 4);
    attack::stop_others();
    guests::interrupts::begin_anew();
    guests::timer::sleep_until(guests::timer::now() + guests::timer::frequency() / 10);
    guests::hostile::report(format_args!("ok hostile_x2apic"));
});
