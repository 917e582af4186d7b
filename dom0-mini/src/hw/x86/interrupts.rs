//! Interrupts: events, taken by polling.
//!
//! Domain-0 has no interrupt controller here. Its interrupt flag stays clear for ever; it waits in `sched_op block`,
//! which returns as soon as an event is pending, and finds out which from its shared page. So there is no interrupt
//! context, and nothing to lock.

use super::counter;
use crate::events;
use crate::hw::hypercall::{call, call_with};
use crate::hw::shared_info;
use crate::lines::Line;
use core::sync::atomic::Ordering;
use hv_abi::control::host::{self, MessageInterrupt};
use hv_abi::start::Dom0Start;
use hv_abi::xen::event::virq;
use hv_abi::xen::sched::{self, Poll};
use hv_abi::{CallNumber, Errno};

/// What tells that events are pending.
pub(crate) struct Interrupts {
    upcall: Line,
}

impl Interrupts {
    /// The shared page is registered before.
    pub(crate) fn new(start: &Dom0Start) -> Self {
        Self {
            upcall: Line::Controller(start.event_interrupt),
        }
    }

    /// The timer's event.
    pub(crate) fn timer(&mut self, _: &Dom0Start) -> Line {
        Line::Event(events::bind(virq::TIMER).expect("a vCPU has a timer"))
    }

    /// What stands for all events.
    pub(crate) fn upcall(&mut self, _: &Dom0Start) -> Line {
        self.upcall
    }

    /// An ISA interrupt's event.
    ///
    /// # Errors
    /// The hypervisor's.
    pub(super) fn bind(&mut self, interrupt: u32) -> Result<Line, Errno> {
        let number = CallNumber::CONTROL_HOST;
        let port = call(number, host::BIND_IRQ, u64::from(interrupt), 0)?;
        let port = u32::try_from(port).map_err(|_| Errno::EIO)?;
        events::open(port);
        Ok(Line::Event(port))
    }

    /// An event for a device that writes messages.
    ///
    /// # Errors
    /// The hypervisor's.
    pub(super) fn bind_message(&mut self) -> Result<MessageInterrupt, Errno> {
        let mut message = MessageInterrupt::default();
        call_with(CallNumber::CONTROL_HOST, host::BIND_MSI, &mut message)?;
        events::open(message.port);
        Ok(message)
    }

    /// Takes the upcall, if the hypervisor has raised it. `false`: it has not.
    pub(crate) fn take(&mut self, handle: impl FnOnce(Line)) -> bool {
        let raised = shared_info::page()
            .is_some_and(|page| page.upcall_pending().swap(0, Ordering::SeqCst) != 0);
        if raised {
            handle(self.upcall);
        }
        raised
    }

    /// Sleeps until the line's interrupt comes, or that count, and takes it. It may be over sooner. Others stay pending,
    /// and from now on nobody else is told of this one: its port is polled for, which works while it is masked.
    pub(crate) fn wait_for(&mut self, line: Line, until_ticks: u64, _: impl FnMut(Line)) {
        let (Line::Event(port), Some(page)) = (line, shared_info::page()) else {
            return wait();
        };
        let mut poll = Poll {
            ports: core::ptr::from_ref(&port) as u64,
            count: 1,
            reserved: 0,
            timeout: counter::system_time_ns(until_ticks),
        };
        if let Err(error) = call_with(CallNumber::SCHED_OP, sched::POLL, &mut poll) {
            panic!("the hypervisor does not let us wait for a port: {error:?}");
        }
        page.take_for_poller(port);
    }
}

/// Sleeps until an event is pending.
pub(crate) fn wait() {
    if let Err(error) = call(CallNumber::SCHED_OP, sched::BLOCK, 0, 0) {
        panic!("the hypervisor does not let us wait: {error:?}");
    }
}
