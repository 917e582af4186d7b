//! What a guest did: ESR_EL2, FAR_EL2 and HPFAR_EL2, decoded (Arm ARM, ISS encodings).

use crate::syndrome;

/// The syndrome registers after a synchronous exception from a guest.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Syndrome {
    /// ESR_EL2.
    pub esr: u64,
    /// FAR_EL2: a virtual address.
    pub far: u64,
    /// HPFAR_EL2: where it is in guest-physical memory, as far as the fault tells.
    pub hpfar: u64,
}

/// What it was.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cause {
    /// `HVC` with this immediate.
    Hvc(u16),
    /// `SMC`.
    Smc,
    /// `WFI` or `WFE`.
    Wait,
    /// A trapped system register.
    Register(Register),
    /// A load or store that the syndrome describes, at this guest-physical address.
    Access(Access, u64),
    /// An instruction fetch that stage 2 refused.
    Fetch,
    /// A data access that cannot be emulated.
    Data(DataFault),
    /// An instruction or register that guests do not have.
    Undefined,
    /// Anything else.
    Other,
}

/// Why a data access cannot be emulated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DataFault {
    /// The instruction is too complex for the syndrome.
    NotDescribed,
    /// The page is there, but not for this.
    Permission,
    /// The guest's table walk left its memory, or the machine signalled an error.
    Other,
}

/// A trapped access to a system register.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Register {
    /// Which one: [`encoding`].
    pub name: u32,
    /// The general register, 31 for none.
    pub target: u8,
    /// `MRS`.
    pub is_read: bool,
}

/// A load or store.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Access {
    /// Bytes: 1, 2, 4 or 8.
    pub size: u8,
    /// The general register, 31 for none.
    pub target: u8,
    /// A store.
    pub is_write: bool,
    /// The load extends the sign.
    pub is_signed: bool,
    /// The target is 64 bits wide.
    pub is_wide: bool,
}

/// A system register's name as a number: the bits of a trap's ISS that name it.
#[must_use]
pub const fn encoding(op0: u32, op1: u32, crn: u32, crm: u32, op2: u32) -> u32 {
    op0 << 20 | op2 << 17 | op1 << 14 | crn << 10 | crm << 1
}

const NAME_BITS: u32 = encoding(3, 7, 15, 15, 7);

const FAULT_STATUS: u64 = 0x3F;
const IS_WRITE: u64 = 1 << 6;
const IS_TABLE_WALK: u64 = 1 << 7;
const IS_WIDE: u64 = 1 << 15;
const IS_SIGNED: u64 = 1 << 21;
const IS_DESCRIBED: u64 = 1 << 24;
/// ESR: the instruction has 32 bits.
const IS_LONG: u64 = 1 << 25;

/// ESR_EL2 of an `HVC` with this immediate, from AArch64.
#[must_use]
pub const fn hvc(tag: u16) -> u64 {
    0x16 << 26 | IS_LONG | tag as u64
}

impl Syndrome {
    /// What the guest did.
    #[inline]
    #[must_use]
    pub fn decode(&self) -> Cause {
        match syndrome::class(self.esr) {
            0x16 => Cause::Hvc((self.esr & 0xFFFF) as u16),
            0x24 => self.decode_data(),
            0x18 => Cause::Register(self.decode_register()),
            0x01 => Cause::Wait,
            0x17 => Cause::Smc,
            0x20 => Cause::Fetch,
            0x00 | 0x03..=0x0A | 0x0C | 0x0D | 0x12 | 0x13 | 0x19..=0x1D | 0x27 => Cause::Undefined,
            _ => Cause::Other,
        }
    }

    /// Bytes of the instruction.
    #[inline]
    #[must_use]
    pub const fn instruction_length(&self) -> u64 {
        if self.esr & IS_LONG != 0 { 4 } else { 2 }
    }

    #[inline]
    fn decode_register(&self) -> Register {
        let iss = self.esr as u32;
        Register {
            name: iss & NAME_BITS,
            target: (iss >> 5 & 31) as u8,
            is_read: iss & 1 != 0,
        }
    }

    #[inline]
    fn decode_data(&self) -> Cause {
        let esr = self.esr;
        let status = esr & FAULT_STATUS;
        let is_unmapped = matches!(status, 0x00..=0x07);
        if !is_unmapped || esr & IS_TABLE_WALK != 0 {
            let is_permission = matches!(status, 0x0C..=0x0F) && esr & IS_TABLE_WALK == 0;
            return Cause::Data(if is_permission {
                DataFault::Permission
            } else {
                DataFault::Other
            });
        }
        if esr & IS_DESCRIBED == 0 {
            return Cause::Data(DataFault::NotDescribed);
        }
        let access = Access {
            size: 1 << (esr >> 22 & 3),
            target: (esr >> 16 & 31) as u8,
            is_write: esr & IS_WRITE != 0,
            is_signed: esr & IS_SIGNED != 0,
            is_wide: esr & IS_WIDE != 0,
        };
        Cause::Access(access, self.guest_address())
    }

    /// The guest-physical address of a translation fault.
    #[inline]
    #[must_use]
    pub const fn guest_address(&self) -> u64 {
        (self.hpfar & 0x0000_0FFF_FFFF_FFF0) << 8 | self.far & 0xFFF
    }
}

impl Access {
    /// The bits of a register that a store of this size writes.
    #[inline]
    #[must_use]
    pub const fn truncate(&self, value: u64) -> u64 {
        match self.size {
            1 => value & 0xFF,
            2 => value & 0xFFFF,
            4 => value & 0xFFFF_FFFF,
            _ => value,
        }
    }

    /// What a load leaves in its register.
    #[inline]
    #[must_use]
    pub const fn extend(&self, value: u64) -> u64 {
        let value = self.truncate(value);
        if !self.is_signed {
            return value;
        }
        let unused = 64 - 8 * self.size as u32;
        let extended = ((value << unused).cast_signed() >> unused).cast_unsigned();
        if self.is_wide {
            extended
        } else {
            extended & 0xFFFF_FFFF
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(esr: u64, far: u64, hpfar: u64) -> Cause {
        Syndrome { esr, far, hpfar }.decode()
    }

    #[test]
    fn a_hypercall_of_linux() {
        assert_eq!(decode(0x5A00_0EA1, 0, 0), Cause::Hvc(0xEA1));
        assert_eq!(decode(0x5A00_0000, 0, 0), Cause::Hvc(0));
    }

    #[test]
    fn linux_reads_gicd_typer() {
        // ldr w0, [x0, #4] at GICD_BASE, recorded under Linux 6.1: EC 0x24, ISV, SAS 2, SRT 0, translation level 3.
        let cause = decode(0x9380_0007, 0xFFFF_8000_0800_1004, 0x3_0010);
        let access = Access {
            size: 4,
            target: 0,
            is_write: false,
            is_signed: false,
            is_wide: false,
        };
        assert_eq!(cause, Cause::Access(access, 0x0300_1004));
    }

    #[test]
    fn linux_writes_an_irouter() {
        let cause = decode(0x93D3_8046, 0xFFFF_8000_0800_7100, 0x3_0070);
        let access = Access {
            size: 8,
            target: 19,
            is_write: true,
            is_signed: false,
            is_wide: true,
        };
        assert_eq!(cause, Cause::Access(access, 0x0300_7100));
    }

    #[test]
    fn what_the_syndrome_does_not_describe_is_not_guessed() {
        let not_described = Cause::Data(DataFault::NotDescribed);
        assert_eq!(decode(0x9200_0046, 0, 0), not_described);
        assert_eq!(
            decode(0x9300_004F, 0, 0),
            Cause::Data(DataFault::Permission)
        );
        assert_eq!(decode(0x9300_0087, 0, 0), Cause::Data(DataFault::Other));
        assert_eq!(decode(0x9300_0010, 0, 0), Cause::Data(DataFault::Other));
        assert_eq!(decode(0x8200_0006, 0, 0), Cause::Fetch);
    }

    #[test]
    fn a_register_trap_names_the_register() {
        // mrs x5, id_aa64pfr0_el1
        let iss = encoding(3, 0, 0, 4, 0) | 5 << 5 | 1;
        let cause = decode(0x6200_0000 | u64::from(iss), 0, 0);
        let register = Register {
            name: encoding(3, 0, 0, 4, 0),
            target: 5,
            is_read: true,
        };
        assert_eq!(cause, Cause::Register(register));
        // Recorded: msr icc_sgi1r_el1, x0
        let Cause::Register(sgi) = decode(0x623A_3016, 0, 0) else {
            panic!("not a register");
        };
        assert_eq!(sgi.name, encoding(3, 0, 12, 11, 5));
        assert!(!sgi.is_read);
    }

    #[test]
    fn loads_extend_as_the_instruction_says() {
        let mut access = Access {
            size: 1,
            target: 0,
            is_write: false,
            is_signed: true,
            is_wide: true,
        };
        assert_eq!(access.extend(0x1FF), u64::MAX);
        access.is_wide = false;
        assert_eq!(access.extend(0x80), 0xFFFF_FF80);
        access.is_signed = false;
        assert_eq!(access.extend(0x180), 0x80);
        access.size = 8;
        assert_eq!(access.extend(u64::MAX), u64::MAX);
    }

    #[test]
    fn no_syndrome_panics() {
        for class in 0..64_u64 {
            for iss in [0, 1, 0x1FF_FFFF, 0x155_5555, 0x0AA_AAAA] {
                let _cause = decode(class << 26 | iss, u64::MAX, u64::MAX);
            }
        }
    }
}
