//! 32 interrupts.

use hv_abi::record::arm::InterruptBank;

/// State of 32 interrupts, a bit or a byte each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bank {
    pub(super) group: u32,
    pub(super) enabled: u32,
    /// Latched by an edge, a write or a call.
    pub(super) pending: u32,
    pub(super) active: u32,
    /// Inputs that are high.
    pub(super) level: u32,
    /// Edge-triggered.
    pub(super) edge: u32,
    /// The physical interrupt of the same number is active on our behalf.
    pub(super) linked: u32,
    /// In a list register.
    pub(super) listed: u32,
    /// Pending in its list register only because its input was high then.
    pub(super) sampled: u32,
    pub(super) priority: [u8; 32],
}

/// SGIs are edge-triggered.
const SGIS: u32 = 0xFFFF;
/// Priority bits there are: 32 levels.
pub(super) const PRIORITY_MASK: u8 = 0xF8;

impl Bank {
    /// SGIs and PPIs at reset, in these groups.
    pub(super) const fn private(group: u32) -> Self {
        Self::reset(group, SGIS, SGIS)
    }

    /// SPIs at reset, in these groups.
    pub(super) const fn shared(group: u32) -> Self {
        Self::reset(group, 0, 0)
    }

    const fn reset(group: u32, enabled: u32, edge: u32) -> Self {
        Self {
            group,
            enabled,
            pending: 0,
            active: 0,
            level: 0,
            edge,
            linked: 0,
            listed: 0,
            sampled: 0,
            priority: [0; 32],
        }
    }

    /// What ISPENDR shows.
    #[inline]
    pub(super) const fn shown_pending(&self) -> u32 {
        self.pending | self.level & !self.edge
    }

    #[inline]
    pub(super) fn priority_of(&self, bit: u32) -> u8 {
        self.priority.get(bit as usize).copied().unwrap_or(0)
    }

    /// As a record. Nothing is listed.
    pub(super) fn save(&self) -> InterruptBank {
        InterruptBank {
            group: self.group,
            enabled: self.enabled,
            pending: self.pending,
            active: self.active,
            level: self.level,
            edge: self.edge,
            priority: self.priority,
        }
    }

    /// From a record: any bits are a state that writes could have made, except priority bits that do not exist.
    pub(super) fn restore(record: &InterruptBank) -> Self {
        Self {
            group: record.group,
            enabled: record.enabled,
            pending: record.pending,
            active: record.active,
            level: record.level,
            edge: record.edge,
            linked: 0,
            listed: 0,
            sampled: 0,
            priority: record.priority.map(|priority| priority & PRIORITY_MASK),
        }
    }
}
