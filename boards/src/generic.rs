//! Machines that their own description describes well enough.

use crate::{Board, Match, Processor, Quirks};

/// Any arm64 machine with a device tree.
pub const GENERIC_ARM64: Board = Board {
    name: "generic-arm64",
    processor: Processor::Arm64,
    matches: Match::Any,
    early_console: None,
    quirks: Quirks::NONE,
};
