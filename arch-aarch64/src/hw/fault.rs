//! The hypervisor's own faults and panics: a readable report, then a restart.

use core::fmt::Write as _;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::console::LastWords;
use super::{boot, cpu, interrupts, power, timer};
use crate::syndrome;

/// CPUs that stopped because another one reports.
static STOPPED: AtomicUsize = AtomicUsize::new(0);

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

/// Stop after a panic instead of restarting.
static HALT: AtomicBool = AtomicBool::new(false);
/// The CPU that writes a report.
static REPORTER: AtomicUsize = AtomicUsize::new(NOBODY);
const NOBODY: usize = usize::MAX;

/// Seconds between the report and the restart.
const RESTART_AFTER_S: u64 = 10;
/// Other CPUs have this part of a second to stop.
const STOP_WITHIN: u64 = 5;
/// Frames of a backtrace at most.
const BACKTRACE_MAX: usize = 24;

/// Sets what happens after the report.
pub fn halt_on_panic(halt: bool) {
    HALT.store(halt, Ordering::Relaxed);
}

/// Entered by vectors.S on the emergency stack.
pub(crate) extern "C" fn rust_host_fault(frame: &CrashFrame, vector: u64) -> ! {
    begin();
    let mut out = LastWords;
    let (base, _) = boot::image_range(1);
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
    backtrace(frame.x[29], Some(frame.x[30]));
    end()
}

/// Reports a panic: what `#[panic_handler]` does.
pub fn panicked(info: &core::panic::PanicInfo<'_>) -> ! {
    begin();
    let _ = writeln!(
        LastWords,
        "\n*** hypervisor panic on CPU {}: {info}",
        cpu::this().number
    );
    backtrace(frame_pointer(), None);
    end()
}

/// What a CPU does that another one has stopped.
pub(crate) fn stop() -> ! {
    STOPPED.fetch_add(1, Ordering::Release);
    loop {
        timer::wait_for_interrupt();
    }
}

/// Stops the other CPUs. Two that fail at once: the first reports, the other stops. A fault in a report ends at once.
fn begin() {
    let here = cpu::this().number;
    match REPORTER.compare_exchange(NOBODY, here, Ordering::SeqCst, Ordering::SeqCst) {
        Ok(_) => stop_others(),
        Err(reporter) if reporter == here => power::restart(),
        Err(_) => stop(),
    }
}

/// Asks the other CPUs to stop and gives them a moment. One that is stuck in the hypervisor with interrupts masked does
/// not hear it; the report does not wait for it.
fn stop_others() {
    let mut asked = 0;
    for other in cpu::others() {
        interrupts::send(interrupts::STOP, other);
        asked += 1;
    }
    let end = timer::now_ticks().saturating_add(timer::frequency() / STOP_WITHIN);
    while STOPPED.load(Ordering::Acquire) < asked && timer::now_ticks() < end {
        cpu::give_way();
    }
}

fn end() -> ! {
    if HALT.load(Ordering::Relaxed) {
        let _ = writeln!(LastWords, "*** halted");
        loop {
            timer::wait_for_interrupt();
        }
    }
    let _ = writeln!(LastWords, "*** restarting in {RESTART_AFTER_S} s");
    timer::spin_for_seconds(RESTART_AFTER_S);
    power::restart()
}

/// Return addresses relative to the image, by the chain of frame pointers, as long as it stays on the stack.
fn backtrace(mut frame: u64, link: Option<u64>) {
    let mut out = LastWords;
    let (base, end) = boot::image_range(1);
    let show = |out: &mut LastWords, address: u64| {
        if (base..end).contains(&address) {
            let _ = write!(out, " {:#x}", address.wrapping_sub(base).wrapping_sub(4));
        }
    };
    let _ = write!(out, "backtrace (image+):");
    if let Some(link) = link {
        show(&mut out, link);
    }
    for _ in 0..BACKTRACE_MAX {
        let Some([next, address]) = boot::stack_words(frame) else {
            break;
        };
        show(&mut out, address);
        if next <= frame {
            break;
        }
        frame = next;
    }
    let _ = writeln!(out);
}

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

#[cfg(target_os = "none")]
#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    panicked(info)
}
