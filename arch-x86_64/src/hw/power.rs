//! The machine's power, as its ACPI tables say (ACPI 6.5, 4.8 "ACPI Register Model").

use spin::Once;

use super::{interrupts, port};

/// How the machine is switched off and restarted.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Power {
    /// Port of PM1a_CNT; 0: none.
    pub(crate) control: u16,
    /// SLP_TYP of state S5.
    pub(crate) off: u8,
    /// Port of the reset register and what to write there; 0: none.
    pub(crate) reset: (u16, u8),
}

static POWER: Once<Power> = Once::new();

/// Sets it.
pub(crate) fn use_power(power: Power) {
    POWER.call_once(|| power);
}

/// Restarts the machine.
pub(crate) fn restart() -> ! {
    let power = POWER.get().copied().unwrap_or_default();
    if power.reset.0 != 0 {
        port::write_u8(power.reset.0, power.reset.1);
    }
    // The chipset's reset control, then the keyboard controller's line: machines have one or the other.
    port::write_u8(0xCF9, 0x02);
    port::write_u8(0xCF9, 0x06);
    port::write_u8(0x64, 0xFE);
    stop()
}

/// Switches the machine off, or stops if it cannot be.
pub(crate) fn off() -> ! {
    const SLEEP: u16 = 1 << 13;
    let power = POWER.get().copied().unwrap_or_default();
    if power.control != 0 {
        let kept = port::read_u16(power.control) & !(SLEEP | 7 << 10);
        let kind = u16::from(power.off & 7) << 10;
        port::write_u16(power.control, kept | kind | SLEEP);
    }
    stop()
}

fn stop() -> ! {
    loop {
        interrupts::wait();
        core::hint::spin_loop();
    }
}
