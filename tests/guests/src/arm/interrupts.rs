//! Interrupts, as far as guests on any machine have them.

pub use super::gic::interface::{send_to, send_to_others};
pub use super::gic::{mask, unmask, wait};
