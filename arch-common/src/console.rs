//! The debug console, whatever its registers are.

use core::fmt;
use core::marker::PhantomData;

use hv_common::lock::Lock;

/// A serial line.
pub trait Line {
    /// Sends text, where it is there.
    fn transmit(text: &[u8]);
}

/// Held while a text is written, so that texts do not mix.
static TURN: Lock<()> = Lock::new(());

/// Writes text when it is its turn.
pub fn write<L: Line>(text: &[u8]) {
    let _turn = TURN.lock();
    L::transmit(text);
}

/// Gives the bytes of a text to `put`; a line end becomes CR LF.
#[inline]
pub fn put_text(text: &[u8], mut put: impl FnMut(u8)) {
    for byte in text {
        if *byte == b'\n' {
            put(b'\r');
        }
        put(*byte);
    }
}

/// The console for `write!`, although somebody else may be writing: for the last words.
#[derive(Debug)]
pub struct LastWords<L>(PhantomData<L>);

impl<L> LastWords<L> {
    /// See the type.
    #[expect(clippy::new_without_default, reason = "it has a line only by its type")]
    #[must_use]
    pub const fn new() -> Self {
        Self(PhantomData)
    }
}

impl<L: Line> fmt::Write for LastWords<L> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        L::transmit(text.as_bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_ends_with_both() {
        let mut sent = Vec::new();
        put_text(b"a\n\nb", |byte| sent.push(byte));
        assert_eq!(sent, b"a\r\n\r\nb");
    }
}
