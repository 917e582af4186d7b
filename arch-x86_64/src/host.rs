//! The machine, as common code sees it.

use core::sync::atomic::Ordering;

use arch_common::hw::shared::Shared;
use hv_common::arch::{Gfn, HostFacts, HostInterrupt, MachinePower, MessageInterrupt, Mfn, Words};
use hv_common::memory::frames::FrameRun;

use crate::clock::Clock;
use crate::cpuid;
use crate::hw::cpu::noted;
use crate::hw::frames::Frames;
use crate::hw::{console, cpu, identity, interrupts, power, timer, tlb};

/// ISA lines.
const LINES: u32 = 16;

/// The machine under us.
#[derive(Debug)]
pub struct X86Host {
    pub(crate) clock: Clock,
    pub(crate) facts: HostFacts,
    pub(crate) tsc_khz: u32,
    /// Bits of EFER that guests may set.
    pub(crate) efer_allowed: u64,
}

impl X86Host {
    /// What a saved guest depends on: the features that it was shown.
    pub(crate) fn requirements(&self) -> hv_abi::record::Platform {
        let mut features = [0; 16];
        let shown = cpuid::features(identity::cpuid);
        for (to, word) in features.iter_mut().zip(shown) {
            *to = word;
        }
        hv_abi::record::Platform {
            counter_hz: self.clock.hz(),
            features,
            ipa_bits: self.facts.ipa_bits,
            interrupt_controller_version: 0,
        }
    }
}

impl hv_common::arch::Host for X86Host {
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
        if !interrupts::are_noted() {
            interrupts::wait();
        }
    }

    fn take_interrupt(&self) -> Option<HostInterrupt> {
        if !interrupts::are_noted() {
            interrupts::take();
        }
        take_noted()
    }

    fn enable_device_interrupt(&self, number: u32, enabled: bool) {
        if number < LINES {
            interrupts::enable_line(number, enabled);
        }
    }

    fn message_interrupt(&self) -> Option<MessageInterrupt> {
        let (number, address, data) = interrupts::allocate_message()?;
        Some(MessageInterrupt {
            number,
            address,
            data,
        })
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

    /// Caches are coherent.
    fn publish(&self, _: Mfn, _: u64) {}

    fn invalidate_stage2(&self, root: Mfn, _: u16, _: Option<(Gfn, u64)>) {
        tlb::invalidate_stage2(root);
    }

    /// Stores are seen in order.
    fn publish_stage2(&self) {}

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

fn take_noted() -> Option<HostInterrupt> {
    let word = &cpu::this().noted;
    let bits = word.load(Ordering::Relaxed);
    let take = |bit: u32| {
        word.fetch_and(!bit, Ordering::Relaxed);
    };
    if bits & noted::TIMER != 0 {
        take(noted::TIMER);
        return Some(HostInterrupt::Timer);
    }
    if bits & noted::KICK != 0 {
        take(noted::KICK);
        return Some(HostInterrupt::Kick);
    }
    if bits & noted::DEVICE != 0 {
        return interrupts::take_device().map(HostInterrupt::Device);
    }
    None
}
