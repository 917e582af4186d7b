//! QEMU's `q35`.

use crate::{Board, Match, Processor, Quirks};

/// `qemu-system-x86_64 -M q35 -cpu max`.
pub const QEMU_Q35: Board = Board {
    name: "qemu-q35",
    processor: Processor::X86_64,
    matches: Match::PciInMemory(true),
    early_console: None,
    quirks: Quirks::NONE,
};
