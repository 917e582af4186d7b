//! Claim: a frame that was granted can be written as long as it is mapped, and not once more after that.
//!
//! Maps reference 8 of the domain that the command line names (`peer=`), writes, unmaps and writes again; `times=` says how
//! often, where it is not 100,000 times.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
use hv_abi::xen::grant::{self, MapGrantRef, UnmapGrantRef, status};

/// Guest-physical address of the mapping, where nothing else is.
#[cfg(target_os = "none")]
const AT: u64 = guests::place::GRANT_BASE + 0x80_0000;

#[cfg(target_os = "none")]
fn operation<T>(operation: u64, request: &mut T) {
    use hv_abi::CallNumber;

    let at = core::ptr::from_mut(request) as u64;
    let answer = guests::hypercall::call(CallNumber::GRANT_TABLE_OP, operation, at, 1);
    answer.expect("the request is sound");
}

/// Maps it; the handle. The granter may not have come as far yet.
#[cfg(target_os = "none")]
fn map(granter: u16) -> u32 {
    for _ in 0..1000 {
        let mut request = MapGrantRef {
            host_addr: AT,
            flags: grant::map::HOST_MAP,
            reference: 8,
            dom: hv_abi::DomId(granter),
            ..MapGrantRef::default()
        };
        operation(grant::MAP_GRANT_REF, &mut request);
        if request.status == status::OKAY {
            return request.handle;
        }
        guests::timer::sleep_until(guests::timer::now() + guests::timer::frequency() / 100);
    }
    panic!("nothing was granted")
}

guests::guest!("hostile_mapper", || {
    use guests::hostile::{ATTEMPTS, faults, shared_page, store, tolerate};

    let granter = guests::options::option("peer=").expect("somebody to map from") as u16;
    let mut handle = map(granter);
    tolerate();
    let page = shared_page(AT);
    let attempts = guests::options::option("times=").map_or(ATTEMPTS, |times| times as u32);
    for attempt in 1..=attempts {
        page[0].store(attempt, core::sync::atomic::Ordering::SeqCst);
        let mut request = UnmapGrantRef {
            host_addr: AT,
            handle,
            ..UnmapGrantRef::default()
        };
        operation(grant::UNMAP_GRANT_REF, &mut request);
        assert_eq!(request.status, status::OKAY);
        store(AT + 4, 2, 0xDEAD);
        assert_eq!(faults(), attempt, "it could be written");
        handle = map(granter);
    }
    guests::log!("\nok hostile_mapper");
});
