//! What the command line says: only looked through for words. On ARM it is part of the device tree, and all of that is
//! looked through.

use crate::arch::boot;

/// The decimal number behind `key` on the command line, such as `seed=`.
#[must_use]
pub fn option(key: &str) -> Option<u64> {
    let text = boot::text();
    let at = text
        .windows(key.len())
        .position(|window| window == key.as_bytes())?;
    let digits = text
        .get(at + key.len()..)?
        .iter()
        .take_while(|byte| byte.is_ascii_digit());
    Some(digits.fold(0, |value, digit| value * 10 + u64::from(digit - b'0')))
}

/// Whether a word is in it.
#[must_use]
pub fn says(word: &str) -> bool {
    let mut windows = boot::text().windows(word.len());
    windows.any(|window| window == word.as_bytes())
}
