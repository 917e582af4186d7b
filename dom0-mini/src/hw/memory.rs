//! Where our image is, and memory of others that the hypervisor maps for us: the bundle, claimed frames, granted pages.
//!
//! Domain-0 is identity-mapped (machine address = guest-physical address = virtual address), so an address is all it
//! takes. Memory that a guest shares is read and written with volatile or atomic accesses only, never by reference.

use super::hypercall;
use core::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use hv_abi::control::host;
use hv_abi::start::Range;
use hv_abi::xen::grant::{self, MapGrantRef, UnmapGrantRef};
use hv_abi::{CallNumber, DomId, Errno, FRAME_SHIFT, FRAME_SIZE};

unsafe extern "C" {
    static __image_start: u8;
    static __text_end: u8;
    static __rodata_end: u8;
    static __image_end: u8;
}

/// First byte of our image.
pub(crate) fn image_start() -> u64 {
    (&raw const __image_start) as u64
}

/// The three parts of our image: text, read-only data, data with BSS and stack.
pub(crate) fn image_parts() -> [Range; 3] {
    let edges = [
        image_start(),
        (&raw const __text_end) as u64,
        (&raw const __rodata_end) as u64,
        (&raw const __image_end) as u64,
    ];
    [0, 1, 2].map(|part| Range {
        base: edges[part],
        size: edges[part + 1] - edges[part],
    })
}

/// Memory that nobody writes while we run: boot bundle, host tables.
pub(crate) fn constant_bytes(range: Range) -> &'static [u8] {
    if range.size == 0 {
        return &[];
    }
    // SAFETY: the start page's bundle and host-table ranges are mapped read-only for us and stay as the boot loader
    // left them (hv_abi::start); only those ranges are passed here.
    unsafe { core::slice::from_raw_parts(range.base as *const u8, range.size as usize) }
}

/// Frames that we claimed from the hypervisor: contiguous, cleared, ours alone until dropped.
pub(crate) struct ClaimedFrames {
    mfn: u64,
    order: u32,
}

impl ClaimedFrames {
    /// Claims `1 << order` frames.
    ///
    /// # Errors
    /// The hypervisor's, `ENOMEM` above all.
    pub(crate) fn claim(order: u32) -> Result<Self, Errno> {
        let mfn = hypercall::call(CallNumber::CONTROL_HOST, host::CLAIM, u64::from(order), 0)?;
        Ok(Self { mfn, order })
    }

    fn length(&self) -> usize {
        FRAME_SIZE << self.order
    }
}

impl AsRef<[u8]> for ClaimedFrames {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: CLAIM mapped these frames at their machine address, for us alone, until they are released on drop.
        unsafe {
            core::slice::from_raw_parts((self.mfn << FRAME_SHIFT) as *const u8, self.length())
        }
    }
}

impl AsMut<[u8]> for ClaimedFrames {
    fn as_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `as_ref`, and `self` is borrowed exclusively.
        unsafe {
            core::slice::from_raw_parts_mut((self.mfn << FRAME_SHIFT) as *mut u8, self.length())
        }
    }
}

impl Drop for ClaimedFrames {
    fn drop(&mut self) {
        let released = hypercall::call(
            CallNumber::CONTROL_HOST,
            host::RELEASE,
            self.mfn,
            u64::from(self.order),
        );
        if let Err(error) = released {
            log::error!(
                "frames at {:#x} could not be released: {error:?}",
                self.mfn << FRAME_SHIFT
            );
        }
    }
}

/// A page that a guest granted us. It changes under our hands. Dropping it unmaps it.
pub(crate) struct GrantedPage {
    address: u64,
    handle: u32,
}

impl GrantedPage {
    /// Maps what `domid` granted us under `reference`, for reading and writing.
    ///
    /// # Errors
    /// The hypervisor's; a refused grant is `EACCES`.
    pub(crate) fn map(domid: DomId, reference: u32) -> Result<Self, Errno> {
        let mut request = MapGrantRef {
            flags: grant::map::HOST_MAP,
            reference,
            dom: domid,
            ..MapGrantRef::default()
        };
        hypercall::grant_operation(grant::MAP_GRANT_REF, &mut request)?;
        if request.status != grant::status::OKAY {
            log::warn!(
                "grant {reference} of domain {} is refused: status {}",
                domid.0,
                request.status
            );
            return Err(Errno::EACCES);
        }
        Ok(Self {
            address: request.dev_bus_addr,
            handle: request.handle,
        })
    }

    fn byte(&self, offset: usize) -> &AtomicU8 {
        assert!(offset < FRAME_SIZE, "offset outside the page");
        // SAFETY: the page is mapped while `self` exists and the offset is within it; concurrent writes by the guest
        // are allowed for an atomic.
        unsafe { &*((self.address + offset as u64) as *const AtomicU8) }
    }

    fn word(&self, offset: usize) -> &AtomicU32 {
        assert!(
            offset.is_multiple_of(4) && offset < FRAME_SIZE,
            "offset outside the page"
        );
        // SAFETY: as in `byte`; the offset is aligned.
        unsafe { &*((self.address + offset as u64) as *const AtomicU32) }
    }
}

impl xend::ring::SharedPage for GrantedPage {
    fn load_u32(&self, offset: usize) -> u32 {
        self.word(offset).load(Ordering::Acquire)
    }

    fn store_u32(&self, offset: usize, value: u32) {
        self.word(offset).store(value, Ordering::Release);
    }

    fn load_u8(&self, offset: usize) -> u8 {
        self.byte(offset).load(Ordering::Acquire)
    }

    fn store_u8(&self, offset: usize, value: u8) {
        self.byte(offset).store(value, Ordering::Release);
    }

    fn read(&self, offset: usize, out: &mut [u8]) {
        for (position, byte) in out.iter_mut().enumerate() {
            *byte = self.byte(offset + position).load(Ordering::Relaxed);
        }
    }

    fn write(&self, offset: usize, bytes: &[u8]) {
        for (position, byte) in bytes.iter().enumerate() {
            self.byte(offset + position).store(*byte, Ordering::Relaxed);
        }
    }
}

impl Drop for GrantedPage {
    fn drop(&mut self) {
        let mut request = UnmapGrantRef {
            host_addr: self.address,
            handle: self.handle,
            ..UnmapGrantRef::default()
        };
        let outcome = hypercall::grant_operation(grant::UNMAP_GRANT_REF, &mut request);
        if outcome.is_err() || request.status != grant::status::OKAY {
            log::error!(
                "a granted page could not be unmapped: {outcome:?}, status {}",
                request.status
            );
        }
    }
}
