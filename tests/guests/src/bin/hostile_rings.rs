//! Claim: xenstore and console rings with anything in them disturb nobody but us.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
use guests::hostile::{ATTEMPTS, Random, hypercall, tolerate, words};

#[cfg(target_os = "none")]
fn attempt(random: &mut Random, page: &[core::sync::atomic::AtomicU32], port: u64) {
    use core::sync::atomic::Ordering;
    use hv_abi::CallNumber;
    use hv_abi::xen::event;

    for _ in 0..random.below(24) {
        let at = random.below(page.len() as u64) as usize;
        page[at].store(random.value() as u32, Ordering::Relaxed);
    }
    words()[0].store(port, Ordering::Relaxed);
    let at = words().as_ptr() as u64;
    core::hint::black_box(hypercall(
        CallNumber::EVENT_CHANNEL_OP.0,
        [event::SEND, at, 0, 0, 0],
    ));
}

guests::guest!("hostile_rings", || {
    use hv_abi::xen::hvm::param;

    let mut random = Random::of_this_guest();
    let ring = |page, port| {
        let address = guests::console::parameter(page) << hv_abi::FRAME_SHIFT;
        (
            guests::hostile::shared_page(address),
            guests::console::parameter(port),
        )
    };
    let rings = [
        ring(param::STORE_PFN, param::STORE_EVTCHN),
        ring(param::CONSOLE_PFN, param::CONSOLE_EVTCHN),
    ];
    tolerate();
    for _ in 0..ATTEMPTS {
        let (page, port) = rings[random.below(2) as usize];
        attempt(&mut random, page, port);
    }
    guests::log!("\nok hostile_rings");
    guests::power::off();
});
