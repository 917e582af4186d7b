//! The program: run once the machine is ready, its end, and what is said if it fails.
// UNSAFETY: symbols that the program brings.
#![expect(unsafe_code, reason = "symbols that the program brings")]

use core::panic::PanicInfo;

use crate::{console, interrupts, power};

unsafe extern "Rust" {
    static GUEST_NAME: &'static str;
    fn guest_main();
}

/// The program's name.
fn name() -> &'static str {
    // SAFETY: `guest!` defines the symbol in every program, with this type.
    unsafe { GUEST_NAME }
}

/// Runs it to its end.
pub(crate) fn run() -> ! {
    console::init();
    // SAFETY: `guest!` defines the symbol in every program, with this type.
    unsafe { guest_main() };
    crate::say!("ok {}", name());
    power::off()
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    interrupts::mask();
    // The console may be what was lost.
    crate::log!("\nFAIL {}: {}", name(), info.message());
    crate::say!("FAIL {}: {}", name(), info.message());
    if let Some(place) = info.location() {
        crate::say!("  at {}:{}", place.file(), place.line());
    }
    power::off()
}
