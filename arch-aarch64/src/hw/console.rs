//! The debug console: a PL011 that firmware has configured.

use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};

use hv_common::lock::Lock;

/// Where the console is; 0: there is none (yet).
static BASE: AtomicU64 = AtomicU64::new(0);
/// Held while a text is written, so that texts do not mix.
static TURN: Lock<()> = Lock::new(());

/// Uses the PL011 at `base` from now on. It is mapped as device memory (`super::mmu`).
pub fn use_pl011(base: u64) {
    BASE.store(base, Ordering::Release);
}

/// Where the console's registers are.
fn base() -> Option<u64> {
    Some(BASE.load(Ordering::Acquire)).filter(|base| *base != 0)
}

/// Writes text; a line end becomes CR LF.
pub fn write(text: &[u8]) {
    let _turn = TURN.lock();
    transmit(text);
}

/// The console for `write!`, although somebody else may be writing: for the last words.
pub(crate) struct LastWords;

impl fmt::Write for LastWords {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        transmit(text.as_bytes());
        Ok(())
    }
}

#[cfg(target_arch = "aarch64")]
fn transmit(text: &[u8]) {
    use arm_pl011_uart::{PL011Registers, Uart};
    use core::ptr::NonNull;
    use safe_mmio::UniqueMmioPointer;

    let Some(registers) = base().and_then(|base| NonNull::new(base as *mut PL011Registers)) else {
        return;
    };
    // SAFETY: `use_pl011`'s caller says that a PL011 is there, mapped as device memory; only one CPU at a time gets
    // here (the lock, or a panic that stopped the others).
    let mut uart = Uart::new(unsafe { UniqueMmioPointer::new(registers) });
    let mut put = |byte| {
        while uart.is_tx_fifo_full() {
            core::hint::spin_loop();
        }
        uart.write_word(byte);
    };
    for byte in text {
        if *byte == b'\n' {
            put(b'\r');
        }
        put(*byte);
    }
}

#[cfg(not(target_arch = "aarch64"))]
fn transmit(_: &[u8]) {}
