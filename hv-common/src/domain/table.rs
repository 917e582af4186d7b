//! The table of domains.
//!
//! A domain sits in the slot that its number modulo [`SLOTS`] names, so a lookup is one lock and one comparison, and
//! the tag of its translations follows from its slot. Numbers count up and wrap before the reserved ones.

use core::sync::atomic::AtomicU32;

use crate::lock::Lock;
use hv_abi::DomId;

use super::DomainRef;
use crate::arch::Arch;

/// Domains at most, Domain-0 and dying ones included.
pub const SLOTS: usize = 64;

/// The table.
pub struct DomainTable<A: Arch> {
    slots: [Lock<Option<DomainRef<A>>>; SLOTS],
    last: Lock<u16>,
    /// Domains that are being destroyed.
    pub(crate) dying: AtomicU32,
}

impl<A: Arch> Default for DomainTable<A> {
    fn default() -> Self {
        Self {
            slots: core::array::from_fn(|_| Lock::new(None)),
            last: Lock::new(0),
            dying: AtomicU32::new(0),
        }
    }
}

/// The tag of translations of the domain in that domain's slot; never 0, which is the host's.
#[must_use]
pub const fn vmid(id: DomId) -> u16 {
    id.0 % SLOTS as u16 + 1
}

impl<A: Arch> DomainTable<A> {
    fn slot(&self, id: DomId) -> Option<&Lock<Option<DomainRef<A>>>> {
        self.slots.get(usize::from(id.0) % SLOTS)
    }

    /// A domain.
    #[must_use]
    pub fn get(&self, id: DomId) -> Option<DomainRef<A>> {
        let slot = self.slot(id)?.lock();
        slot.as_ref().filter(|domain| domain.id == id).cloned()
    }

    /// The next number whose slot is free, not used again until the counter wraps. Two calls at once give two numbers.
    #[must_use]
    pub fn next_id(&self) -> Option<DomId> {
        let mut last = self.last.lock();
        let id = (0..SLOTS as u16)
            .map(|step| DomId(1 + (*last + step) % (DomId::FIRST_RESERVED.0 - 1)))
            .find(|id| self.slot(*id).is_some_and(|slot| slot.lock().is_none()))?;
        *last = id.0;
        Some(id)
    }

    /// Puts a domain into its slot. Gives it back if the slot is taken.
    ///
    /// # Errors
    /// The domain.
    pub fn insert(&self, domain: DomainRef<A>) -> Result<(), DomainRef<A>> {
        let Some(slot) = self.slot(domain.id) else {
            return Err(domain);
        };
        let mut slot = slot.lock();
        if slot.is_some() {
            return Err(domain);
        }
        *slot = Some(domain);
        Ok(())
    }

    /// Takes a domain out.
    #[must_use]
    pub fn remove(&self, id: DomId) -> Option<DomainRef<A>> {
        let mut slot = self.slot(id)?.lock();
        match &*slot {
            Some(domain) if domain.id == id => slot.take(),
            _ => None,
        }
    }

    /// The domain with the lowest number from `first` on.
    #[must_use]
    pub fn next_from(&self, first: DomId) -> Option<DomainRef<A>> {
        let id_in = |slot: &Lock<Option<DomainRef<A>>>| {
            let id = slot.lock().as_ref().map(|domain| domain.id);
            id.filter(|id| *id >= first)
        };
        // One that goes between the two looks is passed over by the next round.
        loop {
            let id = self.slots.iter().filter_map(id_in).min()?;
            if let Some(domain) = self.get(id) {
                return Some(domain);
            }
        }
    }

    /// The domains in the slots from number `first` on, with their slots. One that appears or goes meanwhile may be left
    /// out.
    pub fn from_slot(&self, first: usize) -> impl Iterator<Item = (usize, DomainRef<A>)> + '_ {
        let slots = self.slots.iter().enumerate().skip(first);
        slots.filter_map(|(number, slot)| Some((number, slot.lock().clone()?)))
    }

    /// All domains, in the order of slots. One that appears or goes meanwhile may be left out.
    pub fn iter(&self) -> impl Iterator<Item = DomainRef<A>> + '_ {
        self.slots.iter().filter_map(|slot| slot.lock().clone())
    }
}
