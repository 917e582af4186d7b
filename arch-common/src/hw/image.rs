//! The hypervisor's image in memory: its parts, and the stacks in it, as the link.ld of each architecture places them.

#[cfg(target_os = "none")]
unsafe extern "C" {
    static __image_start: u8;
    static __text_end: u8;
    static __rodata_end: u8;
    static __guard: u8;
    static __stack_bottom: u8;
    static __stack_top: u8;
    static __stacks: u8;
    static __image_end: u8;
}

/// Where the image's parts are: boundaries in ascending order.
#[derive(Clone, Copy, Debug, Default)]
pub struct Parts {
    /// First byte; code is here.
    pub start: u64,
    /// End of code: constants are here.
    pub text_end: u64,
    /// End of constants: data is here.
    pub rodata_end: u64,
    /// The page under the first CPU's stack.
    pub guard: u64,
    /// First byte of the first CPU's stack.
    pub stack_bottom: u64,
    /// The byte after its last.
    pub stack_top: u64,
    /// Stacks of further CPUs, each over a guard page.
    pub stacks: u64,
    /// The byte after the last stack.
    pub end: u64,
}

/// See [`Parts`].
#[cfg(target_os = "none")]
#[must_use]
pub fn parts() -> Parts {
    Parts {
        start: (&raw const __image_start).addr() as u64,
        text_end: (&raw const __text_end).addr() as u64,
        rodata_end: (&raw const __rodata_end).addr() as u64,
        guard: (&raw const __guard).addr() as u64,
        stack_bottom: (&raw const __stack_bottom).addr() as u64,
        stack_top: (&raw const __stack_top).addr() as u64,
        stacks: (&raw const __stacks).addr() as u64,
        end: (&raw const __image_end).addr() as u64,
    }
}

/// See [`Parts`].
#[cfg(not(target_os = "none"))]
#[must_use]
pub fn parts() -> Parts {
    Parts::default()
}

/// Bytes of a guard page.
const GUARD: u64 = 0x1000;
/// Distance of the stacks of further CPUs: a guard page and a stack.
const STACK_STRIDE: u64 = 0x1_1000;

/// The stack of a CPU: its guard page, its bottom, its top.
#[must_use]
pub fn stack_of(number: usize) -> (u64, u64, u64) {
    let parts = parts();
    match number.checked_sub(1) {
        None => (parts.guard, parts.stack_bottom, parts.stack_top),
        Some(further) => {
            let guard = parts.stacks + STACK_STRIDE * further as u64;
            (guard, guard + GUARD, guard + STACK_STRIDE)
        }
    }
}

/// First byte of the image in memory, and the one after its last (BSS and the stacks of that many CPUs included).
#[must_use]
pub fn range(cpus: usize) -> (u64, u64) {
    let parts = parts();
    let further = cpus.saturating_sub(1) as u64;
    (parts.start, parts.stacks + STACK_STRIDE * further)
}

/// Two words of a CPU's stack, if they are on it.
pub(crate) fn stack_words(number: usize, address: u64) -> Option<[u64; 2]> {
    let (_, bottom, top) = stack_of(number);
    let inside = address >= bottom && address.checked_add(16)? <= top;
    if !inside || !address.is_multiple_of(8) {
        return None;
    }
    // SAFETY: aligned and within a stack, which is mapped; any bytes are words, and a volatile read makes nothing of it that
    // whose stack it is changes them.
    Some(unsafe { (address as *const [u64; 2]).read_volatile() })
}
