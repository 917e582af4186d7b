//! From the address of the start page, which is all that the entry code passes on, to [`crate::start`].

use hv_abi::start::Dom0Start;
use zerocopy::FromBytes;

/// Called once by the entry code, on its stack.
#[unsafe(no_mangle)]
extern "C" fn dom0_entry(start_page: u64) -> ! {
    super::machine::begin();
    // SAFETY: the hypervisor passes the address of a page in our RAM that holds a start page and that it never
    // writes again (hv_abi::start); memory is mapped one to one, so the address is usable as it is.
    let bytes: &'static [u8] =
        unsafe { core::slice::from_raw_parts(start_page as *const u8, size_of::<Dom0Start>()) };
    match Dom0Start::ref_from_bytes(bytes) {
        Ok(start) => crate::start::run(start),
        Err(_) => panic!("the start page is not aligned"),
    }
}
