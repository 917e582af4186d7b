//! What a guest takes, and when.

use hv_common::arch::{Exit, Power};

use super::Vcpu;
use crate::host::X86Host;
use crate::hw::timer;
use crate::platform::{Platform, Requests};
use crate::vendor::{Control, Injection, Vendor};

/// What comes next.
#[derive(Clone, Copy)]
enum Next {
    Nmi,
    /// An upcall that does not pass the APIC.
    Upcall(u8),
    Request(u8),
}

/// A vCPU with an upcall vector of its own gets its upcalls through the APIC.
fn pass_upcall(requests: &Requests) {
    let vector = requests.upcall_vector();
    if vector != 0 && requests.has_upcall() && requests.take_upcall() {
        requests.request(vector);
    }
}

/// The machine's TSC at a guest's, which may be any number: one that the machine's does not reach is its last.
pub(super) fn machine_tsc(guest: u64, offset: u64) -> u64 {
    guest.saturating_add_signed(offset.wrapping_neg().cast_signed())
}

impl<V: Vendor> Vcpu<V> {
    /// Puts in what is requested, or sees to it that the guest exits when it would take it. An exit: an INIT was requested.
    #[inline(never)]
    pub(super) fn deliver(&mut self, host: &X86Host, platform: &Platform) -> Option<Exit> {
        let requests = platform.requests(self.index);
        if requests.take_init() {
            return Some(Exit::Power(Power::CpuOff));
        }
        self.look_at_timer(host, requests);
        self.take_priority();
        pass_upcall(requests);
        let Some(next) = self.next(requests, platform) else {
            self.watch(false);
            // The guest lowers its priority without an exit where hardware keeps it.
            self.is_asked = self.apic.task_priority() != 0 && requests.irr().highest().is_some();
            return None;
        };
        self.is_asked = false;
        let takes = match next {
            Next::Nmi => !self.control.is_injecting(),
            Next::Upcall(_) | Next::Request(_) => self.control.takes_interrupt(),
        };
        if takes {
            self.put_in(next, requests);
        }
        // Whatever is left comes after this.
        let more = self.next(requests, platform).is_some();
        self.watch(more);
        None
    }

    fn put_in(&mut self, next: Next, requests: &Requests) {
        self.counts.interrupts = self.counts.interrupts.wrapping_add(1);
        let event = match next {
            Next::Nmi => {
                requests.take_nmi();
                Injection::Nmi
            }
            Next::Upcall(vector) => {
                requests.take_upcall();
                Injection::Interrupt(vector)
            }
            Next::Request(vector) => {
                requests.accept(vector);
                self.apic.begin(vector);
                Injection::Interrupt(vector)
            }
        };
        self.control.inject(event);
    }

    fn next(&self, requests: &Requests, platform: &Platform) -> Option<Next> {
        if requests.has_nmi() {
            return Some(Next::Nmi);
        }
        if requests.has_upcall()
            && let Some(vector) = platform.callback_vector()
        {
            return Some(Next::Upcall(vector));
        }
        let vector = requests.irr().highest()?;
        self.apic.takes(vector).then_some(Next::Request(vector))
    }

    /// Takes what the guest wrote to CR8.
    pub(super) fn take_priority(&mut self) {
        if let Some(class) = self.control.task_priority() {
            self.apic.set_priority_class(class);
        }
    }

    #[inline]
    fn watch(&mut self, watch: bool) {
        if self.watches != watch {
            self.watches = watch;
            self.control.watch_window(watch);
        }
    }

    /// Whether it would go on from HLT.
    pub(super) fn would_take(&self, platform: &Platform) -> bool {
        let requests = platform.requests(self.index);
        pass_upcall(requests);
        if requests.has_nmi() || requests.has_init() {
            return true;
        }
        !self.control.masks_interrupts()
            && (self.control.is_injecting()
                || self.next(requests, platform).is_some()
                || self.is_timer_over())
    }

    /// Makes the machine's timer come when the guest's is over.
    pub(super) fn set_timer(&self, _: &X86Host) {
        let deadline = self.apic.deadline();
        timer::set_guest_deadline(deadline.map(|tsc| machine_tsc(tsc, self.tsc_offset)));
    }

    fn is_timer_over(&self) -> bool {
        let tsc = timer::now_ticks().wrapping_add(self.tsc_offset);
        self.apic.deadline().is_some_and(|deadline| deadline <= tsc)
    }

    /// Requests the timer's interrupt if its time has come.
    fn look_at_timer(&mut self, host: &X86Host, requests: &Requests) {
        if self.apic.deadline().is_none() || !self.is_timer_over() {
            return;
        }
        let now = self.now(host);
        if let Some(vector) = self.apic.expire(now) {
            requests.request(vector);
        }
        self.set_timer(host);
    }
}

#[cfg(test)]
mod tests {
    use super::machine_tsc;

    #[test]
    fn a_deadline_beyond_all_time_is_not_one_that_has_passed() {
        let behind = 1000_u64.wrapping_neg();
        assert_eq!(machine_tsc(50, behind), 1050);
        assert_eq!(machine_tsc(u64::MAX - 10, behind), u64::MAX);
        assert_eq!(machine_tsc(1500, 1000), 500);
        assert_eq!(machine_tsc(500, 1000), 0);
    }
}
