//! Where a domain has what.
// UNSAFETY: symbols of the linker script, whose addresses are taken.
#![expect(unsafe_code, reason = "symbols of the linker script")]

pub use hv_abi::layout::x86::GRANT_BASE;
use hv_abi::layout::x86::{ACPI_BASE, APIC_BASE, CONSOLE_GFN};
use hv_abi::xen::shared_info::{SharedInfoLayout, X86_64};

unsafe extern "C" {
    static __image_start: u8;
    static __image_end: u8;
}

/// Where RAM begins.
pub const RAM_BASE: u64 = 0;
/// Pages that are shared with Domain-0.
pub const RINGS_BASE: u64 = CONSOLE_GFN << hv_abi::FRAME_SHIFT;
/// How the shared page is laid out.
pub(crate) const SHARED_INFO: SharedInfoLayout = X86_64;
/// Where addresses may hurt, with 64 KiB behind them.
pub(crate) const DEVICES: [u64; 3] = [APIC_BASE, ACPI_BASE, GRANT_BASE];
/// An address, virtual and physical, that nothing is at.
pub const NOTHING: u64 = 0x3000_0000;

/// RAM that holds our image: nothing is to be written there, or given away.
#[must_use]
pub fn own() -> core::ops::Range<u64> {
    (&raw const __image_start) as u64..(&raw const __image_end) as u64
}
