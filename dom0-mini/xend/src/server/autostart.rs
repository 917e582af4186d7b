//! Managed domains that start with xend, those with `on_xend_start = "start"`: after the domains that run already are
//! taken over, in their order, each so long after the one before it as it wants.
//!
//! One that cannot be started is logged and holds nobody up.

use super::loads::Again;
use super::requests::managed::Begun;
use super::{SECOND_NS, Xend};
use crate::hypervisor::Hypervisor;
use crate::logbook::Level;
use alloc::collections::VecDeque;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use mgmt_proto::messages::Failure;

/// The domains that are still to be started.
#[derive(Debug, Default)]
pub(super) struct Autostart {
    /// Their names, and how long after the one before it each is started.
    waiting: VecDeque<(String, u64)>,
    /// When the last one was started.
    last_ns: u64,
}

impl Autostart {
    /// When the next one is to be started.
    pub(super) fn due_ns(&self) -> Option<u64> {
        let (_, delay_ns) = self.waiting.front()?;
        Some(self.last_ns.saturating_add(*delay_ns))
    }

    /// The next one, if it is to be started by now.
    fn next(&mut self, now_ns: u64) -> Option<String> {
        self.due_ns().filter(|due| *due <= now_ns)?;
        self.last_ns = now_ns;
        self.waiting.pop_front().map(|(name, _)| name)
    }

    /// A domain has another name.
    pub(super) fn rename(&mut self, from: &str, to: &str) {
        let same = self.waiting.iter_mut().filter(|(name, _)| name == from);
        same.for_each(|(name, _)| *name = to.into());
    }
}

impl<H: Hypervisor> Xend<H> {
    /// Lines up the domains that start with xend.
    pub(super) fn line_up(&mut self) {
        let all = self.managed.iter().filter_map(|(name, definition)| {
            let autostart = definition.config.as_ref().ok()?.autostart?;
            Some((autostart.order, name, autostart.delay_s))
        });
        let mut all: Vec<_> = all.collect();
        all.sort_unstable();
        let waiting = all.into_iter().map(|(_, name, delay_s)| {
            let delay_ns = u64::from(delay_s).saturating_mul(SECOND_NS);
            (String::from(name), delay_ns)
        });
        self.autostart = Autostart {
            waiting: waiting.collect(),
            last_ns: self.now.mono_ns,
        };
    }

    /// Starts the domains whose time has come.
    pub(super) fn start_next(&mut self) {
        while let Some(name) = self.autostart.next(self.now.mono_ns) {
            self.start_with_xend(name);
        }
    }

    /// Starts a domain, or has what it is built from read first.
    pub(super) fn start_with_xend(&mut self, name: String) {
        if !self.is_to_start(&name) {
            return;
        }
        match self.begin_start(&name, false) {
            Ok(Begun::Build(_)) => {}
            Ok(Begun::Lacks(blobs)) => self.load(blobs, Again::Autostart(name)),
            Err(failure) => self.did_not_start(&name, &failure),
        }
    }

    pub(super) fn did_not_start(&mut self, name: &str, failure: &Failure) {
        let line = format!("domain '{name}' is not started with xend: {failure}");
        self.log_at(Level::Error, &line);
    }

    /// Whether it is still defined, and does not run.
    fn is_to_start(&self, name: &str) -> bool {
        let definition = self.managed.get(name);
        definition.is_some_and(|definition| self.runs(name, &definition.record.uuid).is_none())
    }
}
