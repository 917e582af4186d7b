//! The hypervisor's own address space: an identity map, no page of it both writable and executable.

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, Ordering};

use arch_common::hw::image;

use super::identity;
use crate::address_space::{Full, Kind, Table, Tables};

/// Tables there are. RAM takes one for each gigabyte where the CPU has no pages of that size.
const TABLES: usize = 96;

struct Pool(UnsafeCell<[Table; TABLES]>);

// SAFETY: handed out once (`TAKEN`), to the one `AddressSpace` that is made at boot.
unsafe impl Sync for Pool {}

static POOL: Pool = Pool(UnsafeCell::new([const { Table([0; 512]) }; TABLES]));
static TAKEN: AtomicBool = AtomicBool::new(false);

/// Root table of the address space that is active.
pub(crate) fn root() -> u64 {
    #[cfg(target_os = "none")]
    return x86_64::registers::control::Cr3::read()
        .0
        .start_address()
        .as_u64();
    #[cfg(not(target_os = "none"))]
    0
}

/// An address space in the making.
pub(crate) struct AddressSpace {
    tables: Tables<'static>,
}

impl AddressSpace {
    /// One that maps nothing.
    pub(crate) fn new() -> Self {
        assert!(
            !TAKEN.swap(true, Ordering::Relaxed),
            "a second address space"
        );
        let base = POOL.0.get().addr() as u64;
        // SAFETY: the only reference there ever is.
        let pool = unsafe { &mut *POOL.0.get() };
        let has_gigabyte_pages = identity::features().has_gigabyte_pages;
        Self {
            tables: Tables::new(pool, base, has_gigabyte_pages),
        }
    }

    /// Maps RAM for reading and writing.
    pub(crate) fn add_ram(&mut self, base: u64, size: u64) -> Result<(), Full> {
        self.tables.map(base, base.saturating_add(size), Kind::Data)
    }

    /// Maps device registers.
    pub(crate) fn add_device(&mut self, base: u64, size: u64) -> Result<(), Full> {
        self.tables
            .map(base, base.saturating_add(size), Kind::Device)
    }

    /// Maps the image with the rights its parts need, over what RAM there is, and leaves the guard pages of the stacks of
    /// that many CPUs out.
    pub(crate) fn add_image(&mut self, cpus: usize) -> Result<(), Full> {
        let parts = image::parts();
        let tables = &mut self.tables;
        tables.map(parts.start, parts.text_end, Kind::Text)?;
        tables.map(parts.text_end, parts.rodata_end, Kind::Constants)?;
        tables.map(parts.rodata_end, parts.end, Kind::Data)?;
        for number in 0..cpus {
            let (guard, bottom, _) = image::stack_of(number);
            tables.map(guard, bottom, Kind::Nothing)?;
        }
        Ok(())
    }

    /// Lets a page of RAM below 1 MiB be executed: further CPUs start there.
    pub(crate) fn add_start_page(&mut self, page: u64) -> Result<(), Full> {
        self.tables.map(page, page + 0x1000, Kind::Text)
    }

    /// Makes it this CPU's, for good.
    pub(crate) fn activate(self) {
        #[cfg(target_os = "none")]
        {
            use x86_64::PhysAddr;
            use x86_64::registers::control::{Cr3, Cr3Flags};
            use x86_64::structures::paging::PhysFrame;

            let root = PhysFrame::containing_address(PhysAddr::new(POOL.0.get().addr() as u64));
            // SAFETY: the caller mapped the image and all RAM where they are, so code, stack and data stay what they
            // were across the switch.
            unsafe { Cr3::write(root, Cr3Flags::empty()) };
        }
    }
}
