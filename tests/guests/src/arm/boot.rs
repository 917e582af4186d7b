//! What we were given: a device tree, with the command line somewhere in it.
// UNSAFETY: bytes that xend wrote next to our image.
#![expect(unsafe_code, reason = "the boot protocol passes a device tree")]

use core::sync::atomic::{AtomicU64, Ordering};

static ADDRESS: AtomicU64 = AtomicU64::new(0);

/// Takes note of where the tree is.
pub(crate) fn found_at(address: u64) {
    ADDRESS.store(address, Ordering::Relaxed);
}

/// The tree, to look for words in.
pub(crate) fn text() -> &'static [u8] {
    bytes().unwrap_or_default()
}

fn bytes() -> Option<&'static [u8]> {
    let start = ADDRESS.load(Ordering::Relaxed) as *const u8;
    if start.is_null() {
        return None;
    }
    // SAFETY: the boot protocol passes the address of a tree, whose header is 40 bytes; nobody writes it.
    let header = unsafe { core::slice::from_raw_parts(start, 8) };
    let size = u32::from_be_bytes(header.get(4..8)?.try_into().ok()?);
    // SAFETY: the header says how long the tree is.
    Some(unsafe { core::slice::from_raw_parts(start, size as usize) })
}
