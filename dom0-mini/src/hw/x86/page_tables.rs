//! Page tables: everything identity-mapped with the largest pages that fit, image parts with their rights, RAM without
//! execution, device memory uncached. What lies below the stack is not mapped, so that an overflow is noticed.
//!
//! Four levels (Intel SDM volume 3, 5.5). Nested paging decides what is really there.

use alloc::alloc::alloc_zeroed;
use alloc::boxed::Box;
use core::alloc::Layout;
use raw_cpuid::CpuId;
use x86_64::registers::control::{Cr3, Cr3Flags};
use x86_64::structures::paging::mapper::{MapToError, MapperFlush};
use x86_64::structures::paging::{
    FrameAllocator, Mapper, OffsetPageTable, PageSize, PageTable, PageTableFlags as Flags,
    PhysFrame, Size1GiB, Size2MiB, Size4KiB,
};
use x86_64::{PhysAddr, VirtAddr};

use hv_abi::start::Range;

const READ_ONLY: Flags = Flags::PRESENT.union(Flags::NO_EXECUTE);
const READ_WRITE: Flags = READ_ONLY.union(Flags::WRITABLE);
const TEXT: Flags = Flags::PRESENT;
/// PAT entry 3: uncached (SDM volume 3, 13.12.4).
const DEVICE: Flags = READ_WRITE
    .union(Flags::NO_CACHE)
    .union(Flags::WRITE_THROUGH);
/// Rights of upper levels: the lowest decides.
const TABLE: Flags = Flags::PRESENT.union(Flags::WRITABLE);

/// Lower half of the canonical addresses.
const END: u64 = 1 << 47;

unsafe extern "C" {
    static __stack_guard: u8;
    static __stack_bottom: u8;
}

/// What lies below the stack. Exceptions have another one.
fn stack_guard() -> Range {
    between(
        (&raw const __stack_guard) as u64,
        (&raw const __stack_bottom) as u64,
    )
}

/// Maps device registers, all RAM banks of the machine (claimed and granted frames can be anywhere in them) and our
/// image, in place of what the entry code mapped.
pub(crate) fn enable(devices: &[Range], ram_banks: &[Range], image: [Range; 3]) {
    let root = Box::leak(Box::new(PageTable::new()));
    let frame = frame_at(core::ptr::from_ref(root) as u64);
    // SAFETY: memory is identity-mapped before and after, and the table is empty.
    let mut map = Map(unsafe { OffsetPageTable::new(root, VirtAddr::zero()) });
    for range in devices {
        map.range(*range, DEVICE);
    }
    for (part, rights) in image.into_iter().zip([TEXT, READ_ONLY, READ_WRITE]) {
        map.without(part, stack_guard(), rights);
    }
    let [first, .., last] = image;
    let image = between(first.base, end(last));
    for bank in ram_banks {
        map.without(*bank, image, READ_WRITE);
    }
    // SAFETY: the tables cover the image, the stack and the heap at the addresses they are used at, and live for ever.
    unsafe { Cr3::write(frame, Cr3Flags::empty()) };
}

fn end(range: Range) -> u64 {
    range.base.saturating_add(range.size)
}

fn between(base: u64, end: u64) -> Range {
    Range {
        base,
        size: end.saturating_sub(base),
    }
}

fn frame_at<S: PageSize>(address: u64) -> PhysFrame<S> {
    PhysFrame::containing_address(PhysAddr::new(address))
}

struct Map(OffsetPageTable<'static>);

impl Map {
    /// Maps a range, except for a hole that may lie in it.
    fn without(&mut self, range: Range, hole: Range, rights: Flags) {
        let hole_base = hole.base.clamp(range.base, end(range));
        let hole_end = end(hole).clamp(hole_base, end(range));
        self.range(between(range.base, hole_base), rights);
        self.range(between(hole_end, end(range)), rights);
    }

    /// Maps the pages of a range that are not mapped yet.
    fn range(&mut self, range: Range, rights: Flags) {
        let mut at = range.base & !(Size4KiB::SIZE - 1);
        let end = end(range).min(END);
        while range.size != 0 && at < end {
            let mapped = self
                .page::<Size1GiB>(at, end, rights)
                .or_else(|| self.page::<Size2MiB>(at, end, rights));
            at += mapped.unwrap_or_else(|| {
                // Ranges can share a page: what is mapped already stays.
                let frame = frame_at::<Size4KiB>(at);
                let _ = self.map(frame, rights);
                Size4KiB::SIZE
            });
        }
    }

    /// Maps one large page, if it fits and the CPU has it; its size.
    fn page<S: PageSize>(&mut self, at: u64, end: u64, rights: Flags) -> Option<u64>
    where
        OffsetPageTable<'static>: Mapper<S>,
    {
        let fits = at.is_multiple_of(S::SIZE) && end - at >= S::SIZE;
        let known = S::SIZE < Size1GiB::SIZE || has_1_gib_pages();
        if !(fits && known) {
            return None;
        }
        self.map(frame_at::<S>(at), rights).ok()?;
        Some(S::SIZE)
    }

    fn map<S: PageSize>(&mut self, frame: PhysFrame<S>, rights: Flags) -> Result<(), MapToError<S>>
    where
        OffsetPageTable<'static>: Mapper<S>,
    {
        let page = x86_64::structures::paging::Page::containing_address(VirtAddr::new(
            frame.start_address().as_u64(),
        ));
        // SAFETY: the tables are not in use yet; what they will map is what is used under these addresses now.
        unsafe {
            self.0
                .map_to_with_table_flags(page, frame, rights, TABLE, &mut Heap)
        }
        .map(MapperFlush::ignore)
    }
}

fn has_1_gib_pages() -> bool {
    CpuId::new()
        .get_extended_processor_and_feature_identifiers()
        .is_some_and(|features| features.has_1gib_pages())
}

/// Pages of the heap, for tables that stay.
struct Heap;

// SAFETY: the frame comes from the heap, is not handed out twice, and is never given back.
unsafe impl FrameAllocator<Size4KiB> for Heap {
    fn allocate_frame(&mut self) -> Option<PhysFrame<Size4KiB>> {
        // SAFETY: the layout has a size above zero.
        let page = unsafe { alloc_zeroed(Layout::new::<PageTable>()) };
        (!page.is_null()).then(|| frame_at(page as u64))
    }
}
