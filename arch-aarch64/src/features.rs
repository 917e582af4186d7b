//! The CPU features that guests are shown.
//!
//! A feature is shown only if it works from end to end: its state is switched and saved, and nothing of it reaches
//! outside the guest. What the table does not name is shown as zero.

use hv_abi::record::Platform;

/// Identification registers `S3_0_C0_C<crm>_<op2>`, by `crm * 8 + op2`.
pub const REGISTERS: usize = 64;

/// A field of an identification register.
#[derive(Clone, Copy, Debug)]
struct Field {
    /// Lowest bit; four bits wide.
    shift: u32,
    /// Highest value shown.
    most: u64,
    /// 0xF means "not there".
    signed: bool,
}

const fn field(shift: u32, most: u64) -> Field {
    Field {
        shift,
        most,
        signed: false,
    }
}

const fn signed(shift: u32, most: u64) -> Field {
    Field {
        shift,
        most,
        signed: true,
    }
}

/// A register and what is shown of it.
struct Rule {
    name: &'static str,
    index: usize,
    shown: &'static [Field],
}

const ID_AA64PFR0: usize = 4 * 8;
const ID_AA64PFR1: usize = 4 * 8 + 1;
const ID_AA64DFR0: usize = 5 * 8;
const ID_AA64ISAR0: usize = 6 * 8;
const ID_AA64ISAR1: usize = 6 * 8 + 1;
const ID_AA64ISAR2: usize = 6 * 8 + 2;
const ID_AA64MMFR0: usize = 7 * 8;
const ID_AA64MMFR1: usize = 7 * 8 + 1;
const ID_AA64MMFR2: usize = 7 * 8 + 2;

const ALL: u64 = 0xF;

/// What is shown of the AArch64 registers. Not shown: SVE, SME, RAS, AMU, MPAM, DIT beyond the flag, pointer
/// authentication, memory tagging, the PMU, statistical profiling, trace, nested virtualization, limited ordering.
const RULES: [Rule; 9] = [
    Rule {
        name: "ID_AA64PFR0_EL1",
        index: ID_AA64PFR0,
        shown: &[
            field(0, 2),    // EL0: AArch32 too, where there is one
            field(4, 1),    // EL1: AArch64 only
            signed(16, 1),  // FP
            signed(20, 1),  // AdvSIMD
            field(24, 1),   // GIC system registers
            field(48, 1),   // DIT
            field(56, ALL), // CSV2
            field(60, ALL), // CSV3
        ],
    },
    Rule {
        name: "ID_AA64PFR1_EL1",
        index: ID_AA64PFR1,
        shown: &[field(0, 1), field(4, 1)], // BT, SSBS without the register
    },
    Rule {
        name: "ID_AA64DFR0_EL1",
        index: ID_AA64DFR0,
        shown: &[
            field(0, 6), // Debug: Armv8; accesses are ignored
        ],
    },
    Rule {
        name: "ID_AA64ISAR0_EL1",
        index: ID_AA64ISAR0,
        shown: &[
            field(4, ALL),
            field(8, ALL),
            field(12, ALL),
            field(16, ALL),
            field(20, ALL),
            field(28, ALL),
            field(32, ALL),
            field(36, ALL),
            field(40, ALL),
            field(44, ALL),
            field(48, ALL),
            field(52, ALL),
            field(56, 1),
            field(60, ALL),
        ],
    },
    Rule {
        name: "ID_AA64ISAR1_EL1",
        index: ID_AA64ISAR1,
        shown: &[
            field(0, ALL),  // DPB
            field(12, ALL), // JSCVT
            field(16, ALL), // FCMA
            field(20, ALL), // LRCPC
            field(32, ALL), // FRINTTS
            field(36, ALL), // SB
            field(44, ALL), // BF16
            field(52, ALL), // I8MM
        ],
    },
    Rule {
        name: "ID_AA64ISAR2_EL1",
        index: ID_AA64ISAR2,
        shown: &[],
    },
    Rule {
        name: "ID_AA64MMFR0_EL1",
        index: ID_AA64MMFR0,
        shown: &[
            field(0, 2), // PARange: at most 40 bits
            field(4, 2), // ASIDBits
            field(12, 1),
            field(16, 1),
            field(20, 1),  // 16 KiB granule
            signed(24, 0), // 64 KiB granule
            signed(28, 0), // 4 KiB granule
        ],
    },
    Rule {
        name: "ID_AA64MMFR1_EL1",
        index: ID_AA64MMFR1,
        shown: &[
            field(0, 2),  // HAFDBS
            field(12, 2), // HPDS
            field(20, 2), // PAN
            field(28, 1), // XNX
        ],
    },
    Rule {
        name: "ID_AA64MMFR2_EL1",
        index: ID_AA64MMFR2,
        shown: &[
            field(0, 1),  // CnP
            field(4, 1),  // UAO
            field(28, 1), // ST
            field(32, 1), // AT
            field(48, 1), // TTL
        ],
    },
];

/// First index of the AArch64 registers; below are AArch32's.
const AARCH64: usize = 4 * 8;
const ID_DFR0: usize = 8 + 2;

/// The identification registers that guests read.
#[derive(Clone, Debug)]
pub struct Features {
    shown: [u64; REGISTERS],
    /// What else a saved guest depends on: CTR_EL0, DCZID_EL0, MIDR_EL1.
    constants: [u64; 3],
}

impl Features {
    /// What guests are shown of a CPU whose registers `read` reads.
    #[must_use]
    pub fn new(read: impl Fn(usize) -> u64, constants: [u64; 3]) -> Self {
        let mut shown = [0; REGISTERS];
        for rule in &RULES {
            let value = read(rule.index);
            let masked = rule
                .shown
                .iter()
                .fold(0, |sum, field| sum | field.mask(value));
            if let Some(register) = shown.get_mut(rule.index) {
                *register = masked;
            }
        }
        if shown_aarch32(shown.get(ID_AA64PFR0).copied()) {
            for (index, register) in shown.iter_mut().enumerate().take(AARCH64) {
                *register = if index == ID_DFR0 { 0 } else { read(index) };
            }
        }
        Self { shown, constants }
    }

    /// An identification register as guests see it.
    #[inline]
    #[must_use]
    pub fn shown(&self, index: usize) -> u64 {
        self.shown.get(index).copied().unwrap_or(0)
    }

    /// As a saved guest's record: the registers of [`Self::NAMES`], in that order.
    #[must_use]
    pub fn record(&self) -> Platform {
        let mut features = [0; 16];
        let shown = RULES.iter().map(|rule| self.shown(rule.index));
        let values = shown.chain(self.constants);
        for (slot, value) in features.iter_mut().zip(values) {
            *slot = value;
        }
        Platform {
            features,
            ..Platform::default()
        }
    }

    /// Names of the words in [`Self::record`].
    pub fn names() -> impl Iterator<Item = &'static str> {
        let constants = ["CTR_EL0", "DCZID_EL0", "MIDR_EL1"];
        RULES.iter().map(|rule| rule.name).chain(constants)
    }
}

fn shown_aarch32(pfr0: Option<u64>) -> bool {
    pfr0.is_some_and(|pfr0| pfr0 & 0xF == 2)
}

impl Field {
    fn mask(self, register: u64) -> u64 {
        let value = register >> self.shift & 0xF;
        let shown = match (self.signed, value) {
            (true, 8..=0xF) => value,
            _ => value.min(self.most),
        };
        shown << self.shift
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn features_of(pfr0: u64, rest: u64) -> Features {
        Features::new(
            |index| if index == ID_AA64PFR0 { pfr0 } else { rest },
            [1, 2, 3],
        )
    }

    #[test]
    fn a_cpu_with_everything_is_shown_without_what_we_do_not_switch() {
        let features = features_of(0x1111_1111_2111_2222, u64::MAX);
        let pfr0 = features.shown(ID_AA64PFR0);
        assert_eq!(pfr0 >> 32 & 0xF, 0, "SVE");
        assert_eq!(pfr0 >> 28 & 0xF, 0, "RAS");
        assert_eq!(pfr0 >> 8 & 0xFF, 0, "EL2 and EL3");
        assert_eq!(pfr0 >> 4 & 0xF, 1, "AArch64 EL1 only");
        assert_eq!(features.shown(ID_AA64PFR1) >> 8, 0, "MTE, SME");
        assert_eq!(features.shown(ID_AA64DFR0), 6, "PMU, profiling, trace");
        let isar1 = features.shown(ID_AA64ISAR1);
        assert_eq!(isar1 & 0xFF00_0FF0, 0, "pointer authentication");
        assert_eq!(features.shown(ID_AA64MMFR0) & 0xF, 2, "40 bits");
    }

    #[test]
    fn a_cortex_a53_keeps_what_linux_needs() {
        let features = features_of(0x0100_2222, 0);
        assert_eq!(features.shown(ID_AA64PFR0), 0x0100_0012);
        let without_fp = features_of(0x00FF_0011, 0).shown(ID_AA64PFR0);
        assert_eq!(without_fp, 0x00FF_0011);
    }

    #[test]
    fn the_record_names_every_word_it_has() {
        assert!(Features::names().count() <= 16);
        let record = features_of(0x0100_2222, 0).record();
        assert_eq!(record.features[0], 0x0100_0012);
        assert_eq!(record.features[9..12], [1, 2, 3]);
    }
}
