//! Claim: what is refused is counted by kind. Makes a known number of mistakes of each kind, and then does nothing.
#![cfg_attr(target_os = "none", no_std, no_main)]

guests::guest!("mistaken", || {
    use core::hint::black_box;
    use guests::hostile::{execute, faults, firmware, hypercall, load, tolerate};
    use hv_abi::CallNumber;

    /// `HVC #7`.
    const OTHER_HVC: u32 = 0xD400_0002 | 7 << 5;
    const NOWHERE: u64 = 0x3000_0000;
    const NOT_CANONICAL: u64 = 0xFFFF_8000_0000_0000;

    tolerate();
    black_box(hypercall(63, [0; 5]));
    let stop = CallNumber::CONTROL_HOST.0;
    black_box(hypercall(stop, [0; 5]));
    for _ in 0..3 {
        let number = CallNumber::EVENT_CHANNEL_OP.0;
        black_box(hypercall(number, [4, NOT_CANONICAL, 0, 0, 0]));
    }
    for _ in 0..4 {
        black_box(load(NOWHERE, 2));
    }
    for _ in 0..5 {
        black_box(execute(OTHER_HVC, 0));
    }
    for _ in 0..6 {
        black_box(firmware(true, 0x8400_0000, [0; 3]));
    }
    assert_eq!(faults(), 9);
    guests::say!("mistakes were made");
    loop {
        guests::gic::wait();
    }
});
