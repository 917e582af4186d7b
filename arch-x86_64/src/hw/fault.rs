//! The hypervisor's own faults and panics: a readable report, then a restart.

use core::fmt::Write as _;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::console::LastWords;
use super::{boot, cpu, interrupts, power, timer};

/// CPUs that stopped because another one reports.
static STOPPED: AtomicUsize = AtomicUsize::new(0);

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
    begin();
    let mut out = LastWords;
    let (base, _) = boot::image_range(1);
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
    show_registers(&mut out, frame);
    backtrace(frame.rbp, None);
    end()
}

fn show_registers(out: &mut LastWords, frame: &CrashFrame) {
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

/// Says why the hypervisor does not run on this machine, and stops: after a restart it would say the same. Before any other
/// CPU runs.
pub(crate) fn refuse(sentence: &str) -> ! {
    let _ = writeln!(
        LastWords,
        "\n*** Alcove does not run on this machine: {sentence}\n*** halted"
    );
    halt()
}

/// What a CPU does that another one has stopped.
pub(crate) fn stop() -> ! {
    STOPPED.fetch_add(1, Ordering::Release);
    halt()
}

fn halt() -> ! {
    loop {
        #[cfg(target_os = "none")]
        x86_64::instructions::hlt();
        core::hint::spin_loop();
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
        halt();
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
            let _ = write!(out, " {:#x}", address.wrapping_sub(base).wrapping_sub(1));
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
    let value;
    // SAFETY: reads a general register.
    unsafe { core::arch::asm!("mov {}, rbp", out(reg) value, options(nomem, nostack)) };
    value
}

#[cfg(target_os = "none")]
#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    panicked(info)
}
