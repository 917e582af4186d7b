//! What a VMCS says after an exit (Intel SDM, volume 3, "VM Exits", appendix "VMX Basic Exit Reasons"), as a plain value.

use crate::vendor::{ControlRegister, Event, Memory, Port};

/// The fields that say it. Those that only some reasons need are read when they are.
pub(crate) trait Fields {
    /// EXIT_REASON.
    fn reason(&self) -> u32;
    /// EXIT_QUALIFICATION.
    fn qualification(&self) -> u64;
    /// VM-exit interruption information and error code.
    fn interruption(&self) -> (u32, u32);
    /// Guest-physical address.
    fn physical_address(&self) -> u64;
    /// Length of the instruction.
    fn length(&self) -> u64;
    /// VM-instruction error, or what is known of a failed entry.
    fn error(&self) -> u64;
}

/// Basic exit reasons.
mod reason {
    pub(super) const EXCEPTION: u32 = 0;
    pub(super) const EXTERNAL_INTERRUPT: u32 = 1;
    pub(super) const TRIPLE_FAULT: u32 = 2;
    pub(super) const INIT: u32 = 3;
    pub(super) const STARTUP: u32 = 4;
    pub(super) const INTERRUPT_WINDOW: u32 = 7;
    pub(super) const TASK_SWITCH: u32 = 9;
    pub(super) const CPUID: u32 = 10;
    pub(super) const HLT: u32 = 12;
    pub(super) const INVD: u32 = 13;
    pub(super) const RDPMC: u32 = 15;
    pub(super) const VMCALL: u32 = 18;
    pub(super) const VMCLEAR: u32 = 19;
    pub(super) const VMXON: u32 = 27;
    pub(super) const CONTROL_REGISTER: u32 = 28;
    pub(super) const IO: u32 = 30;
    pub(super) const RDMSR: u32 = 31;
    pub(super) const WRMSR: u32 = 32;
    pub(super) const INVALID_STATE: u32 = 33;
    pub(super) const MSR_LOADING: u32 = 34;
    pub(super) const MWAIT: u32 = 36;
    pub(super) const MONITOR: u32 = 39;
    pub(super) const PAUSE: u32 = 40;
    pub(super) const EPT_VIOLATION: u32 = 48;
    pub(super) const EPT_MISCONFIGURATION: u32 = 49;
    pub(super) const INVEPT: u32 = 50;
    pub(super) const PREEMPTION_TIMER: u32 = 52;
    pub(super) const INVVPID: u32 = 53;
    pub(super) const WBINVD: u32 = 54;
    pub(super) const XSETBV: u32 = 55;
    pub(super) const VMFUNC: u32 = 59;
}

/// What happened.
#[inline]
pub(crate) fn decode(fields: &impl Fields) -> Event {
    match fields.reason() & 0xFFFF {
        reason::VMCALL => Event::Hypercall,
        reason::EXTERNAL_INTERRUPT | reason::PREEMPTION_TIMER => Event::Interrupted,
        reason::CPUID => Event::Cpuid,
        reason::RDMSR => Event::ReadMsr,
        reason::WRMSR => Event::WriteMsr,
        reason::IO => Event::Port(port(fields)),
        reason::HLT => Event::Halt,
        reason::INTERRUPT_WINDOW => Event::WindowOpen,
        reason::EPT_VIOLATION => Event::Memory(memory(fields)),
        reason::CONTROL_REGISTER => control_register(fields),
        other => decode_rare(other, fields),
    }
}

#[cold]
fn decode_rare(reason: u32, fields: &impl Fields) -> Event {
    match reason {
        reason::EXCEPTION => exception(fields),
        reason::TRIPLE_FAULT => Event::TripleFault,
        reason::INIT | reason::STARTUP => Event::Interrupted,
        reason::TASK_SWITCH => Event::TaskSwitch,
        reason::INVD | reason::WBINVD => Event::Cache,
        reason::PAUSE => Event::Pause,
        reason::XSETBV => Event::Xsetbv,
        reason::RDPMC => Event::Undefined("rdpmc"),
        reason::MWAIT => Event::Undefined("mwait"),
        reason::MONITOR => Event::Undefined("monitor"),
        reason::VMCLEAR..=reason::VMXON | reason::INVEPT | reason::INVVPID | reason::VMFUNC => {
            Event::Undefined("instruction of VMX")
        }
        reason::INVALID_STATE | reason::MSR_LOADING | reason::EPT_MISCONFIGURATION => {
            Event::Failed(u64::from(reason), fields.error())
        }
        other => Event::Unknown(u64::from(other)),
    }
}

/// "Exit Qualification for I/O Instructions".
fn port(fields: &impl Fields) -> Port {
    let qualification = fields.qualification();
    Port {
        number: (qualification >> 16) as u16,
        size: (qualification & 7) as u8 + 1,
        is_input: qualification & 1 << 3 != 0,
        is_string: qualification & 1 << 4 != 0,
        is_repeated: qualification & 1 << 5 != 0,
        length: fields.length(),
    }
}

/// "Exit Qualification for EPT Violations".
fn memory(fields: &impl Fields) -> Memory {
    let qualification = fields.qualification();
    let has_linear_address = qualification & 1 << 7 != 0;
    Memory {
        gpa: fields.physical_address(),
        is_write: qualification & 1 << 1 != 0,
        is_fetch: qualification & 1 << 2 != 0,
        in_walk: has_linear_address && qualification & 1 << 8 == 0,
    }
}

/// "Exit Qualification for Control-Register Accesses": MOV only; CLTS and LMSW touch nothing that exits.
fn control_register(fields: &impl Fields) -> Event {
    let qualification = fields.qualification();
    let access = ControlRegister {
        number: (qualification & 0xF) as u8,
        is_write: qualification >> 4 & 3 == 0,
        register: (qualification >> 8 & 0xF) as u8,
    };
    match qualification >> 4 & 3 {
        0 | 1 => Event::ControlRegister(access),
        _ => Event::Undefined("lmsw"),
    }
}

fn exception(fields: &impl Fields) -> Event {
    const KIND: u32 = 7 << 8;
    const NMI: u32 = 2 << 8;
    const HAS_ERROR: u32 = 1 << 11;
    let (information, error) = fields.interruption();
    if information & KIND == NMI {
        return Event::Interrupted;
    }
    let error = (information & HAS_ERROR != 0).then_some(error);
    Event::Exception((information & 0xFF) as u8, error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Recorded {
        reason: u32,
        qualification: u64,
        interruption: (u32, u32),
        address: u64,
    }

    impl Fields for Recorded {
        fn reason(&self) -> u32 {
            self.reason
        }
        fn qualification(&self) -> u64 {
            self.qualification
        }
        fn interruption(&self) -> (u32, u32) {
            self.interruption
        }
        fn physical_address(&self) -> u64 {
            self.address
        }
        fn length(&self) -> u64 {
            2
        }
        fn error(&self) -> u64 {
            7
        }
    }

    fn event(reason: u32, qualification: u64) -> Event {
        decode(&Recorded {
            reason,
            qualification,
            ..Recorded::default()
        })
    }

    #[test]
    fn exits_are_what_the_manual_says() {
        assert_eq!(event(18, 0), Event::Hypercall);
        assert_eq!(event(0x8000_0021, 0), Event::Failed(33, 7));
        let port = Port {
            number: 0x42,
            size: 1,
            is_input: true,
            is_string: false,
            is_repeated: false,
            length: 2,
        };
        assert_eq!(event(30, 0x42_0048), Event::Port(port));
        let access = ControlRegister {
            number: 8,
            is_write: true,
            register: 3,
        };
        assert_eq!(event(28, 0x308), Event::ControlRegister(access));
        assert_eq!(event(27, 0), Event::Undefined("instruction of VMX"));
        assert_eq!(event(60, 0), Event::Unknown(60));
    }

    #[test]
    fn an_nmi_is_the_hosts() {
        let recorded = |information| {
            decode(&Recorded {
                interruption: (information, 5),
                ..Recorded::default()
            })
        };
        assert_eq!(recorded(0x8000_0202), Event::Interrupted);
        assert_eq!(recorded(0x8000_0B11), Event::Exception(17, Some(5)));
        assert_eq!(recorded(0x8000_0301), Event::Exception(1, None));
    }

    #[test]
    fn a_violation_says_where_and_what() {
        let memory = decode(&Recorded {
            reason: 48,
            qualification: 0x182,
            address: 0xFEE0_0020,
            ..Recorded::default()
        });
        let expected = Memory {
            gpa: 0xFEE0_0020,
            is_write: true,
            is_fetch: false,
            in_walk: false,
        };
        assert_eq!(memory, Event::Memory(expected));
    }
}
