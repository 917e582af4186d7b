//! Interrupts, taken by polling.
//!
//! They stay masked at the CPU for ever: `WFI` wakes when one is pending whether it is masked or not (Arm ARM D1.6),
//! and [`take`] acknowledges it from the GICv3 CPU interface. So there is no interrupt context, and nothing to lock.

pub(crate) use arm_gic::Trigger;
use arm_gic::gicv3::registers::{Gicd, GicrSgi};
use arm_gic::gicv3::{GicCpuInterface, GicV3};
use arm_gic::{IntId, InterruptGroup, UniqueMmioPointer};
use core::ptr::NonNull;

use hv_abi::start::Dom0Start;

/// The interrupt controller as Domain-0 sees it.
pub(crate) struct Interrupts {
    gic: GicV3<'static>,
}

impl Interrupts {
    /// Initialises distributor, redistributor and CPU interface. Call once.
    pub(crate) fn new(start: &Dom0Start) -> Self {
        let [distributor, redistributors] = start.interrupt_controller;
        let distributor =
            NonNull::new(distributor.base as *mut Gicd).expect("a distributor address");
        let redistributors =
            NonNull::new(redistributors.base as *mut GicrSgi).expect("a redistributor address");
        // SAFETY: the start page names the distributor's registers, mapped as device memory, and only we use them.
        let distributor = unsafe { UniqueMmioPointer::new(distributor) };
        // SAFETY: the same for the redistributors; Domain-0 has one vCPU.
        let gic = unsafe { GicV3::new(distributor, redistributors, 1) };
        let mut gic = gic.expect("a GICv3 redistributor");
        gic.setup(0);
        GicCpuInterface::set_priority_mask(0xFF);
        Self { gic }
    }

    /// Lets an interrupt through. `number` is an INTID.
    pub(crate) fn enable(&mut self, number: u32, trigger: Trigger) {
        let intid = intid(number);
        let cpu = intid.is_private().then_some(0);
        let outcome = self
            .gic
            .set_interrupt_priority(intid, cpu, 0x80)
            .and_then(|()| self.gic.set_trigger(intid, cpu, trigger))
            .and_then(|()| self.gic.enable_interrupt(intid, cpu, true));
        if let Err(error) = outcome {
            log::error!("interrupt {number} cannot be enabled: {error}");
        }
    }
}

fn intid(number: u32) -> IntId {
    match number {
        0..16 => IntId::sgi(number),
        16..32 => IntId::ppi(number - 16),
        _ => IntId::spi(number - 32),
    }
}

/// Acknowledges one pending interrupt and ends it after `handle` ran. `false`: none was pending.
pub(crate) fn take(handle: impl FnOnce(u32)) -> bool {
    GicCpuInterface::handle_interrupt(InterruptGroup::Group1, |id| handle(u32::from(id)))
}

/// Sleeps until an interrupt is pending.
pub(crate) fn wait() {
    aarch64_cpu::asm::barrier::dsb(aarch64_cpu::asm::barrier::SY);
    aarch64_cpu::asm::wfi();
}

/// Critical sections need nothing: interrupts are always masked and there is one vCPU.
struct AlwaysCritical;
critical_section::set_impl!(AlwaysCritical);

// SAFETY: with one vCPU and interrupts masked for ever, all code already runs in a critical section.
unsafe impl critical_section::Impl for AlwaysCritical {
    unsafe fn acquire() {}
    unsafe fn release((): ()) {}
}
