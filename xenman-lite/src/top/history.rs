// SPDX-License-Identifier: MIT OR Apache-2.0
//! Shares over time, of the host and of each domain.

use super::{
    figures::{Figures, share},
    model::Uuid,
};
use std::collections::{HashMap, VecDeque};

/// Samples that a history holds.
pub(super) const HISTORY: usize = 240;

/// Shares in percent, the newest last.
pub(super) type History = VecDeque<f64>;

/// The histories of all domains that exist.
#[derive(Debug, Default)]
pub(super) struct Histories {
    domains: HashMap<Uuid, [History; 2]>,
}

impl Histories {
    /// Adds the newest figures; a domain that is gone takes its histories with it.
    pub(super) fn add(&mut self, figures: &Figures) {
        let is_there = |uuid: &Uuid| {
            let mut domains = figures.domains.iter();
            domains.any(|domain| domain.summary().uuid == *uuid)
        };
        self.domains.retain(|uuid, _| is_there(uuid));
        for domain in &figures.domains {
            let [cpu, memory] = self.domains.entry(domain.summary().uuid).or_default();
            push(cpu, domain.cpu_percent);
            let part = share(domain.summary().memory_kib, figures.host.total_kib);
            push(memory, Some(part));
        }
    }

    /// Of one CPU.
    pub(super) fn cpu(&self, uuid: &Uuid) -> Option<&History> {
        self.domains.get(uuid).map(|[cpu, _]| cpu)
    }

    /// Of the host's memory.
    pub(super) fn memory(&self, uuid: &Uuid) -> Option<&History> {
        self.domains.get(uuid).map(|[_, memory]| memory)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.domains.len()
    }
}

pub(super) fn push(history: &mut History, value: Option<f64>) {
    if history.len() >= HISTORY {
        history.pop_front();
    }
    history.extend(value);
}
