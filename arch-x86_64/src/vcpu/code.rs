//! The guest's code and memory as the hypervisor reads it: for pointers of hypercalls, and for the length of an
//! instruction that exited where the CPU does not say it.
//!
//! Stage-2 tables may change while they are walked here. A walk happens between `tlb::enter` and `tlb::leave`, like a stay
//! in the guest: what is taken away is given to nobody else before the walk is over.

use hv_common::arch::{Access, Gfn, Gpa, Host, Mfn, Words};
use hv_common::memory::stage2::{Leaf, Stage2, Tables};

use super::Vcpu;
use crate::host::X86Host;
use crate::hw::tlb;
use crate::paging::{Paging, PhysicalMemory};
use crate::vendor::{Control, Register, Vendor};

/// Bytes of an instruction that are looked at at first.
const FIRST: usize = 4;
/// Bytes of an instruction at most.
const LONGEST: usize = 15;
const PAGE: u64 = hv_abi::FRAME_SIZE as u64;

/// Places that are remembered; a power of two.
const PLACES: usize = 16;

/// Where pages of code were found, by the last bits of their numbers. The page tables of the guest may say otherwise by
/// now; then the bytes there are no longer the instruction that exited, and it is looked up again.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Code([Place; PLACES]);

impl Code {
    fn at(&mut self, address: u64) -> &mut Place {
        // Cannot fail: the remainder is below the length.
        &mut self.0[(address / PAGE) as usize % PLACES]
    }
}

#[derive(Clone, Copy, Default, Debug)]
struct Place {
    cr3: u64,
    /// Linear address of the page, plus 1; 0: none.
    page: u64,
    frame: u64,
    generation: u64,
}

/// Reads stage-2 tables; changes nothing.
struct Reader<'h>(&'h X86Host);

impl Tables for Reader<'_> {
    fn words(&self, table: Mfn) -> &Words {
        self.0.words(table)
    }

    fn allocate(&self) -> Option<Mfn> {
        None
    }

    fn release(&self, _: Mfn) {}

    fn invalidate(&self, _: Gfn, _: u64) {}

    fn publish(&self) {}
}

/// The memory of a domain.
struct DomainMemory<'h, V: Vendor> {
    host: &'h X86Host,
    stage2: Stage2<V::Pte>,
}

impl<V: Vendor> DomainMemory<'_, V> {
    fn leaf(&self, gpa: u64) -> Option<Leaf> {
        let leaf = self.stage2.lookup(&Reader(self.host), Gpa(gpa).gfn())?;
        (!leaf.attributes.device).then_some(leaf)
    }

    fn frame(&self, gpa: u64) -> Option<Mfn> {
        self.leaf(gpa).map(|leaf| leaf.mfn)
    }
}

impl<V: Vendor> PhysicalMemory for DomainMemory<'_, V> {
    fn read(&self, gpa: u64) -> Option<u64> {
        let words = self.host.words(self.frame(gpa)?);
        let word = words.get(Gpa(gpa).offset() / 8)?;
        Some(word.load(core::sync::atomic::Ordering::Relaxed))
    }
}

impl<V: Vendor> Vcpu<V> {
    fn memory<'h>(&self, host: &'h X86Host) -> DomainMemory<'h, V> {
        DomainMemory {
            host,
            stage2: Stage2::new(self.stage2),
        }
    }

    /// Loads what PAE paging keeps in the CPU.
    pub(super) fn load_page_pointers(&mut self, host: &X86Host) {
        tlb::hold(self.stage2);
        let pointers = self.paging().page_pointers(&self.memory(host));
        tlb::leave();
        if let Some(pointers) = pointers {
            self.control.set_page_pointers(pointers);
        }
    }

    pub(super) fn paging(&self) -> Paging {
        Paging {
            cr0: self.control.get(Register::Cr0),
            cr3: self.control.get(Register::Cr3),
            cr4: self.control.get(Register::Cr4),
            efer: self.control.get(Register::Efer),
        }
    }

    /// Where a linear address is.
    pub(super) fn translate_linear(&self, host: &X86Host, va: u64, access: Access) -> Option<Gpa> {
        tlb::hold(self.stage2);
        let gpa = self.paging().translate(&self.memory(host), va, access);
        tlb::leave();
        gpa
    }

    /// Overwrites a page of the guest's RAM that it may write itself.
    pub(super) fn write_page(
        &self,
        host: &X86Host,
        gpa: u64,
        content: &[u8; PAGE as usize],
    ) -> Option<()> {
        tlb::hold(self.stage2);
        let leaf = self
            .memory(host)
            .leaf(gpa)
            .filter(|leaf| leaf.attributes.write);
        if let Some(leaf) = leaf {
            host.write(leaf.mfn, 0, content);
        }
        tlb::leave();
        leaf.map(|_| ())
    }

    /// The linear address of the instruction that exited.
    fn instruction_address(&self) -> u64 {
        let rip = self.control.get(Register::Rip);
        if self.control.mode().is_64_bit {
            return rip;
        }
        let base = self.control.get(Register::CsBase);
        base.wrapping_add(rip) & 0xFFFF_FFFF
    }

    /// Length of the instruction that exited and has this opcode. `None`: it is not there any more; whatever is there now
    /// is the guest's to execute.
    #[inline]
    pub(super) fn length_of(&mut self, host: &X86Host, opcode: &[u8]) -> Option<u64> {
        if let Some(length) = self.control.instruction_length() {
            return Some(length);
        }
        self.found_length(host, opcode)
    }

    #[inline(never)]
    fn found_length(&mut self, host: &X86Host, opcode: &[u8]) -> Option<u64> {
        let address = self.instruction_address();
        tlb::hold(self.stage2);
        let length = self.search(host, address, opcode);
        tlb::leave();
        length
    }

    fn search(&mut self, host: &X86Host, address: u64, opcode: &[u8]) -> Option<u64> {
        let offset = address % PAGE;
        let mut bytes = [0; FIRST];
        if offset <= PAGE - FIRST as u64
            && let Some(frame) = self.remembered(address)
        {
            host.read(frame, offset as usize, &mut bytes);
            if bytes.starts_with(opcode) {
                return Some(opcode.len() as u64);
            }
        }
        self.search_all(host, address, opcode)
    }

    /// With prefixes, across pages, after a change of the guest's page tables.
    fn search_all(&mut self, host: &X86Host, address: u64, opcode: &[u8]) -> Option<u64> {
        let mut bytes = [0; LONGEST];
        let in_page = (PAGE - address % PAGE).min(LONGEST as u64) as usize;
        let (first, second) = bytes.split_at_mut(in_page);
        let frame = self.look_up(host, address)?;
        host.read(frame, (address % PAGE) as usize, first);
        if !second.is_empty()
            && let Some(frame) = self.look_up(host, address.wrapping_add(in_page as u64))
        {
            host.read(frame, 0, second);
        }
        let is_64_bit = self.control.mode().is_64_bit;
        find(&bytes, opcode, is_64_bit)
    }

    fn remembered(&mut self, address: u64) -> Option<Mfn> {
        let cr3 = self.control.get(Register::Cr3);
        let place = self.code.at(address);
        let same = place.page == address - address % PAGE + 1
            && place.cr3 == cr3
            && place.generation == tlb::generation();
        same.then_some(Mfn(place.frame))
    }

    fn look_up(&mut self, host: &X86Host, address: u64) -> Option<Mfn> {
        let memory = self.memory(host);
        let gpa = self.paging().translate(&memory, address, Access::Read)?;
        let frame = memory.frame(gpa.0)?;
        *self.code.at(address) = Place {
            cr3: self.control.get(Register::Cr3),
            page: address - address % PAGE + 1,
            frame: frame.0,
            generation: tlb::generation(),
        };
        Some(frame)
    }
}

/// Length of the instruction at the start of `bytes` if it has that opcode, prefixes included.
fn find(bytes: &[u8], opcode: &[u8], is_64_bit: bool) -> Option<u64> {
    let legacy = bytes.iter().take_while(|byte| is_prefix(**byte)).count();
    let is_rex = |byte: &u8| is_64_bit && byte & 0xF0 == 0x40;
    let rex = usize::from(bytes.get(legacy).is_some_and(is_rex));
    let start = legacy + rex;
    let found = bytes.get(start..)?.starts_with(opcode);
    found.then_some((start + opcode.len()) as u64)
}

/// Operand and address size, segments, LOCK and REP.
fn is_prefix(byte: u8) -> bool {
    matches!(
        byte,
        0x66 | 0x67 | 0x26 | 0x2E | 0x36 | 0x3E | 0x64 | 0x65 | 0xF0 | 0xF2 | 0xF3
    )
}

#[cfg(test)]
mod tests {
    use super::find;

    #[test]
    fn an_opcode_is_found_behind_its_prefixes() {
        const CPUID: &[u8] = &[0x0F, 0xA2];
        assert_eq!(find(b"\x0F\xA2\x90\x90", CPUID, true), Some(2));
        assert_eq!(find(b"\x66\x2E\x48\x0F\xA2\x90", CPUID, true), Some(5));
        assert_eq!(find(b"\x48\x0F\xA2\x90", CPUID, false), None, "DEC EAX");
        assert_eq!(find(b"\x90\x0F\xA2", CPUID, true), None);
        assert_eq!(find(&[0x66; 15], CPUID, true), None);
    }
}
