//! What differs between domains on one architecture and on another: where things are in their memory.

use hv_abi::layout::{arm, x86};

/// An architecture that domains are built for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Architecture {
    /// arm64.
    Arm64,
    /// x86-64.
    X86_64,
}

/// Where things are in a domain's memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Places {
    /// First bank of RAM.
    pub(crate) ram0_base: u64,
    /// Its size at most.
    pub(crate) ram0_size: u64,
    /// Second bank of RAM.
    pub(crate) ram1_base: u64,
    /// Highest guest-physical address plus one.
    pub(crate) end: u64,
    /// Guest frame of the PV console's ring. Xenstore's is the next.
    pub(crate) console_gfn: u64,
    /// Guest frame of the xenstore ring.
    pub(crate) xenstore_gfn: u64,
}

const ARM64: Places = Places {
    ram0_base: arm::RAM0_BASE,
    ram0_size: arm::RAM0_SIZE,
    ram1_base: arm::RAM1_BASE,
    end: arm::IPA_END,
    console_gfn: arm::CONSOLE_GFN,
    xenstore_gfn: arm::XENSTORE_GFN,
};

const X86_64: Places = Places {
    ram0_base: 0,
    ram0_size: x86::RAM0_SIZE,
    ram1_base: x86::RAM1_BASE,
    end: x86::IPA_END,
    console_gfn: x86::CONSOLE_GFN,
    xenstore_gfn: x86::XENSTORE_GFN,
};

impl Architecture {
    /// The architecture with this name (as [`crate::Facts::arch`] spells it).
    pub(crate) fn named(name: &str) -> Option<Self> {
        match name {
            "aarch64" => Some(Self::Arm64),
            "x86_64" => Some(Self::X86_64),
            _ => None,
        }
    }

    /// Where things are.
    pub(crate) const fn places(self) -> &'static Places {
        match self {
            Self::Arm64 => &ARM64,
            Self::X86_64 => &X86_64,
        }
    }
}
