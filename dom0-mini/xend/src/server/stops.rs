//! What follows when a guest stops by itself: what its policy says, at once or later.

use super::{SECOND_NS, Xend};
use crate::build::job::Build;
use crate::build::layout::lay_out;
use crate::domain::{After, Domain, Goal, Key};
use crate::hypervisor::Hypervisor;
use crate::job::Job;
use crate::lifecycle::{Happening, State};
use crate::policy::{Decision, Stop};
use alloc::format;
use alloc::rc::Rc;
use alloc::string::String;
use mgmt_proto::config::Action;
use mgmt_proto::messages::{EventKind, Reply};

impl<H: Hypervisor> Xend<H> {
    /// A guest stopped: does what its policy says.
    pub(super) fn stopped(&mut self, key: Key, stop: Stop) {
        let Some(domain) = self.table.get_mut(key) else {
            return;
        };
        domain.holder = None;
        let policies = domain.plan.config.policies;
        let uptime = self.now.mono_ns.saturating_sub(domain.started_ns);
        let decision = domain.brake.decide(stop, &policies, uptime);
        let kind = match stop {
            Stop::PowerOff => EventKind::SHUTDOWN,
            Stop::Reboot => EventKind::REBOOTED,
            Stop::Crash | Stop::Watchdog => EventKind::CRASHED,
        };
        let detail = match decision {
            Decision::Do(action) => format!("its policy: {}", action.name()),
            Decision::Later(action, delay_ns) => format!(
                "its policy: {}, in {} s",
                action.name(),
                delay_ns / SECOND_NS
            ),
            Decision::GiveUp => "three times within 10 s of its start: not restarted".into(),
        };
        self.note(key, kind, Some(detail));
        self.serve_rings(key);
        let (action, at_ns) = match decision {
            Decision::Do(action) => (action, None),
            Decision::Later(action, delay_ns) => {
                (action, Some(self.now.mono_ns.saturating_add(delay_ns)))
            }
            Decision::GiveUp => (Action::Destroy, None),
        };
        match action {
            Action::Preserve => self.preserve(key),
            Action::RenameRestart => self.rename_and_restart(key, at_ns),
            Action::Restart => {
                let after = at_ns.map_or(After::Rebuild, After::RebuildAt);
                self.take_apart_stopped(key, after);
            }
            Action::Destroy => self.take_apart_stopped(key, After::Remove(None)),
        }
    }

    fn take_apart_stopped(&mut self, key: Key, after: After) {
        if self.happen(key, Happening::StoppedGone) {
            self.take_apart(key, after);
        }
    }

    fn preserve(&mut self, key: Key) {
        if self.happen(key, Happening::StoppedKept) {
            self.answer_waiters(key, |_, goal| {
                matches!(goal, Goal::Stopped).then_some(Ok(Reply::Done))
            });
        }
    }

    /// Keeps a domain under another name, and builds a new one like it, perhaps later.
    fn rename_and_restart(&mut self, key: Key, at_ns: Option<u64>) {
        let Some(domain) = self.table.get(key) else {
            return;
        };
        let (name, plan) = (domain.name.clone(), Rc::clone(&domain.plan));
        let (guest_memory, brake) = (domain.memory_kib, domain.brake);
        self.preserve(key);
        let kept = self.free_name(&name);
        self.rename(key, &kept);
        let layout = match lay_out(self.architecture(), &plan) {
            Ok(layout) if self.table.admits(&name, None).is_ok() => layout,
            _ => return self.log_line(&format!("'{name}' could not be built again")),
        };
        let uuid = self.random_uuid();
        let state = at_ns.map_or(State::Building, |_| State::Waiting);
        let domain = Domain {
            brake,
            restart_ns: at_ns,
            ..self.new_domain(name, uuid, guest_memory, plan, state)
        };
        let key = self.table.add(domain);
        if at_ns.is_none() {
            self.begin_job(key, Job::Build(Build::new(layout)));
        }
    }

    /// A name like this one that no domain has.
    fn free_name(&self, name: &str) -> String {
        let taken = |candidate: &String| {
            self.table
                .iter()
                .any(|(_, domain)| domain.name == *candidate)
                || self.managed.get(candidate).is_some()
        };
        let end = (0..=name.len().min(56))
            .rev()
            .find(|end| name.is_char_boundary(*end))
            .unwrap_or(0);
        let stem = name.get(..end).unwrap_or_default();
        (1..=u32::MAX)
            .map(|number| format!("{stem}-{number}"))
            .find(|candidate| !taken(candidate))
            .unwrap_or_default()
    }

    /// A domain that crashed is gone, and is built again when its time has come.
    pub(super) fn back_off(&mut self, key: Key, at_ns: u64) {
        if !self.happen(key, Happening::BackedOff) {
            return;
        }
        if let Some(domain) = self.table.get_mut(key) {
            domain.restart_ns = Some(at_ns);
        }
        self.answer_waiters(key, |_, goal| {
            matches!(goal, Goal::Stopped).then_some(Ok(Reply::Done))
        });
    }

    /// Builds the domains again that have waited long enough.
    pub(super) fn restart_due(&mut self) {
        let now_ns = self.now.mono_ns;
        for key in self.table.keys() {
            if let Some(domain) = self.table.get_mut(key)
                && domain.restart_ns.is_some_and(|at| at <= now_ns)
            {
                domain.restart_ns = None;
                domain.after = After::Rebuild;
                self.rebuild(key);
            }
        }
    }

    pub(super) fn restart_deadline(&self) -> Option<u64> {
        let domains = self.table.iter();
        domains.filter_map(|(_, domain)| domain.restart_ns).min()
    }
}
