//! The report of a fault or panic of the hypervisor: the other CPUs stop, somebody reads, the machine restarts.

use core::fmt::Write as _;
use core::panic::PanicInfo;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use hv_common::options::OnPanic;

use crate::console::{LastWords, Line};
use crate::hw::image;

/// The machine, as far as a report needs it.
pub trait Machine {
    /// Where it is written.
    type Line: Line;
    /// Bytes from somewhere in a call instruction to where it returns to.
    const CALL: u64;

    /// This CPU's number.
    fn cpu() -> usize;

    /// Asks all other CPUs that run to [`stop`]; how many they are.
    fn ask_others_to_stop() -> usize;

    /// The machine's counter.
    fn now_ticks() -> u64;

    /// Its ticks per second.
    fn frequency() -> u64;

    /// Lets another CPU go on.
    fn give_way();

    /// The frame pointer.
    fn frame_pointer() -> u64;

    /// Stops this CPU for good.
    fn halt() -> !;

    /// Restarts the machine.
    fn restart() -> !;
}

/// CPUs that stopped because another one reports.
static STOPPED: AtomicUsize = AtomicUsize::new(0);
/// Stop after a report instead of restarting.
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

/// Sets what happens after a report.
pub fn set_on_panic(on_panic: OnPanic) {
    HALT.store(on_panic == OnPanic::Halt, Ordering::Relaxed);
}

/// Reports what `show` writes, and how it came to that: by the frame at this address, which may belong to a function that
/// returns to `link`.
pub fn crash<M: Machine>(
    frame: u64,
    link: Option<u64>,
    show: impl FnOnce(&mut LastWords<M::Line>),
) -> ! {
    begin::<M>();
    let mut out = LastWords::new();
    show(&mut out);
    backtrace::<M>(&mut out, frame, link);
    if HALT.load(Ordering::Relaxed) {
        let _ = writeln!(out, "*** halted");
        M::halt();
    }
    let _ = writeln!(out, "*** restarting in {RESTART_AFTER_S} s");
    spin_for_seconds::<M>(RESTART_AFTER_S);
    M::restart()
}

/// Reports a panic: what `#[panic_handler]` does.
pub fn panicked<M: Machine>(info: &PanicInfo<'_>) -> ! {
    crash::<M>(M::frame_pointer(), None, |out| {
        let _ = writeln!(out, "\n*** hypervisor panic on CPU {}: {info}", M::cpu());
    })
}

/// What a CPU does that another one has stopped.
pub fn stop<M: Machine>() -> ! {
    STOPPED.fetch_add(1, Ordering::Release);
    M::halt()
}

/// Stops the other CPUs. Two that fail at once: the first reports, the other stops. A fault in a report ends at once.
fn begin<M: Machine>() {
    let here = M::cpu();
    match REPORTER.compare_exchange(NOBODY, here, Ordering::SeqCst, Ordering::SeqCst) {
        Ok(_) => stop_others::<M>(),
        Err(reporter) if reporter == here => M::restart(),
        Err(_) => stop::<M>(),
    }
}

/// Asks the other CPUs to stop and gives them a moment. One that is stuck in the hypervisor with interrupts masked does
/// not hear it; the report does not wait for it.
fn stop_others<M: Machine>() {
    let asked = M::ask_others_to_stop();
    let end = M::now_ticks().saturating_add(M::frequency() / STOP_WITHIN);
    while STOPPED.load(Ordering::Acquire) < asked && M::now_ticks() < end {
        M::give_way();
    }
}

/// Return addresses relative to the image, by the chain of frame pointers, as long as it stays on the stack.
fn backtrace<M: Machine>(out: &mut LastWords<M::Line>, mut frame: u64, link: Option<u64>) {
    let (base, end) = image::range(1);
    let show = |out: &mut LastWords<M::Line>, address: u64| {
        if (base..end).contains(&address) {
            let call = address.wrapping_sub(base).wrapping_sub(M::CALL);
            let _ = write!(out, " {call:#x}");
        }
    };
    let _ = write!(out, "backtrace (image+):");
    if let Some(link) = link {
        show(out, link);
    }
    for _ in 0..BACKTRACE_MAX {
        let Some([next, address]) = image::stack_words(M::cpu(), frame) else {
            break;
        };
        show(out, address);
        if next <= frame {
            break;
        }
        frame = next;
    }
    let _ = writeln!(out);
}

fn spin_for_seconds<M: Machine>(seconds: u64) {
    let end = M::now_ticks().saturating_add(M::frequency().saturating_mul(seconds));
    while M::now_ticks() < end {
        core::hint::spin_loop();
    }
}
