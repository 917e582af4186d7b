//! List registers: what the virtual CPU interface of the hardware is given (ICH_LR\<n>_EL2, IHI 0069 12.4).

use super::state::Bank;
use bitfield_struct::bitfield;

/// List registers that an implementation may have.
pub const LISTS_MAX: usize = 16;

/// ICH_LR\<n>_EL2.
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct ListRegister {
    /// vINTID.
    pub intid: u32,
    /// pINTID; without HW, bit 41 (here bit 9 of the field) asks for a maintenance interrupt at the end.
    #[bits(13)]
    pub physical: u16,
    #[bits(3)]
    __: u8,
    /// Priority.
    pub priority: u8,
    #[bits(4)]
    __: u8,
    /// Group 1.
    pub group1: bool,
    /// Linked to the physical interrupt.
    pub hardware: bool,
    /// Pending.
    pub pending: bool,
    /// Active.
    pub active: bool,
}

/// One interrupt, as a list register holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Which.
    pub intid: u32,
    /// Pending.
    pub pending: bool,
    /// Active.
    pub active: bool,
    /// Linked to the machine's interrupt of the same number.
    pub linked: bool,
    /// Its priority.
    pub priority: u8,
}

/// The list registers of a vCPU, as words for the hardware.
#[derive(Clone, Copy, Debug)]
pub struct ListRegisters {
    words: [u64; LISTS_MAX],
    used: usize,
    implemented: usize,
    overflow: bool,
}

impl ListRegisters {
    /// Empty ones; the hardware has `implemented` of them.
    #[must_use]
    pub fn new(implemented: usize) -> Self {
        Self {
            words: [0; LISTS_MAX],
            used: 0,
            implemented: implemented.clamp(1, LISTS_MAX),
            overflow: false,
        }
    }

    /// How many the hardware has.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.implemented
    }

    /// The words in use: written to the hardware before a guest runs, read back before anything here is asked.
    #[must_use]
    pub fn words(&self) -> &[u64] {
        self.words.get(..self.used).unwrap_or(&self.words)
    }

    /// The words in use, to be read back from the hardware.
    pub fn words_mut(&mut self) -> &mut [u64] {
        let used = self.used;
        self.words.get_mut(..used).unwrap_or_default()
    }

    /// Whether more is pending than fits: then the hardware has to say when list registers run empty (ICH_HCR_EL2.UIE).
    #[must_use]
    pub fn overflowed(&self) -> bool {
        self.overflow
    }

    /// Takes everything out, for [`super::state::State::fold`].
    pub fn drain(&mut self) -> impl Iterator<Item = Entry> + use<> {
        let taken = *self;
        self.used = 0;
        self.overflow = false;
        taken.words.into_iter().take(taken.used).map(|word| {
            let register = ListRegister::from_bits(word);
            Entry {
                intid: register.intid(),
                pending: register.pending(),
                active: register.active(),
                linked: register.hardware(),
                priority: register.priority(),
            }
        })
    }

    /// Puts a choice in.
    pub fn fill(&mut self, choice: &Choice) {
        self.used = 0;
        for (slot, entry) in self.words.iter_mut().zip(choice.entries()) {
            *slot = encode(&entry).into_bits();
            self.used += 1;
        }
        self.overflow = choice.overflow;
    }
}

fn encode(entry: &Entry) -> ListRegister {
    // With HW set, pending and active together are not allowed (IHI 0069, ICH_LR<n>_EL2.State): active alone, the
    // machine shows its input again when the guest has ended it.
    let pending = entry.pending && !(entry.linked && entry.active);
    ListRegister::new()
        .with_intid(entry.intid)
        .with_priority(entry.priority)
        .with_group1(true)
        .with_hardware(entry.linked)
        .with_physical(if entry.linked { entry.intid as u16 } else { 0 })
        .with_pending(pending)
        .with_active(entry.active)
}

/// The interrupts that go into list registers.
#[derive(Debug)]
pub struct Choice {
    entries: [Option<Entry>; LISTS_MAX],
    capacity: usize,
    overflow: bool,
}

impl Choice {
    /// None yet; `capacity` fit.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self {
            entries: [None; LISTS_MAX],
            capacity: capacity.min(LISTS_MAX),
            overflow: false,
        }
    }

    /// Considers all of a bank.
    pub fn consider(&mut self, bank: &Bank, first: u32, group1: bool) {
        self.consider_only(bank, first, group1, u32::MAX);
    }

    /// Considers some interrupts of a bank.
    pub fn consider_only(&mut self, bank: &Bank, first: u32, group1: bool, which: u32) {
        let pending = if group1 {
            bank.pending & bank.enabled & bank.group
        } else {
            0
        };
        let mut candidates = (bank.active | pending) & which;
        while candidates != 0 {
            let index = candidates.trailing_zeros();
            let bit = candidates & candidates.wrapping_neg();
            candidates &= !bit;
            self.insert(Entry {
                intid: first + index,
                pending: pending & bit != 0,
                active: bank.active & bit != 0,
                linked: bank.linked & bit != 0,
                priority: bank.priority.get(index as usize).copied().unwrap_or(0),
            });
        }
    }

    /// Keeps the list sorted by rank; what falls off the end overflows.
    fn insert(&mut self, entry: Entry) {
        let mut incoming = entry;
        for slot in self.entries.iter_mut().take(self.capacity) {
            match slot {
                None => {
                    *slot = Some(incoming);
                    return;
                }
                Some(present) if rank(&incoming) < rank(present) => {
                    core::mem::swap(present, &mut incoming)
                }
                Some(_) => {}
            }
        }
        self.overflow = true;
    }

    /// What was chosen.
    pub fn entries(&self) -> impl Iterator<Item = Entry> + use<'_> {
        self.entries.iter().take(self.capacity).flatten().copied()
    }
}

/// Lower comes first: active ones (the guest will end them), then by priority, then by number.
fn rank(entry: &Entry) -> (bool, u8, u32) {
    (!entry.active, entry.priority, entry.intid)
}
