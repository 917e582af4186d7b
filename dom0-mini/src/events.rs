//! Event channels: which ports are pending, read from our `shared_info` page (2-level ABI, one vCPU).

use crate::hw::hypercall::call_with;
use crate::hw::shared_info;
use hv_abi::xen::event::{self, BindVirq, virq};
use hv_abi::{CallNumber, Errno};

/// The ports of the virtual interrupts that Domain-0 listens to.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Virqs {
    /// A domain changed its state.
    pub(crate) domains_changed: u32,
    /// The hypervisor's log grew.
    pub(crate) log_grew: u32,
}

/// Registers the shared page and binds the virtual interrupts.
///
/// # Errors
/// The hypervisor's.
pub(crate) fn start() -> Result<Virqs, Errno> {
    shared_info::register()?;
    Ok(Virqs {
        domains_changed: bind(virq::DOM_EXC)?,
        log_grew: bind(virq::CON_RING)?,
    })
}

/// Binds a virtual interrupt to a port and lets its events through.
///
/// # Errors
/// The hypervisor's.
pub(crate) fn bind(number: u32) -> Result<u32, Errno> {
    let mut argument = BindVirq {
        virq: number,
        vcpu: 0,
        port: 0,
    };
    call_with(
        CallNumber::EVENT_CHANNEL_OP,
        event::BIND_VIRQ,
        &mut argument,
    )?;
    open(argument.port);
    Ok(argument.port)
}

/// Lets a port's events through.
pub(crate) fn open(port: u32) {
    let waiting = shared_info::page().is_some_and(|page| page.unmask(port));
    if waiting {
        crate::server::upcall();
    }
}

/// Takes every pending port, once, and hands it to `handle`.
pub(crate) fn take(mut handle: impl FnMut(u32)) {
    if let Some(page) = shared_info::page() {
        page.take_pending(&mut handle);
    }
}
