//! The boards that can be emulated, and which of the build products belong to which.

use std::path::PathBuf;

use crate::images::Images;
use crate::kvm;
use crate::machine::Machine;

/// A board, by the name that `boards` gives it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Board {
    /// `qemu-virt`: arm64.
    QemuVirt,
    /// `qemu-q35`: x86-64 with AMD SVM.
    QemuQ35,
    /// `bochs-pc`: x86-64 with Intel VMX, or with AMD SVM by another CPU model.
    BochsPc,
}

/// All of them.
pub const ALL: [Board; 3] = [Board::QemuVirt, Board::QemuQ35, Board::BochsPc];
/// Boards that are planned, so that their names get a better answer than a typing error does.
const PLANNED: [&str; 2] = ["rpi4", "generic-uefi"];

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
            Self::BochsPc => "bochs-pc",
        }
    }

    /// The name of its architecture in file names.
    #[must_use]
    pub fn architecture(self) -> &'static str {
        match self {
            Self::QemuVirt => "aarch64",
            Self::QemuQ35 | Self::BochsPc => "x86_64",
        }
    }

    /// Its emulator.
    #[must_use]
    pub fn emulator(self) -> &'static str {
        match self {
            Self::QemuVirt => "qemu-system-aarch64",
            Self::QemuQ35 => "qemu-system-x86_64",
            Self::BochsPc => "bochs-bin",
        }
    }

    /// The CPU models that it is tested with, the default first.
    #[must_use]
    pub fn cpus(self) -> &'static [&'static str] {
        match self {
            // Measured against others: free of what other models need worked around.
            Self::QemuVirt => &["cortex-a53"],
            // Everything that QEMU can emulate, AMD SVM with nested paging among it.
            Self::QemuQ35 => &["max", "EPYC"],
            // VMX with everything but posted interrupts; VMX with less; SVM that saves the next instruction's address.
            Self::BochsPc => &["corei7_skylake_x", "corei3_cnl", "ryzen"],
        }
    }

    /// The CPU model with this name; otherwise a sentence says which there are. On qemu-q35 that of the machine we run on is
    /// one, too, where KVM has nested virtualization: it is faster, and no test needs it.
    pub fn cpu(self, name: &str) -> Result<&'static str, String> {
        if self == Self::QemuQ35 && name == kvm::CPU {
            return kvm::check().map(|()| kvm::CPU);
        }
        let mut models = self.cpus().iter().copied();
        models.find(|model| *model == name).ok_or_else(|| {
            let models = self.cpus().join(", ");
            format!(
                "{} is not tested with a CPU {name}; there is {models}",
                self.name()
            )
        })
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

    /// Whether its management port is too slow for anything large: a serial line.
    #[must_use]
    pub fn takes_guests_from_its_bundle(self) -> bool {
        self == Self::BochsPc
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
            Self::QemuQ35 | Self::BochsPc => "vmlinux",
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
        assert!(said("toaster").ends_with("there is qemu-virt, qemu-q35, bochs-pc"));
    }

    #[test]
    fn cpu_models_are_those_that_are_tested() {
        assert_eq!(Board::BochsPc.cpu("ryzen"), Ok("ryzen"));
        let said = Board::BochsPc.cpu("max").unwrap_err();
        assert!(said.ends_with("there is corei7_skylake_x, corei3_cnl, ryzen"));
    }
}
