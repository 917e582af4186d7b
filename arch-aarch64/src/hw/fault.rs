//! The hypervisor's own faults and panics: a readable report, then a restart.

use core::fmt::Write as _;

use arch_common::hw::image;
use arch_common::report::{self, Machine};

use super::console::Pl011;
use super::{cpu, interrupts, power, timer};
use crate::syndrome;

/// Registers at a fault, as vectors.S stores them.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct CrashFrame {
    x: [u64; 31],
    sp: u64,
    pc: u64,
    pstate: u64,
    esr: u64,
    far: u64,
}

impl CrashFrame {
    pub(crate) const EMPTY: Self = Self {
        x: [0; 31],
        sp: 0,
        pc: 0,
        pstate: 0,
        esr: 0,
        far: 0,
    };
}

/// The machine, for reports.
pub(crate) struct Here;

impl Machine for Here {
    type Line = Pl011;
    const CALL: u64 = 4;

    fn cpu() -> usize {
        cpu::this().number
    }

    fn ask_others_to_stop() -> usize {
        let ask = |other| interrupts::send(interrupts::STOP, other);
        cpu::others().map(ask).count()
    }

    fn now_ticks() -> u64 {
        timer::now_ticks()
    }

    fn frequency() -> u64 {
        timer::frequency()
    }

    fn give_way() {
        cpu::give_way();
    }

    #[inline(always)]
    fn frame_pointer() -> u64 {
        #[cfg(target_arch = "aarch64")]
        {
            let value;
            // SAFETY: reads a general register.
            unsafe { core::arch::asm!("mov {}, x29", out(reg) value, options(nomem, nostack)) };
            value
        }
        #[cfg(not(target_arch = "aarch64"))]
        0
    }

    fn halt() -> ! {
        loop {
            timer::wait_for_interrupt();
        }
    }

    fn restart() -> ! {
        power::restart()
    }
}

/// Entered by vectors.S on the emergency stack.
pub(crate) extern "C" fn rust_host_fault(frame: &CrashFrame, vector: u64) -> ! {
    let (base, _) = image::range(1);
    report::crash::<Here>(frame.x[29], Some(frame.x[30]), |out| {
        let _ = writeln!(
            out,
            "\n*** hypervisor fault on CPU {}: {} ({}), vector {vector}",
            cpu::this().number,
            syndrome::class_name(frame.esr),
            syndrome::fault_name(frame.esr).unwrap_or("-"),
        );
        let _ = writeln!(
            out,
            "pc {:#018x} (image+{:#x})  pstate {:#x}  esr {:#x}  far {:#018x}  sp {:#018x}",
            frame.pc,
            frame.pc.wrapping_sub(base),
            frame.pstate,
            frame.esr,
            frame.far,
            frame.sp,
        );
        for (row, values) in frame.x.chunks(4).enumerate() {
            for (column, value) in values.iter().enumerate() {
                let _ = write!(out, "x{:<2} {value:016x}  ", 4 * row + column);
            }
            let _ = writeln!(out);
        }
    })
}

#[cfg(target_os = "none")]
#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    report::panicked::<Here>(info)
}
