//! The machine, as common code sees it.

use core::sync::atomic::Ordering;

use arch_common::hw::shared::Shared;
use hv_common::arch::{Gfn, HostFacts, HostInterrupt, MachinePower, Mfn, Words};
use hv_common::memory::frames::FrameRun;

use crate::clock::Clock;
use crate::features::Features;
use crate::hw::frames::Frames;
use crate::hw::{console, cpu, fault, frames, interrupts, power, timer, tlb};
use crate::platform::Controller;

/// INTID of the EL1 virtual timer, here and in guests.
pub(crate) const VIRTUAL_TIMER: u32 = hv_abi::layout::arm::VIRTUAL_TIMER_INTID;
/// INTID of the EL1 physical timer, here and in guests.
pub(crate) const PHYSICAL_TIMER: u32 = hv_abi::layout::arm::PHYSICAL_TIMER_INTID;

/// The machine under us.
#[derive(Debug)]
pub struct ArmHost {
    pub(crate) clock: Clock,
    pub(crate) facts: HostFacts,
    pub(crate) features: Features,
    pub(crate) controller: Controller,
    /// INTID of the hypervisor's timer.
    pub(crate) host_timer: u32,
    /// INTID of the maintenance interrupt.
    pub(crate) maintenance: u32,
    /// List registers.
    pub(crate) lists: usize,
    /// Redistributors there are.
    pub(crate) redistributors: usize,
    /// Guests have PSTATE.PAN.
    pub(crate) has_pan: bool,
}

/// Events of the loaded vCPU that came while the host ran.
pub(crate) mod event {
    /// The virtual timer fired; its interrupt is active.
    pub(crate) const VIRTUAL_TIMER: u32 = 1;
    /// The physical timer fired; its interrupt is active.
    pub(crate) const PHYSICAL_TIMER: u32 = 2;
    /// The maintenance interrupt came; it is active.
    pub(crate) const MAINTENANCE: u32 = 4;
}

impl ArmHost {
    pub(crate) fn requirements(&self) -> hv_abi::record::Platform {
        hv_abi::record::Platform {
            counter_hz: self.clock.hz(),
            ipa_bits: self.facts.ipa_bits,
            interrupt_controller_version: self.facts.interrupt_controller_version,
            ..self.features.record()
        }
    }

    /// The event that an interrupt is for the loaded vCPU, if it is one.
    fn event_of(&self, number: u32) -> Option<u32> {
        match number {
            VIRTUAL_TIMER => Some(event::VIRTUAL_TIMER),
            PHYSICAL_TIMER => Some(event::PHYSICAL_TIMER),
            number if number == self.maintenance => Some(event::MAINTENANCE),
            _ => None,
        }
    }

    /// Sorts an acknowledged interrupt; `None`: nothing for common code.
    fn sort(&self, number: u32) -> Option<HostInterrupt> {
        if number == self.host_timer {
            timer::set_host_deadline(None);
            finish(number);
            return Some(HostInterrupt::Timer);
        }
        if let Some(event) = self.event_of(number) {
            interrupts::drop_priority(number);
            cpu::this().events.fetch_or(event, Ordering::Relaxed);
            return None;
        }
        if number == interrupts::KICK {
            finish(number);
            return Some(HostInterrupt::Kick);
        }
        if number == interrupts::STOP {
            finish(number);
            arch_common::report::stop::<fault::Here>();
        }
        if number < 32 {
            finish(number);
            return None;
        }
        interrupts::drop_priority(number);
        Some(HostInterrupt::Device(number))
    }
}

fn finish(number: u32) {
    interrupts::drop_priority(number);
    interrupts::deactivate(number);
}

impl hv_common::arch::Host for ArmHost {
    type Shared<T: Send + Sync + 'static> = Shared<T>;

    fn share<T: Send + Sync + 'static>(&self, run: FrameRun, value: T) -> Shared<T> {
        Shared::new(run, value)
    }

    fn unshare<T: Send + Sync + 'static>(&self, shared: Shared<T>) -> Result<FrameRun, Shared<T>> {
        shared.end()
    }

    #[inline]
    fn now_ns(&self) -> u64 {
        self.clock.ns_at(timer::now_ticks())
    }

    fn counter_hz(&self) -> u64 {
        self.clock.hz()
    }

    #[inline(always)]
    fn cpu(&self) -> usize {
        cpu::this().number
    }

    fn set_deadline(&self, at_ns: Option<u64>) {
        timer::set_host_deadline(at_ns.map(|ns| self.clock.ticks_at(ns)));
    }

    fn kick(&self, cpu: usize) {
        if let Some(cpu) = cpu::CPUS.online(cpu) {
            interrupts::send(interrupts::KICK, cpu);
        }
    }

    fn idle(&self) {
        timer::wait_for_interrupt();
    }

    fn take_interrupt(&self) -> Option<HostInterrupt> {
        loop {
            let earlier = cpu::this().acknowledged.swap(0, Ordering::Relaxed);
            let number = if earlier != 0 {
                earlier - 1
            } else {
                interrupts::acknowledge()?
            };
            if let Some(interrupt) = self.sort(number) {
                return Some(interrupt);
            }
        }
    }

    fn enable_device_interrupt(&self, number: u32, enabled: bool) {
        if number >= 32 {
            interrupts::enable(number, enabled);
        }
    }

    #[inline]
    fn words(&self, frame: Mfn) -> &Words {
        Frames::words(frame)
    }

    #[inline]
    fn read(&self, frame: Mfn, offset: usize, out: &mut [u8]) {
        Frames::read(frame, offset, out);
    }

    #[inline]
    fn write(&self, frame: Mfn, offset: usize, bytes: &[u8]) {
        Frames::write(frame, offset, bytes);
    }

    fn copy(&self, from: (Mfn, usize), to: (Mfn, usize), length: usize) {
        Frames::copy(from, to, length);
    }

    fn clear(&self, frame: Mfn) {
        Frames::clear(frame);
    }

    fn publish(&self, frame: Mfn, count: u64) {
        frames::publish(frame, count);
    }

    fn clear_and_publish(&self, frame: Mfn) {
        frames::clear_and_publish(frame);
    }

    fn invalidate_stage2(&self, root: Mfn, vmid: u16, range: Option<(Gfn, u64)>) {
        tlb::invalidate_stage2(root, vmid, range);
    }

    fn publish_stage2(&self) {
        tlb::publish_stage2();
    }

    fn console(&self, text: &[u8]) {
        console::write(text);
    }

    fn power(&self, action: MachinePower) -> ! {
        match action {
            MachinePower::Off => power::off(),
            MachinePower::Reset => power::restart(),
        }
    }

    fn facts(&self) -> HostFacts {
        self.facts
    }
}
