//! Interrupts, taken by polling.
//!
//! They stay masked at the CPU for ever: `WFI` wakes when one is pending whether it is masked or not (Arm ARM D1.6),
//! and [`Interrupts::take`] acknowledges it from the CPU interface, a GICv2's or a GICv3's as the start page says. So
//! there is no interrupt context, and nothing to lock.

pub(super) use arm_gic::Trigger;
use arm_gic::gicv2::GicV2;
use arm_gic::gicv3::registers::{Gicd, GicrSgi};
use arm_gic::gicv3::{GicCpuInterface, GicV3};
use arm_gic::{IntId, InterruptGroup, UniqueMmioPointer};
use core::fmt::Display;
use core::ptr::NonNull;

use super::counter;
use crate::lines::Line;
use hv_abi::start::{Dom0Start, Range};

/// The interrupt controller as Domain-0 sees it.
pub(crate) enum Interrupts {
    /// A GICv2, without security extension: all interrupts are in group 0.
    V2(GicV2<'static>),
    /// A GICv3.
    V3(GicV3<'static>),
}

impl Interrupts {
    /// Initialises distributor, redistributor and CPU interface. Call once.
    pub(crate) fn new(start: &Dom0Start) -> Self {
        let [distributor, second] = start.interrupt_controller;
        match start.interrupt_controller_version {
            2 => Self::V2(v2(distributor, second)),
            _ => Self::V3(v3(distributor, second)),
        }
    }

    /// The virtual timer's interrupt, enabled.
    pub(crate) fn timer(&mut self, start: &Dom0Start) -> Line {
        self.enable(start.timer_interrupt, Trigger::Level)
    }

    /// The interrupt of event channels, enabled.
    pub(crate) fn upcall(&mut self, start: &Dom0Start) -> Line {
        self.enable(start.event_interrupt, Trigger::Level)
    }

    /// Lets an interrupt through. `number` is an INTID.
    pub(super) fn enable(&mut self, number: u32, trigger: Trigger) -> Line {
        let intid = intid(number);
        match self {
            Self::V2(gic) => {
                gic.set_trigger(intid, trigger);
                complain(number, gic.enable_interrupt(intid, true));
            }
            Self::V3(gic) => {
                let cpu = intid.is_private().then_some(0);
                let outcome = gic
                    .set_interrupt_priority(intid, cpu, 0x80)
                    .and_then(|()| gic.set_trigger(intid, cpu, trigger))
                    .and_then(|()| gic.enable_interrupt(intid, cpu, true));
                complain(number, outcome);
            }
        }
        Line::Controller(number)
    }

    /// Acknowledges one pending interrupt and ends it after `handle` ran. `false`: none was pending.
    pub(crate) fn take(&mut self, handle: impl FnOnce(Line)) -> bool {
        let handle = |id: IntId| handle(Line::Controller(id.into()));
        match self {
            Self::V2(gic) => gic.handle_interrupt(InterruptGroup::Group0, handle),
            Self::V3(_) => GicCpuInterface::handle_interrupt(InterruptGroup::Group1, handle),
        }
    }

    /// Sleeps until the line's interrupt comes, or that count. It may be over sooner: anything that is pending ends it,
    /// and is taken and handed to `handle`.
    pub(crate) fn wait_for(&mut self, _: Line, until_ticks: u64, mut handle: impl FnMut(Line)) {
        counter::set_timer_at_latest(until_ticks);
        wait();
        while self.take(&mut handle) {}
    }
}

fn v2(distributor: Range, cpu_interface: Range) -> GicV2<'static> {
    // SAFETY: the start page names the registers, mapped as device memory, and only we use them.
    let mut gic = unsafe { GicV2::new(distributor.base as *mut _, cpu_interface.base as *mut _) };
    gic.setup();
    gic
}

fn v3(distributor: Range, redistributors: Range) -> GicV3<'static> {
    let distributor = NonNull::new(distributor.base as *mut Gicd).expect("a distributor address");
    let redistributors =
        NonNull::new(redistributors.base as *mut GicrSgi).expect("a redistributor address");
    // SAFETY: the start page names the distributor's registers, mapped as device memory, and only we use them.
    let distributor = unsafe { UniqueMmioPointer::new(distributor) };
    // SAFETY: the same for the redistributors; Domain-0 has one vCPU.
    let gic = unsafe { GicV3::new(distributor, redistributors, 1) };
    let mut gic = gic.expect("a GICv3 redistributor");
    gic.setup(0);
    GicCpuInterface::set_priority_mask(0xFF);
    gic
}

fn complain(number: u32, outcome: Result<(), impl Display>) {
    if let Err(error) = outcome {
        log::error!("interrupt {number} cannot be enabled: {error}");
    }
}

fn intid(number: u32) -> IntId {
    match number {
        0..16 => IntId::sgi(number),
        16..32 => IntId::ppi(number - 16),
        _ => IntId::spi(number - 32),
    }
}

/// Sleeps until an interrupt is pending.
pub(crate) fn wait() {
    aarch64_cpu::asm::barrier::dsb(aarch64_cpu::asm::barrier::SY);
    aarch64_cpu::asm::wfi();
}
