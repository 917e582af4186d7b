//! Bochs with its i440FX chipset.

use crate::{Board, Match, Processor, Quirks};

/// `bochs`.
pub const BOCHS_PC: Board = Board {
    name: "bochs-pc",
    processor: Processor::X86_64,
    matches: Match::PciInMemory(false),
    early_console: None,
    // Bochs 2.7 decides at an entry which interrupts are masked, before it knows that a guest is entered.
    quirks: Quirks {
        masked_guests_hold_interrupts: true,
        ..Quirks::NONE
    },
};
