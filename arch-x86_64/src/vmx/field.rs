//! Fields of a VMCS, by their encodings (Intel SDM, volume 3, appendix "Field Encoding in VMCS"), and bits of the controls.
#![cfg_attr(
    not(target_os = "none"),
    allow(dead_code, reason = "only the image itself writes the host's state")
)]

/// A field.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Field(pub(crate) u64);

macro_rules! fields {
    ($($name:ident = $encoding:literal),* $(,)?) => {
        impl Field {
            $(pub(crate) const $name: Self = Self($encoding);)*
        }
    };
}

fields! {
    VPID = 0x0000,
    GUEST_ES_SELECTOR = 0x0800,
    HOST_ES_SELECTOR = 0x0C00,
    HOST_CS_SELECTOR = 0x0C02,
    HOST_SS_SELECTOR = 0x0C04,
    HOST_DS_SELECTOR = 0x0C06,
    HOST_FS_SELECTOR = 0x0C08,
    HOST_GS_SELECTOR = 0x0C0A,
    HOST_TR_SELECTOR = 0x0C0C,
    IO_BITMAP_A = 0x2000,
    IO_BITMAP_B = 0x2002,
    MSR_BITMAP = 0x2004,
    TSC_OFFSET = 0x2010,
    EPT_POINTER = 0x201A,
    GUEST_PHYSICAL_ADDRESS = 0x2400,
    VMCS_LINK_POINTER = 0x2800,
    GUEST_DEBUGCTL = 0x2802,
    GUEST_PAT = 0x2804,
    GUEST_EFER = 0x2806,
    GUEST_PDPTE0 = 0x280A,
    HOST_PAT = 0x2C00,
    HOST_EFER = 0x2C02,
    PIN_CONTROLS = 0x4000,
    PROCESSOR_CONTROLS = 0x4002,
    EXCEPTION_BITMAP = 0x4004,
    CR3_TARGET_COUNT = 0x400A,
    EXIT_CONTROLS = 0x400C,
    EXIT_MSR_STORE_COUNT = 0x400E,
    EXIT_MSR_LOAD_COUNT = 0x4010,
    ENTRY_CONTROLS = 0x4012,
    ENTRY_MSR_LOAD_COUNT = 0x4014,
    ENTRY_INTERRUPTION = 0x4016,
    ENTRY_ERROR_CODE = 0x4018,
    SECONDARY_CONTROLS = 0x401E,
    INSTRUCTION_ERROR = 0x4400,
    EXIT_REASON = 0x4402,
    EXIT_INTERRUPTION = 0x4404,
    EXIT_ERROR_CODE = 0x4406,
    VECTORING_INFORMATION = 0x4408,
    VECTORING_ERROR_CODE = 0x440A,
    INSTRUCTION_LENGTH = 0x440C,
    GUEST_ES_LIMIT = 0x4800,
    GUEST_GDTR_LIMIT = 0x4810,
    GUEST_IDTR_LIMIT = 0x4812,
    GUEST_ES_ACCESS = 0x4814,
    GUEST_CS_ACCESS = 0x4816,
    GUEST_SS_ACCESS = 0x4818,
    GUEST_INTERRUPTIBILITY = 0x4824,
    GUEST_ACTIVITY = 0x4826,
    GUEST_SYSENTER_CS = 0x482A,
    GUEST_PREEMPTION_TIMER = 0x482E,
    HOST_SYSENTER_CS = 0x4C00,
    CR0_MASK = 0x6000,
    CR4_MASK = 0x6002,
    CR0_SHADOW = 0x6004,
    CR4_SHADOW = 0x6006,
    QUALIFICATION = 0x6400,
    GUEST_CR0 = 0x6800,
    GUEST_CR3 = 0x6802,
    GUEST_CR4 = 0x6804,
    GUEST_ES_BASE = 0x6806,
    GUEST_CS_BASE = 0x6808,
    GUEST_GDTR_BASE = 0x6816,
    GUEST_IDTR_BASE = 0x6818,
    GUEST_DR7 = 0x681A,
    GUEST_RSP = 0x681C,
    GUEST_RIP = 0x681E,
    GUEST_RFLAGS = 0x6820,
    GUEST_PENDING_DEBUG = 0x6822,
    GUEST_SYSENTER_ESP = 0x6824,
    GUEST_SYSENTER_EIP = 0x6826,
    HOST_CR0 = 0x6C00,
    HOST_CR3 = 0x6C02,
    HOST_CR4 = 0x6C04,
    HOST_FS_BASE = 0x6C06,
    HOST_GS_BASE = 0x6C08,
    HOST_TR_BASE = 0x6C0A,
    HOST_GDTR_BASE = 0x6C0C,
    HOST_IDTR_BASE = 0x6C0E,
    HOST_SYSENTER_ESP = 0x6C10,
    HOST_SYSENTER_EIP = 0x6C12,
    HOST_RIP = 0x6C16,
}

impl Field {
    /// The same field of the segment register that is `number` after ES: CS, SS, DS, FS, GS, LDTR, TR.
    pub(crate) const fn segment(self, number: u64) -> Self {
        Self(self.0 + 2 * number)
    }

    /// The same of the next 64-bit field.
    pub(crate) const fn next(self, number: u64) -> Self {
        Self(self.0 + 2 * number)
    }
}

/// Pin-based controls.
pub(crate) mod pin {
    pub(crate) const EXTERNAL_INTERRUPT: u32 = 1 << 0;
    pub(crate) const NMI: u32 = 1 << 3;
    pub(crate) const PREEMPTION_TIMER: u32 = 1 << 6;
}

/// Primary processor-based controls.
pub(crate) mod processor {
    pub(crate) const INTERRUPT_WINDOW: u32 = 1 << 2;
    pub(crate) const TSC_OFFSET: u32 = 1 << 3;
    pub(crate) const HLT: u32 = 1 << 7;
    pub(crate) const MWAIT: u32 = 1 << 10;
    pub(crate) const RDPMC: u32 = 1 << 11;
    pub(crate) const CR8_LOAD: u32 = 1 << 19;
    pub(crate) const CR8_STORE: u32 = 1 << 20;
    pub(crate) const IO_BITMAPS: u32 = 1 << 25;
    pub(crate) const MSR_BITMAPS: u32 = 1 << 28;
    pub(crate) const MONITOR: u32 = 1 << 29;
    pub(crate) const SECONDARY: u32 = 1 << 31;
    pub(crate) const WANTED: u32 = TSC_OFFSET
        | HLT
        | MWAIT
        | RDPMC
        | CR8_LOAD
        | CR8_STORE
        | IO_BITMAPS
        | MSR_BITMAPS
        | MONITOR
        | SECONDARY;
}

/// Secondary processor-based controls.
pub(crate) mod secondary {
    pub(crate) const EPT: u32 = 1 << 1;
    pub(crate) const RDTSCP: u32 = 1 << 3;
    pub(crate) const VPID: u32 = 1 << 5;
    pub(crate) const WBINVD: u32 = 1 << 6;
    pub(crate) const UNRESTRICTED: u32 = 1 << 7;
    pub(crate) const INVPCID: u32 = 1 << 12;
    pub(crate) const NEEDED: u32 = EPT | UNRESTRICTED;
    /// Where the CPU has them.
    pub(crate) const WANTED: u32 = RDTSCP | VPID | WBINVD | INVPCID;
}

/// Exit controls.
pub(crate) mod exit {
    pub(crate) const SAVE_DEBUG: u32 = 1 << 2;
    pub(crate) const HOST_64_BIT: u32 = 1 << 9;
    pub(crate) const SAVE_PAT: u32 = 1 << 18;
    pub(crate) const LOAD_PAT: u32 = 1 << 19;
    pub(crate) const SAVE_EFER: u32 = 1 << 20;
    pub(crate) const LOAD_EFER: u32 = 1 << 21;
    /// Only with [`super::pin::PREEMPTION_TIMER`].
    pub(crate) const SAVE_PREEMPTION_TIMER: u32 = 1 << 22;
    pub(crate) const WANTED: u32 =
        SAVE_DEBUG | HOST_64_BIT | SAVE_PAT | LOAD_PAT | SAVE_EFER | LOAD_EFER;
}

/// Entry controls.
pub(crate) mod entry {
    pub(crate) const LOAD_DEBUG: u32 = 1 << 2;
    pub(crate) const GUEST_64_BIT: u32 = 1 << 9;
    pub(crate) const LOAD_PAT: u32 = 1 << 14;
    pub(crate) const LOAD_EFER: u32 = 1 << 15;
    pub(crate) const WANTED: u32 = LOAD_DEBUG | LOAD_PAT | LOAD_EFER;
}

/// A control word: what is wanted, as far as the CPU allows it, and what it demands. `capability` has the bits that must be
/// one in its lower half and those that may be one in its upper.
#[must_use]
pub(crate) const fn control(wanted: u32, capability: u64) -> u32 {
    (wanted | capability as u32) & (capability >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_control_is_what_is_wanted_allowed_and_demanded() {
        assert_eq!(control(0b1010, 0b1110 << 32 | 0b0100), 0b1110);
        assert_eq!(control(0b1001, 0b1000 << 32), 0b1000);
    }

    #[test]
    fn segments_follow_each_other() {
        assert_eq!(Field::GUEST_ES_ACCESS.segment(1), Field::GUEST_CS_ACCESS);
        assert_eq!(Field::GUEST_ES_BASE.segment(7), Field(0x6814));
    }
}
