//! Machine frames and who owns them.

use crate::arch::Mfn;

/// A run of `1 << order` frames that belong to whoever holds this value. Only the pool makes one.
#[derive(Debug)]
pub struct FrameRun {
    first: Mfn,
    order: u32,
}

impl FrameRun {
    /// First frame.
    #[must_use]
    pub fn first(&self) -> Mfn {
        self.first
    }

    /// `log2` of its frames.
    #[must_use]
    pub fn order(&self) -> u32 {
        self.order
    }
}
