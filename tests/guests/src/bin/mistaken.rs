//! Claim: what is refused is counted by kind. Makes a known number of mistakes of each kind, and then does nothing.
#![cfg_attr(target_os = "none", no_std, no_main)]

guests::guest!("mistaken", || {
    use core::hint::black_box;
    use guests::hostile::{
        faults, hypercall, load, refused_firmware_call, refused_instruction, tolerate,
    };
    use guests::place::NOTHING;
    use hv_abi::CallNumber;

    const NOT_MAPPED: u64 = 0xFFFF_8000_0000_0000;

    tolerate();
    black_box(hypercall(63, [0; 5]));
    let control = CallNumber::CONTROL_HOST.0;
    black_box(hypercall(control, [0; 5]));
    for _ in 0..3 {
        let number = CallNumber::EVENT_CHANNEL_OP.0;
        black_box(hypercall(number, [4, NOT_MAPPED, 0, 0, 0]));
    }
    for _ in 0..4 {
        black_box(load(NOTHING, 2));
    }
    for _ in 0..5 {
        refused_instruction();
    }
    for _ in 0..6 {
        refused_firmware_call();
    }
    assert_eq!(faults(), 9);
    guests::say!("mistakes were made");
    loop {
        guests::interrupts::wait();
    }
});
