//! What a guest did: ESR_EL2, FAR_EL2 and HPFAR_EL2, decoded (Arm ARM, ISS encodings).

use bitfield_struct::bitfield;

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

/// A load or store, as ESR_EL2 describes it (ISS encoding for an exception from a data abort).
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct Access {
    #[bits(6)]
    __: u8,
    /// WnR: a store.
    pub is_write: bool,
    #[bits(8)]
    __: u8,
    /// SF: the target is 64 bits wide.
    pub is_wide: bool,
    /// SRT: the general register, 31 for none.
    #[bits(5)]
    pub target: u8,
    /// SSE: the load extends the sign.
    pub is_signed: bool,
    /// SAS: `log2` of the bytes.
    #[bits(2)]
    size_log2: u8,
    #[bits(40)]
    __: u64,
}

/// A system register's name as a number: the bits of a trap's ISS that name it.
#[must_use]
pub const fn encoding(op0: u32, op1: u32, crn: u32, crm: u32, op2: u32) -> u32 {
    op0 << 20 | op2 << 17 | op1 << 14 | crn << 10 | crm << 1
}

const NAME_BITS: u32 = encoding(3, 7, 15, 15, 7);

const CLASS: u64 = 0x3F << 26;
/// EC of a data abort from a lower level.
const DATA_ABORT: u64 = 0x24;
const FAULT_STATUS: u64 = 0x3F;
/// Status bits of address size and translation faults of all levels: the highest is a translation fault of level 3.
const TRANSLATION: u64 = 0x07;
const IS_TABLE_WALK: u64 = 1 << 7;
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
            DATA_ABORT => self.decode_data(),
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

    /// The load or store that was outside of guest-physical memory, if it is one that can be emulated, and where.
    #[inline]
    #[must_use]
    pub fn access(&self) -> Option<(Access, u64)> {
        const ALL: u64 = CLASS | IS_DESCRIBED | IS_TABLE_WALK | FAULT_STATUS & !TRANSLATION;
        const DESCRIBED: u64 = DATA_ABORT << 26 | IS_DESCRIBED;
        (self.esr & ALL == DESCRIBED).then(|| (Access::from_bits(self.esr), self.guest_address()))
    }

    #[inline]
    fn decode_data(&self) -> Cause {
        if let Some((access, address)) = self.access() {
            return Cause::Access(access, address);
        }
        let status = self.esr & FAULT_STATUS;
        let is_table_walk = self.esr & IS_TABLE_WALK != 0;
        Cause::Data(match status {
            0x00..=TRANSLATION if !is_table_walk => DataFault::NotDescribed,
            0x0C..=0x0F if !is_table_walk => DataFault::Permission,
            _ => DataFault::Other,
        })
    }

    /// The guest-physical address of a translation fault.
    #[inline]
    #[must_use]
    pub const fn guest_address(&self) -> u64 {
        (self.hpfar & 0x0000_0FFF_FFFF_FFF0) << 8 | self.far & 0xFFF
    }
}

impl Access {
    /// Bytes: 1, 2, 4 or 8.
    #[inline]
    #[must_use]
    pub const fn size(self) -> u8 {
        1 << self.size_log2()
    }

    /// Bits of a register that the access leaves out.
    #[inline]
    const fn unused(self) -> u32 {
        64 - 8 * self.size() as u32
    }

    /// The bits of a register that a store of this size writes.
    #[inline]
    #[must_use]
    pub const fn truncate(self, value: u64) -> u64 {
        value << self.unused() >> self.unused()
    }

    /// What a load leaves in its register.
    #[inline]
    #[must_use]
    pub const fn extend(self, value: u64) -> u64 {
        if !self.is_signed() {
            return self.truncate(value);
        }
        let unused = self.unused();
        let extended = ((value << unused).cast_signed() >> unused).cast_unsigned();
        if self.is_wide() {
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
        let Cause::Access(access, 0x0300_1004) = cause else {
            panic!("{cause:?}");
        };
        assert_eq!((access.size(), access.target()), (4, 0));
        assert!(!access.is_write() && !access.is_signed() && !access.is_wide());
    }

    #[test]
    fn linux_writes_an_irouter() {
        let cause = decode(0x93D3_8046, 0xFFFF_8000_0800_7100, 0x3_0070);
        let Cause::Access(access, 0x0300_7100) = cause else {
            panic!("{cause:?}");
        };
        assert_eq!((access.size(), access.target()), (8, 19));
        assert!(access.is_write() && !access.is_signed() && access.is_wide());
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
        let byte = Access::new().with_is_signed(true);
        assert_eq!(byte.with_is_wide(true).extend(0x1FF), u64::MAX);
        assert_eq!(byte.extend(0x80), 0xFFFF_FF80);
        assert_eq!(byte.with_is_signed(false).extend(0x180), 0x80);
        let double = byte.with_size_log2(3).with_is_wide(true);
        assert_eq!(double.extend(u64::MAX), u64::MAX);
        assert_eq!((byte.truncate(0x123), double.truncate(5)), (0x23, 5));
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
