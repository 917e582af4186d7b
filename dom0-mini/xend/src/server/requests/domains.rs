//! Requests about one domain: pause, shut down, destroy, console.

use super::Outcome;
use crate::domain::{After, Goal, Key, Waiter};
use crate::hypervisor::Hypervisor;
use crate::lifecycle::{Ask, State, Verdict, verdict};
use crate::nodes;
use crate::policy::Stop;
use crate::refusal::{not_now, refused};
use crate::server::Xend;
use crate::server::waits::What;
use crate::session::Ticket;
use alloc::format;
use hv_abi::DomId;
use mgmt_proto::messages::{
    ConsoleRead, ConsoleWrite, DomainKind, DomainRef, ErrorCode, EventKind, Failure,
    MAX_CONSOLE_WRITE, MAX_WAIT_MS, Reply, Written,
};

/// Bytes of a console in one answer.
const CONSOLE: u32 = 16 * 1024;

/// What to do about a request that may be done.
pub(super) enum Go {
    /// Do it; the domain is to be in this state then.
    On(State),
    /// It is done.
    Already,
    /// It is under way.
    Join,
}

impl<H: Hypervisor> Xend<H> {
    /// Finds a domain and asks the table of lifecycles.
    pub(super) fn may(&self, wanted: &DomainRef, ask: Ask) -> Result<(Key, DomId, Go), Failure> {
        let key = self.find(wanted)?;
        let Some(domain) = self.table.get(key) else {
            return Err(Failure::new(
                ErrorCode::INTERNAL,
                "a domain without an entry",
            ));
        };
        let domid = domain.domid.unwrap_or(DomId::ZERO);
        let no = |code| Err(not_now(domain, code));
        match verdict(domain.state, ask) {
            Verdict::Go(next) => Ok((key, domid, Go::On(next))),
            Verdict::Already => Ok((key, domid, Go::Already)),
            Verdict::Join => Ok((key, domid, Go::Join)),
            Verdict::Busy => no(ErrorCode::BUSY),
            Verdict::Wrong => no(ErrorCode::WRONG_STATE),
        }
    }

    /// The domain a client means; one that is defined and does not run is not unknown.
    pub(super) fn find(&self, wanted: &DomainRef) -> Result<Key, Failure> {
        let found = self.table.find(wanted);
        match wanted {
            DomainRef::Name(name) if found.is_err() && self.managed.get(name).is_some() => {
                let sentence = format!("domain '{name}' is not running");
                Err(Failure::new(ErrorCode::WRONG_STATE, sentence)
                    .with_remedy(format!("'xenman start {name}' starts it")))
            }
            _ => found,
        }
    }

    pub(super) fn set_state(&mut self, key: Key, state: State) {
        if let Some(domain) = self.table.get_mut(key) {
            domain.state = state;
        }
    }

    pub(super) fn pause(&mut self, wanted: &DomainRef) -> Result<Reply, Failure> {
        let (key, domid, go) = self.may(wanted, Ask::Pause)?;
        if let Go::On(next) = go {
            self.hypervisor
                .pause(domid)
                .map_err(|errno| refused("pause the domain", errno))?;
            self.set_state(key, next);
            self.note(key, EventKind::PAUSED, None);
        }
        Ok(Reply::Done)
    }

    pub(super) fn unpause(&mut self, wanted: &DomainRef) -> Result<Reply, Failure> {
        let (key, domid, go) = self.may(wanted, Ask::Unpause)?;
        if let Go::On(next) = go {
            self.hypervisor
                .unpause(domid)
                .map_err(|errno| refused("unpause the domain", errno))?;
            self.set_state(key, next);
            self.note(key, EventKind::UNPAUSED, None);
        }
        Ok(Reply::Done)
    }

    /// Asks the guest to shut down or reboot, through xenstore.
    pub(super) fn shutdown(
        &mut self,
        ticket: Ticket,
        wanted: &DomainRef,
        wait_ms: u32,
        request: &str,
    ) -> Outcome {
        let asked = self.ask_guest(wanted, request);
        let key = match asked {
            Ok(key) => key,
            Err(failure) => return Some(Err(failure)),
        };
        self.hold(key, ticket.session);
        if wait_ms == 0 {
            return Some(Ok(Reply::Done));
        }
        let wait_ns = u64::from(wait_ms.min(MAX_WAIT_MS)).saturating_mul(1_000_000);
        self.wait_for(
            key,
            ticket,
            Goal::Stopped,
            Some(self.now.mono_ns.saturating_add(wait_ns)),
        );
        None
    }

    fn ask_guest(&mut self, wanted: &DomainRef, request: &str) -> Result<Key, Failure> {
        let (key, domid, go) = self.may(wanted, Ask::Shutdown)?;
        let kind = self.table.get(key).map(|domain| domain.plan.config.kind);
        if kind == Some(DomainKind::HVM) {
            return self.press_a_button(key, domid, request);
        }
        let feature = nodes::shutdown_feature(domid.0, request);
        if self.xenstore.read_text(&feature) != Some("1") {
            let sentence = "the guest does not listen to shutdown requests (it has not booted far enough, or cannot)";
            return Err(Failure::new(ErrorCode::GUEST, sentence).with_remedy(
                "wait until it has booted, shut it down from its console, or destroy it",
            ));
        }
        let path = nodes::shutdown_request(domid.0);
        if self.xenstore.write(&path, request.as_bytes()).is_err() {
            return Err(Failure::new(
                ErrorCode::INTERNAL,
                "xenstore did not take the request",
            ));
        }
        if let Go::On(next) = go {
            self.set_state(key, next);
        }
        self.log_line(&format!("domain {} is asked: {request}", domid.0));
        Ok(key)
    }

    /// A guest that knows nothing of Xen cannot be asked. It has a reset button, and no power button.
    fn press_a_button(&mut self, key: Key, domid: DomId, request: &str) -> Result<Key, Failure> {
        if request != nodes::REBOOT {
            let sentence = "a domain of type hvm cannot be asked to shut down";
            return Err(Failure::new(ErrorCode::GUEST, sentence)
                .with_remedy("shut it down from its console, or destroy it"));
        }
        self.log_line(&format!("domain {} is reset", domid.0));
        self.stopped(key, Stop::Reboot);
        Ok(key)
    }

    pub(super) fn wait_for(
        &mut self,
        key: Key,
        ticket: Ticket,
        goal: Goal,
        deadline_ns: Option<u64>,
    ) {
        if let Some(domain) = self.table.get_mut(key) {
            domain.waiters.push(Waiter {
                ticket,
                goal,
                deadline_ns,
            });
        }
    }

    pub(super) fn destroy(&mut self, ticket: Ticket, wanted: &DomainRef) -> Outcome {
        let (key, _, go) = match self.may(wanted, Ask::Destroy) {
            Ok(found) => found,
            Err(failure) => return Some(Err(failure)),
        };
        self.wait_for(key, ticket, Goal::Gone, None);
        match go {
            Go::On(next) => {
                self.hold(key, ticket.session);
                self.destroy_now(key, next, None);
            }
            // It may be on its way to be built again: not any more.
            Go::Join | Go::Already => {
                if let Some(domain) = self.table.get_mut(key)
                    && matches!(domain.after, After::Rebuild | After::RebuildAt(_))
                {
                    domain.after = After::Remove(None);
                }
            }
        }
        None
    }

    /// Takes a domain apart whatever it is doing; what a job made is taken apart with it.
    pub(in crate::server) fn destroy_now(&mut self, key: Key, next: State, why: Option<Failure>) {
        self.note(key, EventKind::DESTROYED, None);
        if let Some(domain) = self.table.get_mut(key) {
            domain.state = next;
            domain.job = None;
            domain.restart_ns = None;
        }
        self.take_apart(key, After::Remove(why));
    }

    pub(super) fn console_read(&mut self, ticket: Ticket, read: &ConsoleRead) -> Outcome {
        let found = self.find(&read.domain);
        let grave = match &read.domain {
            DomainRef::Name(name) => self.table.grave(name),
            DomainRef::Id(_) => None,
        };
        let key = match (found, grave) {
            (Ok(key), _) | (Err(_), Some(key)) => key,
            (Err(failure), None) => return Some(Err(failure)),
        };
        let max = usize::try_from(read.max.clamp(1, CONSOLE)).unwrap_or(1);
        let cursor = read.cursor.unwrap_or(0);
        self.follow(ticket, What::Console { key, cursor, max }, read.wait_ms)
    }

    pub(super) fn console_write(&mut self, write: &ConsoleWrite) -> Result<Reply, Failure> {
        let (key, _, _) = self.may(&write.domain, Ask::Type)?;
        if write.bytes.len() > MAX_CONSOLE_WRITE {
            let sentence = format!("at most {MAX_CONSOLE_WRITE} bytes can be typed at once");
            return Err(Failure::new(ErrorCode::TOO_LARGE, sentence));
        }
        let Some(domain) = self.table.get_mut(key) else {
            return Err(Failure::new(
                ErrorCode::INTERNAL,
                "a domain without an entry",
            ));
        };
        let taken = domain.console.queue_input(&write.bytes);
        domain.serve_console(&mut self.hypervisor, self.now.mono_ns, false);
        Ok(Reply::Written(Written {
            count: u32::try_from(taken).unwrap_or(0),
        }))
    }
}
