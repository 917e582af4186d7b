//! QEMU's `virt` machine for arm64.

use crate::{Board, ConsoleKind, EarlyConsole, Match, Processor, Quirks};

/// `-M virt,virtualization=on`, any GIC.
pub const QEMU_VIRT: Board = Board {
    name: "qemu-virt",
    processor: Processor::Arm64,
    matches: Match::RootCompatible("linux,dummy-virt"),
    early_console: Some(EarlyConsole {
        kind: ConsoleKind::Pl011,
        base: 0x0900_0000,
    }),
    quirks: Quirks::NONE,
};
