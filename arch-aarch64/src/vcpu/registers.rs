//! Trapped system registers.

use hv_common::arch::Exit;

use super::Vcpu;
use super::timers::machine_ticks;
use crate::exit::{Register, Syndrome, encoding};
use crate::host::ArmHost;
use crate::hw::timer;
use crate::hw::world::Timer;
use crate::platform::Platform;

const MDSCR_EL1: u32 = encoding(2, 0, 0, 2, 2);
const OSLAR_EL1: u32 = encoding(2, 0, 1, 0, 4);
const OSLSR_EL1: u32 = encoding(2, 0, 1, 1, 4);
const OSDLR_EL1: u32 = encoding(2, 0, 1, 3, 4);
const ACTLR_EL1: u32 = encoding(3, 0, 1, 0, 1);
const ICC_SGI1R_EL1: u32 = encoding(3, 0, 12, 11, 5);
const ICC_ASGI1R_EL1: u32 = encoding(3, 0, 12, 11, 6);
const ICC_SGI0R_EL1: u32 = encoding(3, 0, 12, 11, 7);
const ICC_SRE_EL1: u32 = encoding(3, 0, 12, 12, 5);
const CNTPCT_EL0: u32 = encoding(3, 3, 14, 0, 1);
const CNTP_TVAL_EL0: u32 = encoding(3, 3, 14, 2, 0);
const CNTP_CTL_EL0: u32 = encoding(3, 3, 14, 2, 1);
const CNTP_CVAL_EL0: u32 = encoding(3, 3, 14, 2, 2);

/// OSLSR_EL1: the OS lock is implemented.
const OS_LOCK_MODEL: u64 = 1 << 3;
const OS_LOCKED: u64 = 1 << 1;
/// ICC_SRE_EL1: system registers, no bypass; as if hard-wired.
const SYSTEM_REGISTERS_ONLY: u64 = 7;

/// What a register is, as far as it matters here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Group {
    /// Identification, by `crm * 8 + op2`.
    Identification(usize),
    /// Reads as zero, ignores writes: debug and performance monitors.
    Ignored,
    /// Not there.
    Unknown,
}

/// The group of a register that is none of the constants above.
fn group(name: u32) -> Group {
    let op0 = name >> 20 & 3;
    let op1 = name >> 14 & 7;
    let crn = name >> 10 & 15;
    let crm = name >> 1 & 15;
    let op2 = name >> 17 & 7;
    match (op0, op1, crn, crm) {
        (3, 0, 0, 1..=7) => Group::Identification((crm * 8 + op2) as usize),
        (2, 0 | 3, 0..=7, _) => Group::Ignored,
        (3, 0 | 3, 9, 12..=14) | (3, 3, 14, 8..=15) => Group::Ignored,
        _ => Group::Unknown,
    }
}

impl Vcpu {
    /// Emulates an access to a system register. `None`: done.
    pub(super) fn register(
        &mut self,
        host: &ArmHost,
        platform: &Platform,
        syndrome: &Syndrome,
        register: Register,
    ) -> Option<Exit> {
        if register.is_read {
            let Some(value) = self.read_register(host, platform, register.name) else {
                return Some(self.undefined("system register read", u64::from(register.name)));
            };
            self.context.set_register(register.target, value);
            self.skip(syndrome.esr);
            return None;
        }
        let value = self.context.register(register.target);
        match register.name {
            ICC_SGI1R_EL1 | ICC_ASGI1R_EL1 | ICC_SGI0R_EL1 => {
                self.skip(syndrome.esr);
                let group1 = register.name == ICC_SGI1R_EL1;
                let look = platform.gic().send_sgi(value, self.index, group1);
                platform.call_attentions(look);
                self.wake(look)
            }
            name if self.write_register(platform, name, value) => {
                self.skip(syndrome.esr);
                None
            }
            name => Some(self.undefined("system register write", u64::from(name))),
        }
    }

    fn read_register(&self, host: &ArmHost, platform: &Platform, name: u32) -> Option<u64> {
        Some(match name {
            CNTPCT_EL0 => timer::now_ticks().wrapping_sub(platform.offset()),
            CNTP_CTL_EL0 => Timer::Physical.read().0,
            CNTP_CVAL_EL0 => self.timer.cntp_cval,
            CNTP_TVAL_EL0 => {
                let now = timer::now_ticks().wrapping_sub(platform.offset());
                self.timer.cntp_cval.wrapping_sub(now) & 0xFFFF_FFFF
            }
            ICC_SRE_EL1 => SYSTEM_REGISTERS_ONLY,
            ACTLR_EL1 => 0,
            MDSCR_EL1 => self.system.mdscr_el1,
            OSDLR_EL1 => self.system.osdlr_el1,
            OSLSR_EL1 if self.system.osl_locked != 0 => OS_LOCK_MODEL | OS_LOCKED,
            OSLSR_EL1 => OS_LOCK_MODEL,
            name => match group(name) {
                Group::Identification(index) => host.features.shown(index),
                Group::Ignored => 0,
                Group::Unknown => return None,
            },
        })
    }

    /// Returns whether there is such a register.
    fn write_register(&mut self, platform: &Platform, name: u32, value: u64) -> bool {
        match name {
            CNTP_CTL_EL0 => Timer::Physical.control(value & 3),
            CNTP_CVAL_EL0 => self.set_physical_compare(platform, value),
            CNTP_TVAL_EL0 => {
                let now = timer::now_ticks().wrapping_sub(platform.offset());
                let ticks = i64::from(value as u32 as i32).cast_unsigned();
                self.set_physical_compare(platform, now.wrapping_add(ticks));
            }
            MDSCR_EL1 => self.system.mdscr_el1 = value & super::records::MDSCR_BITS,
            OSLAR_EL1 => self.system.osl_locked = value & 1,
            OSDLR_EL1 => self.system.osdlr_el1 = value & 1,
            ACTLR_EL1 | ICC_SRE_EL1 => {}
            name => return group(name) == Group::Ignored,
        }
        true
    }

    fn set_physical_compare(&mut self, platform: &Platform, compare: u64) {
        self.timer.cntp_cval = compare;
        let (control, _) = Timer::Physical.read();
        Timer::Physical.write(control & 3, machine_ticks(compare, platform.offset()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registers_fall_into_the_groups_of_the_manual() {
        // ID_AA64MMFR1_EL1, DBGBVR0_EL1, PMUSERENR_EL0, PMEVCNTR0_EL0, ERRIDR_EL1, IMPLEMENTATION DEFINED.
        let cases = [
            (encoding(3, 0, 0, 7, 1), Group::Identification(57)),
            (encoding(2, 0, 0, 0, 4), Group::Ignored),
            (encoding(3, 3, 9, 14, 0), Group::Ignored),
            (encoding(3, 3, 14, 8, 0), Group::Ignored),
            (encoding(3, 0, 5, 3, 0), Group::Unknown),
            (encoding(3, 1, 11, 0, 0), Group::Unknown),
            (encoding(2, 1, 0, 0, 0), Group::Unknown),
        ];
        for (name, wanted) in cases {
            assert_eq!(group(name), wanted, "{name:#x}");
        }
    }

    #[test]
    fn no_name_panics() {
        for name in 0..1 << 22 {
            let _group = group(name);
        }
    }
}
