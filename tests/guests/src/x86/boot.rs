//! What we were given: `hvm_start_info` (Xen's public `arch-x86/hvm/start_info.h`), of which the addresses of the command line
//! and of the ACPI tables are read.
// UNSAFETY: bytes that xend wrote below our image.
#![expect(unsafe_code, reason = "the boot protocol passes addresses")]

use core::ffi::CStr;
use core::sync::atomic::{AtomicU64, Ordering};

/// Offsets of the addresses of the command line and of the RSDP.
const COMMAND_LINE: u64 = 24;
const RSDP: u64 = 32;

static ADDRESS: AtomicU64 = AtomicU64::new(0);
static RSDP_ADDRESS: AtomicU64 = AtomicU64::new(0);

/// Takes note of where they are.
pub(crate) fn started_with(start_info: u64) {
    // SAFETY: the boot protocol passes the address of a structure with such a field; nobody writes it.
    let command_line = unsafe { ((start_info + COMMAND_LINE) as *const u64).read() };
    ADDRESS.store(command_line, Ordering::Relaxed);
    // SAFETY: the same.
    let rsdp = unsafe { ((start_info + RSDP) as *const u64).read() };
    RSDP_ADDRESS.store(rsdp, Ordering::Relaxed);
}

/// Where the ACPI tables begin, if there are any.
pub(crate) fn rsdp() -> Option<u64> {
    Some(RSDP_ADDRESS.load(Ordering::Relaxed)).filter(|address| *address != 0)
}

/// The command line, to look for words in.
pub(crate) fn text() -> &'static [u8] {
    let start = ADDRESS.load(Ordering::Relaxed) as *const core::ffi::c_char;
    if start.is_null() {
        return &[];
    }
    // SAFETY: the boot protocol passes the address of a string that ends with a zero; nobody writes it.
    unsafe { CStr::from_ptr(start) }.to_bytes()
}
