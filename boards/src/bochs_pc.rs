//! Bochs with its i440FX chipset.

use crate::{Board, Match, Processor, Quirks};

/// `bochs`.
pub const BOCHS_PC: Board = Board {
    name: "bochs-pc",
    processor: Processor::X86_64,
    matches: Match::PciInMemory(false),
    early_console: None,
    quirks: Quirks::NONE,
};
