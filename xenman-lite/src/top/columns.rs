// SPDX-License-Identifier: MIT OR Apache-2.0
//! The columns that the table of domains can be sorted by.

use super::figures::DomainFigures;
use std::cmp::Ordering;

/// A column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Column {
    Name,
    Domid,
    State,
    Cpu,
    Memory,
    Vcpus,
    Exits,
    Uptime,
}

const ALL: [Column; 8] = [
    Column::Name,
    Column::Domid,
    Column::State,
    Column::Cpu,
    Column::Memory,
    Column::Vcpus,
    Column::Exits,
    Column::Uptime,
];

impl Column {
    /// The next one, the first after the last.
    pub(super) fn after(self) -> Self {
        self.step(1)
    }

    /// The one before, the last before the first.
    pub(super) fn before(self) -> Self {
        self.step(ALL.len() - 1)
    }

    fn step(self, by: usize) -> Self {
        let place = ALL.iter().position(|column| *column == self);
        let next = (place.unwrap_or(0) + by) % ALL.len();
        ALL.get(next).copied().unwrap_or(self)
    }

    /// Whether the largest comes first.
    pub(super) fn is_falling(self) -> bool {
        matches!(
            self,
            Self::Cpu | Self::Memory | Self::Vcpus | Self::Exits | Self::Uptime
        )
    }

    /// Which of two domains comes first; the number decides among equals.
    pub(super) fn order(self, a: &DomainFigures, b: &DomainFigures) -> Ordering {
        let rising = self.compare(a, b);
        let order = if self.is_falling() {
            rising.reverse()
        } else {
            rising
        };
        order.then(a.summary().domid.cmp(&b.summary().domid))
    }

    fn compare(self, a: &DomainFigures, b: &DomainFigures) -> Ordering {
        let (first, second) = (a.summary(), b.summary());
        let rates =
            |a: Option<f64>, b: Option<f64>| a.unwrap_or(-1.0).total_cmp(&b.unwrap_or(-1.0));
        match self {
            Self::Name => first.name.to_lowercase().cmp(&second.name.to_lowercase()),
            Self::Domid => first.domid.cmp(&second.domid),
            Self::State => a.doing().cmp(b.doing()),
            Self::Cpu => rates(a.cpu_percent, b.cpu_percent),
            Self::Memory => first.memory_kib.cmp(&second.memory_kib),
            Self::Vcpus => first.vcpus.cmp(&second.vcpus),
            Self::Exits => rates(a.exits_per_s, b.exits_per_s),
            Self::Uptime => first.age_ns.cmp(&second.age_ns),
        }
    }
}
