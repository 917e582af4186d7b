//! Claim: writing anything to control, debug and extended control registers, and dropping the caches, works or is a fault
//! of ours.
//!
//! A CPU refuses bits of CR0, CR3 and CR4 that it does not have, and to leave paging in the middle of long mode. QEMU (7.2)
//! does not, but cannot go on with that either: these are tried one at a time, told by `illegal=`, a number of a bit of CR0.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(all(target_os = "none", target_arch = "x86_64"))]
mod attack {
    use guests::hostile::{
        Cache, clear_task_switched, control, flush_caches, load_status_word, read_debug, read_msr,
        set_control, set_debug, set_extended, write_msr,
    };

    const EFER: u32 = 0xC000_0080;
    const TASK_SWITCHED: u64 = 1 << 3;
    const GENERAL_DETECT: u64 = 1 << 13;
    const DR7_AT_RESET: u64 = 0x400;
    const OSXSAVE: u64 = 1 << 18;

    /// Changes each bit, and all of them.
    pub(super) fn control_registers() {
        /// What there is, without what long mode needs: MP, EM, TS, ET, NE, WP, AM, CD.
        const CR0: u64 = 0x4005_003E;
        /// VME, PVI, TSD, DE, PSE, MCE, PGE, PCE, OSFXSR, OSXMMEXCPT, UMIP, FSGSBASE, OSXSAVE, SMEP, SMAP.
        const CR4: u64 = 0x0035_0FDF;
        for (number, bits) in [(0, CR0), (4, CR4), (8, u64::MAX)] {
            let before = control(number).expect("it can be read");
            let changes = (0..64).map(|bit| 1 << bit & bits).chain([bits]);
            for change in changes {
                set_control(number, before ^ change);
                exit();
                assert!(set_control(number, before), "CR{number} {change:#x}");
                assert_eq!(control(number), Some(before), "CR{number} {change:#x}");
            }
        }
        for bit in 0..64 {
            assert!(set_control(2, 1 << bit), "CR2 takes anything");
            exit();
        }
    }

    /// Changes a bit of CR0 that there is no way to live without or with.
    pub(super) fn illegal(bit: u64) {
        let before = control(0).expect("it can be read");
        set_control(0, before ^ 1 << bit);
        exit();
        assert_eq!(control(0), Some(before), "it works");
    }

    /// Whatever is set is there when the guest is entered again.
    fn exit() {
        core::hint::black_box(guests::hostile::cpuid(0, 0));
    }

    pub(super) fn efer() {
        let before = read_msr(EFER).expect("it can be read");
        for bit in 0..64 {
            write_msr(EFER, before ^ 1 << bit);
            exit();
            assert!(write_msr(EFER, before), "bit {bit}");
            assert_eq!(read_msr(EFER), Some(before), "bit {bit}");
        }
        const SVME: u64 = 1 << 12;
        assert!(!write_msr(EFER, before | SVME), "SVM can be switched on");
    }

    pub(super) fn extended() {
        assert!(!set_extended(0, 1) || control(4).unwrap_or(0) & OSXSAVE != 0);
        let before = control(4).expect("it can be read");
        if !set_control(4, before | OSXSAVE) || control(4) != Some(before | OSXSAVE) {
            return;
        }
        for index in [1, 2, u32::MAX] {
            assert!(!set_extended(index, 1), "XCR{index} is there");
        }
        for value in [0, 2, 4, u64::MAX] {
            assert!(!set_extended(0, value), "XCR0 takes {value:#x}");
        }
        for bit in 0..64 {
            set_extended(0, 1 | 1 << bit);
            exit();
        }
        assert!(set_extended(0, 1));
        assert!(set_control(4, before));
    }

    pub(super) fn debug() {
        for number in [0, 1, 2, 3, 6, 7] {
            for bit in 0..64 {
                let enables = number == 7 && (bit < 8 || bit == 13);
                if !enables {
                    set_debug(number, 1 << bit);
                    exit();
                }
            }
        }
        set_debug(7, DR7_AT_RESET | GENERAL_DETECT);
        exit();
        core::hint::black_box(read_debug(0));
        exit();
        // A fault has switched that off.
        if !set_debug(7, DR7_AT_RESET) {
            assert!(set_debug(7, DR7_AT_RESET), "general detect stays on");
        }
        assert_eq!(read_debug(7), Some(DR7_AT_RESET));
    }

    pub(super) fn rest() {
        let before = control(0).expect("it can be read");
        for value in 0..16 {
            // PE can be set by it only.
            assert!(load_status_word(value));
            exit();
            assert_eq!(control(0).map(|now| now & 1), Some(1));
        }
        assert!(set_control(0, before | TASK_SWITCHED));
        assert!(clear_task_switched());
        assert_eq!(control(0), Some(before & !TASK_SWITCHED));
        assert!(set_control(0, before));
        for _ in 0..100 {
            assert!(flush_caches(Cache::Drop));
            assert!(flush_caches(Cache::WriteBack));
        }
    }
}

guests::guest!("x86_64", "hostile_crs", || {
    guests::hostile::tolerate();
    if let Some(bit) = guests::options::option("illegal=") {
        return attack::illegal(bit);
    }
    attack::control_registers();
    attack::efer();
    attack::extended();
    attack::debug();
    attack::rest();
    guests::timer::sleep_until(guests::timer::now() + guests::timer::frequency() / 10);
    guests::hostile::report(format_args!("ok hostile_crs"));
});
