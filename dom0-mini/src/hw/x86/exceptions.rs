//! Exceptions. Interrupts are never enabled, so anything that arrives here is a bug: it is reported on the hypervisor's
//! console and Domain-0 ends as crashed.
//!
//! All vectors run on a stack of their own (IST 1; Intel SDM volume 3, 7.14), because an overflow of the ordinary one is
//! among what they report.

use core::arch::global_asm;
use core::sync::atomic::{AtomicBool, Ordering};
use hv_abi::control::domain::ShutdownReason;
use spin::Once;
use x86_64::VirtAddr;
use x86_64::instructions::tables::{lidt, load_tss};
use x86_64::registers::control::Cr2;
use x86_64::structures::DescriptorTablePointer;
use x86_64::structures::gdt::{Descriptor, GlobalDescriptorTable, SegmentSelector};
use x86_64::structures::idt::Entry;
use x86_64::structures::tss::TaskStateSegment;

/// Vectors of exceptions.
const VECTORS: usize = 32;
/// Bytes between two entries of the code below.
const STRIDE: u64 = 16;

// Vectors 8, 10 to 14, 17, 21, 29 and 30 come with an error code (AMD APM volume 2, 8.2).
global_asm!(
    r#"
    .section .bss.crash_stack, "aw", @nobits
    .balign 16
    .skip   0x4000
    .globl dom0_crash_stack_top
dom0_crash_stack_top:

    .section .text.exceptions, "ax"
    .balign 16
    .globl dom0_exceptions
dom0_exceptions:
    .set .Lvector, 0
    .rept 32
    .balign 16
    .if !((0x60227D00 >> .Lvector) & 1)
    pushq   $0
    .endif
    pushq   $.Lvector
    jmp     1f
    .set .Lvector, .Lvector + 1
    .endr
1:  movq    %rsp, %rdi
    movq    %rbp, %rsi
    cld
    andq    $-16, %rsp
    callq   dom0_fault
    ud2
    .previous
"#,
    options(att_syntax)
);

unsafe extern "C" {
    static dom0_crash_stack_top: u8;
    static dom0_exceptions: u8;
}

/// What is on the stack when `dom0_fault` is called.
#[repr(C)]
struct Frame {
    vector: u64,
    error_code: u64,
    rip: u64,
    cs: u64,
    rflags: u64,
    rsp: u64,
    ss: u64,
}

/// Segments and vectors in use.
struct Tables {
    segments: GlobalDescriptorTable,
    task: SegmentSelector,
    vectors: [Entry<()>; VECTORS],
}

static TASK: Once<TaskStateSegment> = Once::new();
static TABLES: Once<Tables> = Once::new();

/// Loads segments, the exceptions' stack and their vectors.
pub(super) fn install() {
    let task = TASK.call_once(task);
    let tables = TABLES.call_once(|| tables(task));
    tables.segments.load();
    // SAFETY: the selector names a task-state segment in the table just loaded; it lives for ever, and no other does.
    unsafe { load_tss(tables.task) };
    let pointer = DescriptorTablePointer {
        limit: (size_of_val(&tables.vectors) - 1) as u16,
        base: VirtAddr::from_ptr(&tables.vectors),
    };
    // SAFETY: the table is complete for all exceptions and lives for ever; interrupts are off.
    unsafe { lidt(&pointer) };
}

fn task() -> TaskStateSegment {
    let mut task = TaskStateSegment::new();
    task.interrupt_stack_table[0] = VirtAddr::from_ptr(&raw const dom0_crash_stack_top);
    task
}

/// The first two segments are where the entry code's were, so the segment registers stay right.
fn tables(task: &'static TaskStateSegment) -> Tables {
    let mut segments = GlobalDescriptorTable::new();
    let code = segments.append(Descriptor::kernel_code_segment());
    segments.append(Descriptor::kernel_data_segment());
    let task = segments.append(Descriptor::tss_segment(task));
    let first = (&raw const dom0_exceptions) as u64;
    let vectors = core::array::from_fn(|vector| entry(code, first + vector as u64 * STRIDE));
    Tables {
        segments,
        task,
        vectors,
    }
}

fn entry(code: SegmentSelector, handler: u64) -> Entry<()> {
    let mut entry = Entry::missing();
    // SAFETY: the address is that of a vector's code above, which takes what the CPU pushes and does not return.
    let options = unsafe { entry.set_handler_addr(VirtAddr::new(handler)) };
    // SAFETY: the selector is that of the 64-bit code segment.
    let options = unsafe { options.set_code_selector(code) };
    // SAFETY: entry 0 of the interrupt stack table holds the crash stack, which nothing else uses.
    unsafe { options.set_stack_index(0) };
    entry
}

#[unsafe(no_mangle)]
extern "C" fn dom0_fault(frame: &Frame, frame_pointer: u64) -> ! {
    static FAULTED: AtomicBool = AtomicBool::new(false);
    if FAULTED.swap(true, Ordering::Relaxed) {
        // The report of the first one failed, and would again.
        crate::hw::hypercall::shutdown(ShutdownReason::CRASH);
    }
    panic!(
        "unexpected exception {} ({}): error code {:#x} RIP {:#x} CR2 {:#x} RSP {:#x} RBP {frame_pointer:#x} CS {:#x} \
         SS {:#x} RFLAGS {:#x} image {:#x}",
        frame.vector,
        name(frame.vector),
        frame.error_code,
        frame.rip,
        Cr2::read_raw(),
        frame.rsp,
        frame.cs,
        frame.ss,
        frame.rflags,
        crate::hw::memory::image_start(),
    );
}

fn name(vector: u64) -> &'static str {
    match vector {
        0 => "#DE",
        2 => "NMI",
        3 => "#BP",
        6 => "#UD",
        7 => "#NM",
        8 => "#DF",
        11 => "#NP",
        12 => "#SS",
        13 => "#GP",
        14 => "#PF",
        18 => "#MC",
        _ => "see the manual",
    }
}
