//! The device tree we were given: only looked through for words.
// UNSAFETY: bytes that xend wrote next to our image.
#![expect(unsafe_code, reason = "the boot protocol passes a device tree")]

use core::sync::atomic::{AtomicU64, Ordering};

static ADDRESS: AtomicU64 = AtomicU64::new(0);

/// Takes note of where the tree is.
pub(crate) fn found_at(address: u64) {
    ADDRESS.store(address, Ordering::Relaxed);
}

/// The decimal number behind `key` on the command line, such as `seed=`.
#[must_use]
pub fn option(key: &str) -> Option<u64> {
    let bytes = bytes()?;
    let at = bytes
        .windows(key.len())
        .position(|window| window == key.as_bytes())?;
    let digits = bytes
        .get(at + key.len()..)?
        .iter()
        .take_while(|byte| byte.is_ascii_digit());
    Some(digits.fold(0, |value, digit| value * 10 + u64::from(digit - b'0')))
}

/// Whether a word is in it.
#[must_use]
pub fn says(word: &str) -> bool {
    bytes().is_some_and(|bytes| {
        let mut windows = bytes.windows(word.len());
        windows.any(|window| window == word.as_bytes())
    })
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
