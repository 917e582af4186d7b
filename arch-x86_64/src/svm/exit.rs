//! What a VMCB says after an exit (AMD APM, volume 2, appendix C), as a plain value.

use crate::vendor::{ControlRegister, Event, Memory, Port};

/// The fields that say it.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Fields {
    pub(crate) code: u64,
    pub(crate) info1: u64,
    pub(crate) info2: u64,
    pub(crate) rip: u64,
}

/// Exit codes.
pub(crate) mod code {
    pub(crate) const READ_CR0: u64 = 0x000;
    pub(crate) const WRITE_CR0: u64 = 0x010;
    pub(crate) const WRITE_CR15: u64 = 0x01F;
    pub(crate) const EXCEPTION0: u64 = 0x040;
    pub(crate) const EXCEPTION31: u64 = 0x05F;
    pub(crate) const INTR: u64 = 0x060;
    pub(crate) const NMI: u64 = 0x061;
    pub(crate) const SMI: u64 = 0x062;
    pub(crate) const INIT: u64 = 0x063;
    pub(crate) const VINTR: u64 = 0x064;
    pub(crate) const RDPMC: u64 = 0x06F;
    pub(crate) const CPUID: u64 = 0x072;
    pub(crate) const IRET: u64 = 0x074;
    pub(crate) const INVD: u64 = 0x076;
    pub(crate) const PAUSE: u64 = 0x077;
    pub(crate) const HLT: u64 = 0x078;
    pub(crate) const INVLPGA: u64 = 0x07A;
    pub(crate) const IO: u64 = 0x07B;
    pub(crate) const MSR: u64 = 0x07C;
    pub(crate) const TASK_SWITCH: u64 = 0x07D;
    pub(crate) const SHUTDOWN: u64 = 0x07F;
    pub(crate) const VMRUN: u64 = 0x080;
    pub(crate) const VMMCALL: u64 = 0x081;
    pub(crate) const VMLOAD: u64 = 0x082;
    pub(crate) const VMSAVE: u64 = 0x083;
    pub(crate) const STGI: u64 = 0x084;
    pub(crate) const CLGI: u64 = 0x085;
    pub(crate) const SKINIT: u64 = 0x086;
    pub(crate) const WBINVD: u64 = 0x089;
    pub(crate) const MONITOR: u64 = 0x08A;
    pub(crate) const MWAIT: u64 = 0x08B;
    pub(crate) const MWAIT_ARMED: u64 = 0x08C;
    pub(crate) const XSETBV: u64 = 0x08D;
    pub(crate) const RDPRU: u64 = 0x08E;
    pub(crate) const NPF: u64 = 0x400;
    pub(crate) const INVALID: u64 = u64::MAX;
    pub(crate) const INVALID_32: u64 = u32::MAX as u64;
}

/// What happened.
#[inline]
pub(crate) fn decode(fields: Fields) -> Event {
    match fields.code {
        code::VMMCALL => Event::Hypercall,
        code::CPUID => Event::Cpuid,
        code::MSR if fields.info1 & 1 != 0 => Event::WriteMsr,
        code::MSR => Event::ReadMsr,
        code::IO => Event::Port(port(fields)),
        code::INTR | code::NMI | code::SMI | code::INIT => Event::Interrupted,
        code::VINTR | code::IRET => Event::WindowOpen,
        code::HLT => Event::Halt,
        code::NPF => Event::Memory(memory(fields)),
        _ => decode_rare(fields),
    }
}

#[cold]
fn decode_rare(fields: Fields) -> Event {
    match fields.code {
        code::PAUSE => Event::Pause,
        code::XSETBV => Event::Xsetbv,
        code::INVD | code::WBINVD => Event::Cache,
        code::READ_CR0..=code::WRITE_CR15 => Event::ControlRegister(control_register(fields)),
        code::EXCEPTION0..=code::EXCEPTION31 => exception(fields),
        code::SHUTDOWN => Event::TripleFault,
        code::TASK_SWITCH => Event::TaskSwitch,
        // QEMU (7.2) says it in 32 bits.
        code::INVALID | code::INVALID_32 => Event::Failed(fields.code, fields.info1),
        other => undefined(other).map_or(Event::Unknown(other), Event::Undefined),
    }
}

fn undefined(code: u64) -> Option<&'static str> {
    Some(match code {
        code::VMRUN => "vmrun",
        code::VMLOAD => "vmload",
        code::VMSAVE => "vmsave",
        code::STGI => "stgi",
        code::CLGI => "clgi",
        code::SKINIT => "skinit",
        code::INVLPGA => "invlpga",
        code::MONITOR => "monitor",
        code::MWAIT | code::MWAIT_ARMED => "mwait",
        code::RDPMC => "rdpmc",
        code::RDPRU => "rdpru",
        _ => return None,
    })
}

/// "IOIO Intercept Information", and the next instruction in EXITINFO2.
fn port(fields: Fields) -> Port {
    let info = fields.info1;
    let size = if info & 1 << 6 != 0 {
        4
    } else if info & 1 << 5 != 0 {
        2
    } else {
        1
    };
    Port {
        number: (info >> 16) as u16,
        size,
        is_input: info & 1 != 0,
        is_string: info & 1 << 2 != 0,
        is_repeated: info & 1 << 3 != 0,
        length: fields.info2.wrapping_sub(fields.rip),
    }
}

/// EXITINFO1 is a page fault's error code, with the part of the walk in its upper half.
fn memory(fields: Fields) -> Memory {
    Memory {
        gpa: fields.info2,
        is_write: fields.info1 & 1 << 1 != 0,
        is_fetch: fields.info1 & 1 << 4 != 0,
        in_walk: fields.info1 & 1 << 33 != 0,
    }
}

/// EXITINFO1 says the general register where the CPU has decode assists.
fn control_register(fields: Fields) -> ControlRegister {
    ControlRegister {
        number: (fields.code & 0xF) as u8,
        is_write: fields.code >= code::WRITE_CR0,
        register: (fields.info1 & 0xF) as u8,
    }
}

fn exception(fields: Fields) -> Event {
    /// Vectors that push an error code: #DF, #TS, #NP, #SS, #GP, #PF, #AC.
    const WITH_ERROR: u32 = 1 << 8 | 1 << 10 | 1 << 11 | 1 << 12 | 1 << 13 | 1 << 14 | 1 << 17;
    let vector = (fields.code & 0x1F) as u8;
    let error = (WITH_ERROR >> vector & 1 != 0).then_some(fields.info1 as u32);
    Event::Exception(vector, error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(code: u64, info1: u64, info2: u64) -> Event {
        decode(Fields {
            code,
            info1,
            info2,
            rip: 0x1000,
        })
    }

    #[test]
    fn recorded_exits_are_what_they_were() {
        assert_eq!(event(0x81, 0, 0), Event::Hypercall);
        assert_eq!(event(0x7C, 1, 0), Event::WriteMsr);
        assert_eq!(event(0x60, 0, 0), Event::Interrupted);
        // in al, 0x42: E4 42.
        let port = Port {
            number: 0x42,
            size: 1,
            is_input: true,
            is_string: false,
            is_repeated: false,
            length: 2,
        };
        assert_eq!(event(0x7B, 0x0042_0011, 0x1002), Event::Port(port));
        // rep outsb to 0xE9: F3 6E.
        let port = Port {
            number: 0xE9,
            size: 1,
            is_input: false,
            is_string: true,
            is_repeated: true,
            length: 2,
        };
        assert_eq!(event(0x7B, 0x00E9_001C, 0x1002), Event::Port(port));
    }

    #[test]
    fn a_nested_fault_says_where_and_what() {
        let memory = Memory {
            gpa: 0xFEE0_0020,
            is_write: true,
            is_fetch: false,
            in_walk: false,
        };
        assert_eq!(
            event(0x400, 0x1_0000_0006, 0xFEE0_0020),
            Event::Memory(memory)
        );
        let walk = event(0x400, 0x2_0000_0006, 0x20_0000_0000);
        assert!(matches!(walk, Event::Memory(Memory { in_walk: true, .. })));
    }

    #[test]
    fn exceptions_have_error_codes_where_the_architecture_has() {
        assert_eq!(event(0x40 + 6, 0, 0), Event::Exception(6, None));
        assert_eq!(event(0x40 + 17, 0, 0), Event::Exception(17, Some(0)));
    }

    #[test]
    fn a_state_that_no_cpu_is_in_is_a_failed_entry() {
        for code in [u64::MAX, 0xFFFF_FFFF] {
            assert_eq!(event(code, 0, 0), Event::Failed(code, 0));
        }
    }

    #[test]
    fn instructions_of_the_extension_are_undefined_for_guests() {
        for code in 0x80..0x90 {
            let event = event(code, 0, 0);
            assert!(
                !matches!(event, Event::Unknown(_)) || matches!(code, 0x87 | 0x88 | 0x8F),
                "{code:#x}"
            );
        }
        assert_eq!(event(0x80, 0, 0), Event::Undefined("vmrun"));
    }
}
