//! Access to guest memory: bytes in and out, page by page, under the domain's lock.
//!
//! A guest address is looked up in the domain's own stage-2 tables for every page, and the frame behind it must be RAM
//! of that domain (for Domain-0 also its store and, for reading, the boot bundle). The lock is held over the copy of at
//! most one page, so the frame cannot go away meanwhile. Never call these with the domain's lock held.

use hv_abi::{Errno, FRAME_SIZE};

use super::account::DomainMemory;
use super::frames::FrameKind;
use crate::arch::{Access, Arch, Gpa, Host, Mfn};
use crate::domain::DomainState;

/// Bytes from an address to the end of its page.
#[must_use]
pub(crate) const fn left_in_page(address: u64) -> usize {
    FRAME_SIZE - Gpa(address).offset()
}

impl<A: Arch> DomainMemory<'_, A> {
    /// The frame at a guest-physical address, if the domain may access it so.
    #[must_use]
    pub(crate) fn frame_at(&self, state: &DomainState<A>, gpa: Gpa, access: Access) -> Option<Mfn> {
        let leaf = self.lookup(state, gpa.gfn())?;
        let frame = self.hypervisor.frames.describe(leaf.mfn)?;
        let may = match frame.kind {
            FrameKind::Ram | FrameKind::Store => frame.owner == self.domain.id,
            FrameKind::Boot => self.domain.is_dom0() && access == Access::Read,
            FrameKind::Hypervisor | FrameKind::Table | FrameKind::Special => false,
        };
        let writable = access == Access::Read || leaf.attributes.write;
        (may && writable && !leaf.attributes.device).then_some(leaf.mfn)
    }

    /// Copies out of guest-physical memory.
    ///
    /// # Errors
    /// `EFAULT`; a part may have been copied.
    pub fn read(&self, gpa: Gpa, out: &mut [u8]) -> Result<(), Errno> {
        let mut at = gpa.0;
        let mut rest = out;
        while !rest.is_empty() {
            let length = left_in_page(at).min(rest.len());
            let (chunk, after) = rest.split_at_mut(length);
            self.read_in_page(Gpa(at), chunk)?;
            at = at.checked_add(length as u64).ok_or(Errno::EFAULT)?;
            rest = after;
        }
        Ok(())
    }

    /// Copies into guest-physical memory.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn write(&self, gpa: Gpa, bytes: &[u8]) -> Result<(), Errno> {
        let mut at = gpa.0;
        let mut rest = bytes;
        while !rest.is_empty() {
            let length = left_in_page(at).min(rest.len());
            let (chunk, after) = rest.split_at(length);
            self.write_in_page(Gpa(at), chunk)?;
            at = at.checked_add(length as u64).ok_or(Errno::EFAULT)?;
            rest = after;
        }
        Ok(())
    }

    #[inline]
    pub(crate) fn read_in_page(&self, gpa: Gpa, out: &mut [u8]) -> Result<(), Errno> {
        let state = self.domain.state.lock();
        let frame = self
            .frame_at(&state, gpa, Access::Read)
            .ok_or(Errno::EFAULT)?;
        self.hypervisor.host.read(frame, gpa.offset(), out);
        Ok(())
    }

    pub(crate) fn write_in_page(&self, gpa: Gpa, bytes: &[u8]) -> Result<(), Errno> {
        let state = self.domain.state.lock();
        let frame = self
            .frame_at(&state, gpa, Access::Write)
            .ok_or(Errno::EFAULT)?;
        self.hypervisor.host.write(frame, gpa.offset(), bytes);
        Ok(())
    }
}
