//! Which interrupts go into list registers.

use super::list::{ListRegister, NOTIFY_END};
use super::{Bank, FIRST_SPI, Gic, Version, v2};

/// List registers at most.
pub const LISTS_MAX: usize = 16;

/// Ends that are counted at most: the counter has five bits.
pub(super) const COUNTED_MAX: usize = 31;

/// The list registers of a vCPU, to be written.
#[derive(Clone, Debug)]
pub struct Plan {
    lists: [ListRegister; LISTS_MAX],
    used: usize,
    /// Something pending did not fit: ask to be told when there is room.
    pub overflow: bool,
    /// Something active did not fit: ask to be told when the guest ends what is in no list register.
    pub active_left_out: bool,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            lists: [ListRegister::new(); LISTS_MAX],
            used: 0,
            overflow: false,
            active_left_out: false,
        }
    }
}

impl Plan {
    /// The list registers in use.
    #[inline]
    #[must_use]
    pub fn lists(&self) -> &[ListRegister] {
        self.lists.get(..self.used).unwrap_or(&[])
    }

    /// Makes it empty. What the list registers beyond those in use hold does not matter.
    #[inline]
    fn clear(&mut self) {
        self.used = 0;
        self.overflow = false;
        self.active_left_out = false;
    }

    /// Adds an interrupt, or puts it in the place of a less urgent one.
    #[inline]
    fn add(&mut self, list: ListRegister, capacity: usize) {
        let full = self.used >= capacity.min(LISTS_MAX);
        if !full && let Some(slot) = self.lists.get_mut(self.used) {
            *slot = list;
            self.used += 1;
            return;
        }
        self.replace(list);
    }

    #[cold]
    fn replace(&mut self, list: ListRegister) {
        let used = self.lists.get_mut(..self.used).unwrap_or_default();
        let last = used.iter_mut().max_by_key(|list| urgency(list));
        let out = match last {
            Some(last) if urgency(last) > urgency(&list) => core::mem::replace(last, list),
            _ => list,
        };
        self.overflow |= out.pending();
        self.active_left_out |= out.active();
    }
}

/// Lower goes first. Of one priority, what is active: the other has to wait for it. What is active and does not fit is
/// ended by count, so that something more urgent can still come.
fn urgency(list: &ListRegister) -> (u8, bool) {
    (list.priority(), !list.active())
}

impl Gic {
    /// Decides what goes into the `capacity` list registers of a vCPU, all of which were folded back before, and marks
    /// it as listed. `plan` is an old one: to make and move one would cost more than the decision.
    #[inline]
    pub fn plan_into(&mut self, vcpu: u32, capacity: usize, plan: &mut Plan) {
        plan.clear();
        if let Some(bank) = self.private.get(vcpu as usize) {
            let candidates = self.unlisted(bank) | bank.active & !bank.listed;
            self.add_all(plan, bank, candidates, 0, capacity);
        }
        if self.busy != 0 {
            self.plan_shared(plan, vcpu, capacity);
        }
        for slot in 0..plan.used {
            let Some(list) = plan.lists.get(slot).copied() else {
                break;
            };
            self.take(vcpu, list);
            if self.version == Version::V2 && list.number() < v2::SGIS {
                let list = self.take_sgi(vcpu, list);
                if let Some(slot) = plan.lists.get_mut(slot) {
                    *slot = list;
                }
            }
        }
    }

    /// The same as a value.
    #[cfg(test)]
    pub(crate) fn plan(&mut self, vcpu: u32, capacity: usize) -> Plan {
        let mut plan = Plan::default();
        self.plan_into(vcpu, capacity, &mut plan);
        plan
    }

    fn plan_shared(&mut self, plan: &mut Plan, vcpu: u32, capacity: usize) {
        let mut busy = self.busy;
        while busy != 0 {
            let index = busy.trailing_zeros() as usize;
            busy &= busy - 1;
            let Some(bank) = self.shared.get(index) else {
                continue;
            };
            if bank.shown_pending() | bank.active | bank.listed == 0 {
                self.busy &= !(1 << index);
                continue;
            }
            let candidates = self.unlisted(bank) | bank.active & !bank.listed;
            let candidates = self.for_vcpu(vcpu, index, candidates);
            let first = FIRST_SPI + 32 * index as u32;
            self.add_all(plan, bank, candidates, first, capacity);
        }
    }

    /// Moves an interrupt's state into its list register.
    #[inline]
    fn take(&mut self, vcpu: u32, list: ListRegister) {
        if let Some((bank, bit)) = self.bank_of(vcpu, list.number()) {
            bank.listed |= bit;
            if list.pending() {
                bank.sampled = bank.sampled & !bit | bit & !bank.pending;
                bank.pending &= !bit;
            }
            if list.active() {
                bank.active &= !bit;
            }
        }
    }

    /// Moves the state in a list register back. Returns the physical interrupt that has to be deactivated, if hardware
    /// has not done so.
    #[inline]
    pub fn fold(&mut self, vcpu: u32, list: ListRegister) -> Option<u32> {
        if self.version == Version::V2 && list.number() < v2::SGIS {
            self.fold_sgi(vcpu, list);
        }
        let (bank, bit) = self.bank_of(vcpu, list.number())?;
        bank.listed &= !bit;
        if list.pending() {
            bank.pending |= bit & !bank.sampled;
        }
        bank.sampled &= !bit;
        if list.active() {
            bank.active |= bit;
        }
        let over = !list.pending() && !list.active() && bank.pending & bit == 0;
        if over && bank.linked & bit != 0 {
            bank.linked &= !bit;
            return (!list.linked()).then(|| list.number());
        }
        None
    }

    /// The guest ended this many interrupts that were in no list register: the most urgent active ones. Returns those
    /// whose physical counterpart has to be deactivated.
    #[cold]
    pub fn end_unlisted(&mut self, vcpu: u32, count: u32) -> heapless::Vec<u32, COUNTED_MAX> {
        let mut linked = heapless::Vec::new();
        for _ in 0..count {
            let Some(number) = self.most_urgent_active(vcpu) else {
                break;
            };
            let Some((bank, bit)) = self.bank_of(vcpu, number) else {
                break;
            };
            bank.active &= !bit;
            let deactivate = bank.linked & bit != 0;
            bank.linked &= !bit;
            if deactivate && linked.push(number).is_err() {
                break;
            }
        }
        linked
    }

    /// Among what is in no list register.
    fn most_urgent_active(&self, vcpu: u32) -> Option<u32> {
        let mut plan = Plan::default();
        if let Some(bank) = self.private.get(vcpu as usize) {
            self.add_all(&mut plan, bank, bank.active & !bank.listed, 0, 1);
        }
        for (index, bank) in self.shared.iter().enumerate() {
            let candidates = self.for_vcpu(vcpu, index, bank.active & !bank.listed);
            let first = FIRST_SPI + 32 * index as u32;
            self.add_all(&mut plan, bank, candidates, first, 1);
        }
        plan.lists().first().map(ListRegister::number)
    }

    /// Of these bits of a shared bank, those that go to `vcpu`.
    fn for_vcpu(&self, vcpu: u32, index: usize, candidates: u32) -> u32 {
        let mut mine = candidates;
        let mut bits = candidates;
        while bits != 0 {
            let bit = bits.trailing_zeros();
            bits &= bits - 1;
            if self.target(index * 32 + bit as usize) != Some(vcpu) {
                mine &= !(1 << bit);
            }
        }
        mine
    }
}

impl Gic {
    #[inline]
    fn add_all(&self, plan: &mut Plan, bank: &Bank, mut bits: u32, first: u32, capacity: usize) {
        while bits != 0 {
            let bit = bits.trailing_zeros();
            bits &= bits - 1;
            let list = list_for(bank, bit, first + bit, self.deactivates_by_itself);
            plan.add(list, capacity);
        }
    }
}

#[inline]
fn list_for(bank: &Bank, bit: u32, number: u32, may_link: bool) -> ListRegister {
    let mask = 1_u32 << bit;
    let active = bank.active & mask != 0;
    let pending = bank.shown_pending() & bank.enabled & mask != 0;
    let from_machine = bank.linked & mask != 0;
    // A linked register may not be both.
    let linked = from_machine && may_link && !(pending && active);
    let from_input = bank.level & !bank.edge & mask != 0;
    let physical = if linked {
        number
    } else if from_machine || from_input {
        NOTIFY_END
    } else {
        0
    };
    ListRegister::new()
        .with_number(number)
        .with_physical(physical)
        .with_priority(bank.priority_of(bit))
        .with_group1(bank.group & mask != 0)
        .with_linked(linked)
        .with_pending(pending)
        .with_active(active)
}
