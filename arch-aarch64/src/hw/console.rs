//! The debug console: a PL011 that firmware has configured.

use core::sync::atomic::{AtomicU64, Ordering};

use arch_common::console::Line;

/// Where the console is; 0: there is none (yet).
static BASE: AtomicU64 = AtomicU64::new(0);

/// Uses the PL011 at `base` from now on. It is mapped as device memory (`super::mmu`).
pub fn use_pl011(base: u64) {
    BASE.store(base, Ordering::Release);
}

/// Where the console's registers are.
fn base() -> Option<u64> {
    Some(BASE.load(Ordering::Acquire)).filter(|base| *base != 0)
}

/// The console.
#[derive(Debug)]
pub struct Pl011;

impl Line for Pl011 {
    fn transmit(text: &[u8]) {
        transmit(text);
    }
}

/// Writes text; a line end becomes CR LF.
pub fn write(text: &[u8]) {
    arch_common::console::write::<Pl011>(text);
}

#[cfg(target_arch = "aarch64")]
fn transmit(text: &[u8]) {
    use arch_common::console::put_text;
    use arm_pl011_uart::{PL011Registers, Uart};
    use core::ptr::NonNull;
    use safe_mmio::UniqueMmioPointer;

    let Some(registers) = base().and_then(|base| NonNull::new(base as *mut PL011Registers)) else {
        return;
    };
    // SAFETY: `use_pl011`'s caller says that a PL011 is there, mapped as device memory; only one CPU at a time gets
    // here (the lock, or a panic that stopped the others).
    let mut uart = Uart::new(unsafe { UniqueMmioPointer::new(registers) });
    put_text(text, |byte| {
        while uart.is_tx_fifo_full() {
            core::hint::spin_loop();
        }
        uart.write_word(byte);
    });
}

#[cfg(not(target_arch = "aarch64"))]
fn transmit(_: &[u8]) {}
