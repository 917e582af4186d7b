//! Claim: who maps a granted frame writes it as long as it is mapped, and not once more after that.
//!
//! Grants a frame as reference 8 to the domain that the command line names (`peer=`). Its first word is written while it is
//! mapped, up to 100,000 or `times=`; its second only by somebody who should not.
#![cfg_attr(target_os = "none", no_std, no_main)]

guests::guest!("granter", || {
    use core::sync::atomic::{AtomicU32, Ordering};
    use guests::hostile::{ATTEMPTS, shared_page};
    use guests::place::GRANT_BASE;
    use hv_abi::xen::{grant, memory};
    use hv_abi::{CallNumber, DomId, FRAME_SHIFT};

    #[repr(C, align(4096))]
    struct Page([AtomicU32; 1024]);
    static PAGE: Page = Page([const { AtomicU32::new(0) }; 1024]);

    let mut table = memory::AddToPhysmap {
        domid: DomId::SELF,
        size: 0,
        space: u32::from(memory::space::GRANT_TABLE),
        index: 0,
        gpfn: GRANT_BASE >> FRAME_SHIFT,
    };
    let place = memory::ADD_TO_PHYSMAP;
    let placed = guests::hypercall::call_with(CallNumber::MEMORY_OP, place, &mut table);
    placed.expect("the grant table is mapped");
    let peer = guests::options::option("peer=").expect("somebody to grant to") as u32;
    let entries = shared_page(GRANT_BASE);
    let frame = PAGE.0.as_ptr() as u64 >> FRAME_SHIFT;
    entries[17].store(frame as u32, Ordering::SeqCst);
    let flags = u32::from(grant::flags::PERMIT_ACCESS);
    entries[16].store(flags | peer << 16, Ordering::SeqCst);
    let attempts = guests::options::option("times=").map_or(ATTEMPTS, |times| times as u32);
    while PAGE.0[0].load(Ordering::SeqCst) < attempts {
        assert_eq!(PAGE.0[1].load(Ordering::SeqCst), 0, "written after unmap");
    }
    guests::log!("\nok granter");
});
