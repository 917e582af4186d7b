//! xend's end of a domain's PV devices: the console's ring and port, xenstore's port.
//!
//! While a domain has a [`Backend`], Domain-0 has two grants of it mapped and two ports bound to it, and xenstore knows
//! it. [`attach`] does all of that or nothing, [`Backend::detach`] undoes it.

use crate::console::Console;
use crate::hypervisor::{Answer, Hypervisor, LocalPort};
use crate::nodes;
use crate::xenstore::Xenstore;
use alloc::boxed::Box;
use alloc::string::String;
use hv_abi::xen::grant::{CONSOLE_REFERENCE, XENSTORE_REFERENCE};
use hv_abi::{DomId, Errno};

/// The guest's ports that wait for us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GuestPorts {
    pub(crate) console: u32,
    pub(crate) xenstore: u32,
}

/// What Domain-0 holds of a domain.
pub(crate) struct Backend<P> {
    domid: DomId,
    /// Its machine's node in xenstore.
    machine: String,
    console_page: P,
    console_port: LocalPort,
    xenstore_port: LocalPort,
}

/// Maps the rings, binds the ports and introduces the domain to xenstore.
pub(crate) fn attach<H: Hypervisor>(
    hypervisor: &mut H,
    xenstore: &mut Xenstore,
    domid: DomId,
    guest_domid: u16,
    uuid: &[u8; 16],
    ports: GuestPorts,
) -> Answer<Backend<H::Page>> {
    let console_page = hypervisor.map_grant(domid, CONSOLE_REFERENCE)?;
    let xenstore_page = hypervisor.map_grant(domid, XENSTORE_REFERENCE)?;
    let console_port = hypervisor.bind_interdomain(domid, ports.console)?;
    let xenstore_port = match hypervisor.bind_interdomain(domid, ports.xenstore) {
        Ok(port) => port,
        Err(errno) => {
            close(hypervisor, console_port);
            return Err(errno);
        }
    };
    let backend = Backend {
        domid,
        machine: nodes::machine(uuid),
        console_page,
        console_port,
        xenstore_port,
    };
    match xenstore.introduce(domid.0, guest_domid, Box::new(xenstore_page)) {
        Ok(()) => Ok(backend),
        Err(_) => {
            backend.detach(hypervisor, xenstore);
            Err(Errno::EEXIST)
        }
    }
}

impl<P: crate::ring::SharedPage> Backend<P> {
    /// Whether a pending port of ours is one of this domain's: its console's.
    pub(crate) fn is_console(&self, port: u32) -> bool {
        self.console_port.0 == port
    }

    /// Whether a pending port of ours is one of this domain's: xenstore's.
    pub(crate) fn is_xenstore(&self, port: u32) -> bool {
        self.xenstore_port.0 == port
    }

    /// Moves console output and input; `true` if there was output.
    pub(crate) fn serve_console<H: Hypervisor>(
        &self,
        hypervisor: &mut H,
        console: &mut Console,
    ) -> bool {
        let serviced = console.service(&self.console_page);
        if serviced.notify {
            notify(hypervisor, self.console_port);
        }
        serviced.output > 0
    }

    /// Tells the guest that there is something for it in xenstore's ring.
    pub(crate) fn notify_xenstore<H: Hypervisor>(&self, hypervisor: &mut H) {
        notify(hypervisor, self.xenstore_port);
    }

    /// Gives everything back.
    pub(crate) fn detach<H: Hypervisor>(self, hypervisor: &mut H, xenstore: &mut Xenstore) {
        xenstore.release(self.domid.0);
        if let Err(errno) = nodes::remove(xenstore, &self.machine) {
            log::error!("{} stays in xenstore: {errno:?}", self.machine);
        }
        close(hypervisor, self.console_port);
        close(hypervisor, self.xenstore_port);
    }
}

/// A peer that cannot be notified is on its way out: nobody is there to be told.
fn notify<H: Hypervisor>(hypervisor: &mut H, port: LocalPort) {
    if let Err(errno) = hypervisor.send(port) {
        log::debug!("port {} could not be notified: {errno:?}", port.0);
    }
}

/// Tries twice: a port that stays open is a leak.
fn close<H: Hypervisor>(hypervisor: &mut H, port: LocalPort) {
    if hypervisor.close(port).is_err()
        && let Err(errno) = hypervisor.close(port)
    {
        log::error!("port {} could not be closed: {errno:?}", port.0);
    }
}
