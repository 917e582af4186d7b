//! What differs between domains on one architecture and on another: where things are in their memory, and what a saved
//! one needs again.

use alloc::format;
use alloc::string::{String, ToString};
use hv_abi::control::host::{HostInfo, extension};
use hv_abi::layout::{arm, x86};
use hv_abi::record::Kind;
use mgmt_proto::snapshot::Manifest;

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

/// AMD SVM as a snapshot names it.
const SVM: &str = "svm";
/// Intel VMX as a snapshot names it.
const VMX: &str = "vmx";

/// What a domain on this host depends on beyond the architecture, as a snapshot names it.
pub(crate) fn name(host: &HostInfo) -> String {
    match host.extension {
        extension::SVM => SVM.to_string(),
        extension::VMX => VMX.to_string(),
        _ => format!("gicv{}", host.interrupt_controller_version),
    }
}

/// What of the CPU guests run by, for people.
pub(crate) fn virtualization(host: &HostInfo) -> &'static str {
    match host.extension {
        extension::SVM => "AMD SVM",
        extension::VMX => "Intel VMX",
        _ => "ARM EL2",
    }
}

/// What a snapshot depends on. Registers of a vCPU tell whose machine it was, whatever the manifest says.
pub(crate) fn of_snapshot(manifest: &Manifest) -> &str {
    let mut kinds = manifest.records.iter().map(|record| Kind(record.kind));
    let told = kinds.find_map(|kind| match kind {
        Kind::SVM_CPU => Some(SVM),
        Kind::VMX_CPU => Some(VMX),
        _ => None,
    });
    told.unwrap_or(&manifest.platform)
}

/// The same for people.
pub(crate) fn in_words(platform: &str) -> &str {
    match platform {
        "gicv2" => "a GICv2 (interrupt controller)",
        "gicv3" => "a GICv3 (interrupt controller)",
        SVM => "AMD SVM",
        VMX => "Intel VMX",
        other => other,
    }
}
