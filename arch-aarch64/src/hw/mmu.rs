//! EL2's own address space: an identity map, no page of it both writable and executable.

use core::cell::UnsafeCell;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicUsize, Ordering};

use aarch64_paging::MapError;
use aarch64_paging::descriptor::{El23Attributes, PhysicalAddress};
use aarch64_paging::paging::{Constraints, El2, MemoryRegion, PageTable, RootTable, Translation};
use arch_common::hw::image;

/// Tables there are.
const TABLES: usize = 32;

#[repr(C, align(4096))]
struct Table(UnsafeCell<[u64; 512]>);

// SAFETY: a table is handed out once (`USED`), to the one `RootTable` that is made at boot.
unsafe impl Sync for Table {}

static POOL: [Table; TABLES] = [const { Table(UnsafeCell::new([0; 512])) }; TABLES];
static USED: AtomicUsize = AtomicUsize::new(0);

/// Hands out tables of [`POOL`]; addresses are the same on both sides.
struct Pool;

impl Translation<El23Attributes> for Pool {
    fn allocate_table(&mut self) -> (NonNull<PageTable<El23Attributes>>, PhysicalAddress) {
        let number = USED.fetch_add(1, Ordering::Relaxed);
        let Some(table) = POOL.get(number) else {
            panic!("the machine's memory map needs more than {TABLES} tables");
        };
        let pointer = NonNull::from(table).cast::<PageTable<El23Attributes>>();
        (pointer, PhysicalAddress(pointer.addr().get()))
    }

    unsafe fn deallocate_table(&mut self, _: NonNull<PageTable<El23Attributes>>) {}

    fn physical_to_virtual(&self, address: PhysicalAddress) -> NonNull<PageTable<El23Attributes>> {
        match NonNull::new(address.0 as *mut PageTable<El23Attributes>) {
            Some(pointer) => pointer,
            None => panic!("a table at address 0"),
        }
    }
}

const ACCESSED: El23Attributes = El23Attributes::VALID
    .union(El23Attributes::ACCESSED)
    .union(El23Attributes::USER_RES1);
const NORMAL: El23Attributes = ACCESSED
    .union(El23Attributes::ATTRIBUTE_INDEX_1)
    .union(El23Attributes::INNER_SHAREABLE);
const TEXT: El23Attributes = NORMAL.union(El23Attributes::READ_ONLY);
const CONSTANTS: El23Attributes = TEXT.union(El23Attributes::XN);
const DATA: El23Attributes = NORMAL.union(El23Attributes::XN);
const DEVICE: El23Attributes = ACCESSED
    .union(El23Attributes::ATTRIBUTE_INDEX_0)
    .union(El23Attributes::XN);
const NOTHING: El23Attributes = El23Attributes::empty();

/// Root table of the address space that is active.
pub(crate) fn root() -> u64 {
    use aarch64_cpu::registers::TTBR0_EL2;
    use tock_registers::interfaces::Readable;
    TTBR0_EL2.get()
}

/// An address space in the making.
pub(crate) struct AddressSpace {
    root: RootTable<El2, Pool>,
}

impl Default for AddressSpace {
    fn default() -> Self {
        Self::new()
    }
}

impl AddressSpace {
    /// One that maps nothing.
    #[must_use]
    pub(crate) fn new() -> Self {
        Self {
            root: RootTable::new(Pool, 0, El2),
        }
    }

    /// Maps RAM for reading and writing.
    ///
    /// # Errors
    /// The range is not within 48 bits.
    pub(crate) fn add_ram(&mut self, base: u64, size: u64) -> Result<(), MapError> {
        self.map(base, base.saturating_add(size), DATA)
    }

    /// Maps device registers.
    ///
    /// # Errors
    /// The range is not within 48 bits.
    pub(crate) fn add_device(&mut self, base: u64, size: u64) -> Result<(), MapError> {
        self.map(base, base.saturating_add(size), DEVICE)
    }

    /// Maps the image with the rights its parts need, over what RAM there is, and leaves the guard pages of the stacks of
    /// that many CPUs out.
    ///
    /// # Errors
    /// The image is not within 48 bits.
    pub(crate) fn add_image(&mut self, cpus: usize) -> Result<(), MapError> {
        let parts = image::parts();
        self.map(parts.start, parts.text_end, TEXT)?;
        self.map(parts.text_end, parts.rodata_end, CONSTANTS)?;
        self.map(parts.rodata_end, parts.end, DATA)?;
        for number in 0..cpus {
            let (guard, bottom, _) = image::stack_of(number);
            self.map(guard, bottom, NOTHING)?;
        }
        Ok(())
    }

    fn map(&mut self, start: u64, end: u64, attributes: El23Attributes) -> Result<(), MapError> {
        if start >= end {
            return Ok(());
        }
        let region = MemoryRegion::new(start as usize, end as usize);
        let constraints = Constraints::NO_CONTIGUOUS_HINT;
        let address = PhysicalAddress(region.start().0);
        self.root
            .map_range(&region, address, attributes, constraints)
    }

    /// Makes it this CPU's, for good.
    pub(crate) fn activate(self) {
        let root = self.root.to_physical();
        core::mem::forget(self);
        #[cfg(target_arch = "aarch64")]
        {
            unsafe extern "C" {
                fn enable_mmu(root: usize);
            }
            // SAFETY: the caller mapped the image and all RAM where they are, so code, stack and data stay what they
            // were across the switch.
            unsafe { enable_mmu(root.0) };
        }
        #[cfg(not(target_arch = "aarch64"))]
        let _ = root;
    }
}
