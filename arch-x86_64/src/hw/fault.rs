//! The hypervisor's own faults and panics: a readable report, then a restart.

use core::fmt::Write as _;

use arch_common::console::LastWords;
use arch_common::hw::image;
use arch_common::report::{self, Machine};

use super::console::Com1;
use super::{cpu, interrupts, power, timer};

/// Registers at an exception, as vectors.S stores them.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct CrashFrame {
    rax: u64,
    rcx: u64,
    rdx: u64,
    rbx: u64,
    rbp: u64,
    rsi: u64,
    rdi: u64,
    r8_to_r15: [u64; 8],
    vector: u64,
    error: u64,
    rip: u64,
    cs: u64,
    rflags: u64,
    rsp: u64,
    ss: u64,
}

/// The machine, for reports.
pub(crate) struct Here;

impl Machine for Here {
    type Line = Com1;
    const CALL: u64 = 1;

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
        let value;
        // SAFETY: reads a general register.
        unsafe { core::arch::asm!("mov {}, rbp", out(reg) value, options(nomem, nostack)) };
        value
    }

    fn halt() -> ! {
        loop {
            #[cfg(target_os = "none")]
            x86_64::instructions::hlt();
            core::hint::spin_loop();
        }
    }

    fn restart() -> ! {
        power::restart()
    }
}

/// What exceptions are called.
fn name(vector: u64) -> &'static str {
    match vector {
        0 => "#DE divide error",
        1 => "#DB debug",
        2 => "NMI",
        3 => "#BP breakpoint",
        6 => "#UD undefined instruction",
        8 => "#DF double fault",
        10 => "#TS task state segment",
        11 => "#NP segment not present",
        12 => "#SS stack fault",
        13 => "#GP general protection",
        14 => "#PF page fault",
        17 => "#AC alignment check",
        18 => "#MC machine check",
        _ => "exception",
    }
}

fn fault_address() -> u64 {
    #[cfg(target_os = "none")]
    return x86_64::registers::control::Cr2::read_raw();
    #[cfg(not(target_os = "none"))]
    0
}

/// Entered by vectors.S on a stack for faults.
pub(crate) extern "C" fn rust_host_fault(frame: &CrashFrame) -> ! {
    let address = fault_address();
    let (base, _) = image::range(1);
    report::crash::<Here>(frame.rbp, None, |out| {
        let _ = writeln!(
            out,
            "\n*** hypervisor fault on CPU {}: {}, vector {}, error code {:#x}",
            cpu::this().number,
            name(frame.vector),
            frame.vector,
            frame.error,
        );
        let _ = writeln!(
            out,
            "rip {:#018x} (image+{:#x})  rflags {:#x}  cr2 {address:#018x}  rsp {:#018x}  cs {:#x} ss {:#x}",
            frame.rip,
            frame.rip.wrapping_sub(base),
            frame.rflags,
            frame.rsp,
            frame.cs,
            frame.ss,
        );
        show_registers(out, frame);
    })
}

fn show_registers(out: &mut LastWords<Com1>, frame: &CrashFrame) {
    let named = [
        ("rax", frame.rax),
        ("rbx", frame.rbx),
        ("rcx", frame.rcx),
        ("rdx", frame.rdx),
        ("rsi", frame.rsi),
        ("rdi", frame.rdi),
        ("rbp", frame.rbp),
    ];
    for (name, value) in named {
        let _ = write!(out, "{name} {value:016x}  ");
    }
    let _ = writeln!(out);
    for (index, value) in frame.r8_to_r15.iter().enumerate() {
        let _ = write!(out, "r{:<2} {value:016x}  ", index + 8);
    }
    let _ = writeln!(out);
}

/// Says why the hypervisor does not run on this machine, and stops: after a restart it would say the same. Before any other
/// CPU runs.
pub(crate) fn refuse(sentence: &str) -> ! {
    let _ = writeln!(
        LastWords::<Com1>::new(),
        "\n*** Alcove does not run on this machine: {sentence}\n*** halted"
    );
    Here::halt()
}

#[cfg(target_os = "none")]
#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    report::panicked::<Here>(info)
}
