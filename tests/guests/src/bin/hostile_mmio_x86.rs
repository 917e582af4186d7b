//! Claim: an access of any kind outside RAM is a fault of ours, and nothing else. With `stack=1` the stack is there when an
//! interrupt comes, which nobody survives.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(all(target_os = "none", target_arch = "x86_64"))]
mod attack {
    use guests::hostile::{
        Random, add_to, cpuid, exchange, faults, jump_to, load, move_string, pop_from, push_at,
        store,
    };
    use guests::mmu::{self, WINDOW};
    use guests::place::NOTHING;

    const APIC: u64 = 0xFEE0_0000;
    /// APIC, I/O APIC, HPET, where a PC has PCI devices, and nothing.
    const PLACES: [u64; 5] = [APIC, 0xFEC0_0000, 0xFED0_0000, 0xD000_0000, NOTHING];
    const PAGE: u64 = 0x83;
    const TABLE: u64 = 3;
    const MIB_2: u64 = 2 << 20;

    /// Does all there is to do at an address; how many faults that makes.
    fn everything(address: u64) -> u32 {
        for size in 0..4 {
            core::hint::black_box(load(address, size));
            store(address, size, u64::MAX);
        }
        assert!(!add_to(address), "ADD to {address:#x}");
        assert!(!exchange(address), "XCHG with {address:#x}");
        assert!(!move_string(address, true), "MOVS from {address:#x}");
        assert!(!move_string(address, false), "MOVS to {address:#x}");
        assert!(!push_at(address + 16), "PUSH to {address:#x}");
        assert!(!pop_from(address), "POP from {address:#x}");
        jump_to(address, 0, 0);
        8 + 6 + 1
    }

    fn is_refused(address: u64) {
        let before = faults();
        let expected = everything(address);
        assert_eq!(faults() - before, expected, "at {address:#x}");
    }

    pub(super) fn below_4_gib(random: &mut Random) {
        for place in PLACES {
            for _ in 0..50 {
                is_refused(place + (random.below(0x1000) & !0xF));
            }
        }
    }

    /// Far away, seen through the window.
    pub(super) fn above(random: &mut Random) {
        let bits = cpuid(0x8000_0008, 0)[0] & 0xFF;
        for bit in 33..bits {
            for place in [1 << bit, (2 << bit) - MIB_2] {
                mmu::set_window_entry(place | PAGE);
                mmu::forget_window();
                is_refused(WINDOW + (random.below(MIB_2 - 0x1000) & !0xF));
            }
        }
        // No CPU has such addresses: a page fault.
        mmu::set_window_entry(1 << 51 | 1 << 50 | PAGE);
        mmu::forget_window();
        is_refused(WINDOW);
    }

    /// Tables that are not in RAM.
    pub(super) fn tables() {
        for place in PLACES {
            mmu::set_window_entry(place | TABLE);
            mmu::forget_window();
            is_refused(WINDOW + 0x1230);
        }
    }
}

guests::guest!("x86_64", "hostile_mmio_x86", || {
    let mut random = guests::hostile::Random::of_this_guest();
    guests::hostile::tolerate();
    if guests::options::option("stack=") == Some(1) {
        guests::log!("\nno stack from here on");
        guests::timer::set(guests::timer::now() + guests::timer::frequency() / 10);
        guests::hostile::stand_on(guests::place::NOTHING + 0x800);
    }
    guests::vectors::use_own_stack();
    attack::below_4_gib(&mut random);
    attack::above(&mut random);
    attack::tables();
    guests::hostile::report(format_args!("{} faults", guests::hostile::faults()));
    guests::log!("ok hostile_mmio_x86");
    // So that what was counted can be asked for.
    loop {
        guests::interrupts::wait();
    }
});
