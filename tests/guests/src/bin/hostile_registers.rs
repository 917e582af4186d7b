//! Claim: reading any system register, writing any that could reach beyond us, and any HVC are allowed, ignored or a
//! fault of ours.
//!
//! Most registers that are not there are undefined to the CPU itself, which tells nobody but us.
#![cfg_attr(target_os = "none", no_std, no_main)]

guests::guest!("aarch64", "hostile_registers", || {
    use guests::hostile::{self, ATTEMPTS, Random, execute, faults, tolerate};

    /// `MSR name, x0`; the bit above makes it `MRS x0, name`.
    const MSR: u32 = 0xD510_0000;
    const MRS: u32 = 1 << 21;

    const HVC: u32 = 0xD400_0002;

    /// Whether writing it would only break this guest: translation, exceptions and the stack of EL1 itself, or `DAIF`.
    fn is_our_own(op0: u32, op1: u32, crn: u32, crm: u32) -> bool {
        let of_el1 = op1 == 0 && (matches!(crn, 1 | 2 | 4..=6 | 10) || crn == 12 && crm == 0);
        op0 == 3 && (of_el1 || op1 == 3 && crn == 4)
    }

    fn attempt(random: &mut Random) {
        if random.below(16) == 0 {
            let tag = random.below(1 << 16) as u32;
            // Not ours, which is a hypercall, and not the firmware's.
            if tag != 0 && tag != u32::from(hv_abi::ARM_HYPERCALL_TAG) {
                core::hint::black_box(execute(HVC | tag << 5, 0));
            }
            return;
        }
        let op0 = 2 + random.below(2) as u32;
        let (op1, crn, crm, op2) = (
            random.below(8) as u32,
            random.below(16) as u32,
            random.below(16) as u32,
            random.below(8) as u32,
        );
        let name = op0 << 19 | op1 << 16 | crn << 12 | crm << 8 | op2 << 5;
        if random.below(2) == 0 || is_our_own(op0, op1, crn, crm) {
            core::hint::black_box(execute(MSR | MRS | name, 0));
        } else {
            // A timer's compare value that wraps around makes QEMU 7.2 loop for ever (its `gt_recalc_timer`), whoever the
            // guest runs under.
            let value = if op1 == 3 && crn == 14 {
                random.below(1 << 31)
            } else {
                random.value()
            };
            core::hint::black_box(execute(MSR | name, value));
        }
    }

    let mut random = Random::of_this_guest();
    tolerate();
    (0..ATTEMPTS).for_each(|_| attempt(&mut random));
    assert!(faults() > ATTEMPTS / 4, "{} faults", faults());
    hostile::report(format_args!("ok hostile_registers"));
    guests::power::off();
});
