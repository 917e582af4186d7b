//! The boards that can be emulated, and which of the build products belong to which.

use std::path::PathBuf;

use crate::images::Images;
use crate::machine::Machine;

/// A board, by the name that `boards` gives it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Board {
    /// `qemu-virt`: arm64.
    QemuVirt,
    /// `qemu-q35`: x86-64 with AMD SVM.
    QemuQ35,
}

/// All of them.
pub const ALL: [Board; 2] = [Board::QemuVirt, Board::QemuQ35];
/// Boards that are planned, so that their names get a better answer than a typing error does.
const PLANNED: [&str; 3] = ["bochs-pc", "rpi4", "generic-uefi"];

impl Board {
    /// The board with this name; otherwise a sentence says that there is none.
    pub fn named(name: &str) -> Result<Self, String> {
        if let Some(board) = ALL.into_iter().find(|board| board.name() == name) {
            return Ok(board);
        }
        let why = if PLANNED.contains(&name) {
            "is not supported yet"
        } else {
            "is unknown"
        };
        let names = ALL.map(Self::name).join(", ");
        Err(format!("board {name} {why}; there is {names}"))
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::QemuVirt => "qemu-virt",
            Self::QemuQ35 => "qemu-q35",
        }
    }

    /// The name of its architecture in file names.
    #[must_use]
    pub fn architecture(self) -> &'static str {
        match self {
            Self::QemuVirt => "aarch64",
            Self::QemuQ35 => "x86_64",
        }
    }

    /// Its emulator.
    #[must_use]
    pub fn emulator(self) -> &'static str {
        match self {
            Self::QemuVirt => "qemu-system-aarch64",
            Self::QemuQ35 => "qemu-system-x86_64",
        }
    }

    /// The hypervisor for it.
    #[must_use]
    pub fn hypervisor(self, images: &Images) -> PathBuf {
        images.hypervisor_for(self.architecture())
    }

    /// Domain-0 for it.
    #[must_use]
    pub fn dom0(self, images: &Images) -> PathBuf {
        images.dom0_for(self.architecture())
    }

    /// One of our own small guests for it.
    #[must_use]
    pub fn guest(self, images: &Images, name: &str) -> PathBuf {
        images.guest_for(self.architecture(), name)
    }

    /// The folder of what `cargo xtask guest fetch` made of Debian: the kernel, `initrd.gz`, `VERSION`.
    #[must_use]
    pub fn debian(self, images: &Images) -> PathBuf {
        images.debian_for(self.architecture())
    }

    /// The name of Debian's kernel in that folder.
    #[must_use]
    pub fn kernel(self) -> &'static str {
        match self {
            Self::QemuVirt => "Image",
            Self::QemuQ35 => "vmlinux",
        }
    }

    /// The board with our hypervisor and a boot bundle.
    #[must_use]
    pub fn machine(self, images: &Images, bundle: impl Into<PathBuf>) -> Machine {
        Machine::new(self, self.hypervisor(images), bundle)
    }
}

#[cfg(test)]
mod tests {
    use super::Board;

    #[test]
    fn a_board_that_cannot_be_emulated_gets_a_sentence() {
        assert_eq!(Board::named("qemu-q35"), Ok(Board::QemuQ35));
        let said = |name| Board::named(name).unwrap_err();
        assert!(said("rpi4").contains("not supported yet"));
        assert!(said("toaster").ends_with("there is qemu-virt, qemu-q35"));
    }
}
