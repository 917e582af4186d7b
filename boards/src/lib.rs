//! Boards, as values: what a machine is called, how it is recognised, and what its description does not say.
//!
//! Sizes, addresses and interrupts that a device tree or ACPI gives are not repeated here.
#![no_std]
#![forbid(unsafe_code)]

pub mod bochs_pc;
pub mod generic;
pub mod qemu_q35;
pub mod qemu_virt;

/// A machine.
#[derive(Clone, Copy, Debug)]
pub struct Board {
    /// Its name, as `--board` and `info` spell it.
    pub name: &'static str,
    /// Its processors.
    pub processor: Processor,
    /// How it is recognised.
    pub matches: Match,
    /// The console that works before its description is read; nothing: the description's `stdout-path`.
    pub early_console: Option<EarlyConsole>,
    /// What is wrong with it.
    pub quirks: Quirks,
}

/// A processor architecture.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Processor {
    /// 64-bit ARM.
    Arm64,
    /// x86-64.
    X86_64,
}

/// How a board is recognised.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Match {
    /// The root of its device tree is compatible with this.
    RootCompatible(&'static str),
    /// Whether ACPI shows PCI configuration space in memory (x86).
    PciInMemory(bool),
    /// Any machine of its architecture that no other board matches.
    Any,
}

/// A console at a known place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EarlyConsole {
    /// What it is.
    pub kind: ConsoleKind,
    /// Its registers.
    pub base: u64,
}

/// What kind of console it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ConsoleKind {
    /// ARM PL011, configured by firmware.
    Pl011,
}

/// Deviations from what its description says.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Quirks {
    /// Power calls go by `SMC`, whatever the description says.
    pub power_by_smc: bool,
    /// An interrupt waits until a guest that masks its own takes them again (x86).
    pub masked_guests_hold_interrupts: bool,
}

impl Quirks {
    /// None.
    pub const NONE: Self = Self {
        power_by_smc: false,
        masked_guests_hold_interrupts: false,
    };
}

/// All boards; the first that matches is the machine.
pub const ALL: [&Board; 4] = [
    &qemu_virt::QEMU_VIRT,
    &qemu_q35::QEMU_Q35,
    &bochs_pc::BOCHS_PC,
    &generic::GENERIC_ARM64,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_board_that_matches_anything_comes_last() {
        let any = |board: &&Board| board.matches == Match::Any;
        assert_eq!(ALL.iter().position(any), Some(ALL.len() - 1));
    }
}
