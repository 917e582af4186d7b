//! A vCPU's registers as records, and what of a record is believed.
//!
//! Every field could have been written by the guest itself: EL1's registers take any value, as they do from the guest.
//! What the guest could not have set is refused: a processor state above EL1, another vCPU's number, reserved bits of
//! what we emulate.

use hv_abi::Errno;
use hv_abi::record::arm::{Cpu, FloatingPoint, Gicv2Interface, Redistributor, Timer};
use hv_abi::record::{Header, Kind};
use hv_common::arch::RecordSink;
use zerocopy::{FromBytes, IntoBytes};

use super::{Pending, Vcpu};
use crate::hw::lists::Interface;
use crate::platform::{Platform, RECORD_VERSION};
use crate::psci;
use crate::vgic::Version;

/// Bits of MDSCR_EL1 that a write leaves.
pub(super) const MDSCR_BITS: u64 = 0xEC79_FFFF;

/// ICH_VMCR_EL2's fields (IHI 0069), which hold what the guest's ICC registers say. Those of GICH_VMCR (IHI 0048) are
/// the same, for its GICC registers.
mod vmcr {
    /// What GICC_CTLR has at the same place.
    pub(super) const CONTROL: u32 = 0x21F;
    pub(super) const GROUP0: u64 = 1 << 0;
    pub(super) const GROUP1: u64 = 1 << 1;
    pub(super) const COMMON_BINARY_POINT: u64 = 1 << 4;
    pub(super) const SPLIT_END: u64 = 1 << 9;
    pub(super) const BINARY_POINT1: u32 = 18;
    pub(super) const BINARY_POINT0: u32 = 21;
    pub(super) const PRIORITY_MASK: u32 = 24;
}

/// Whether a guest could be in this state, and the state without bits that do nothing.
fn check_pstate(pstate: u64) -> Result<u64, Errno> {
    const AARCH64: u64 = 0xF1C0_1FCF;
    const AARCH32_USER: u64 = 0xFF0F_FFDF;
    match pstate & 0x1F {
        0b0_0000 | 0b0_0100 | 0b0_0101 => Ok(pstate & AARCH64),
        0b1_0000 => Ok(pstate & AARCH32_USER),
        _ => Err(Errno::EINVAL),
    }
}

/// Whether a guest could have these registers. Returns them without bits that do nothing.
fn check_cpu(record: &Cpu, vcpu: u32) -> Result<Cpu, Errno> {
    let emulated = record.actlr_el1 == 0
        && record.mdscr_el1 & !MDSCR_BITS == 0
        && record.osdlr_el1 <= 1
        && record.osl_locked <= 1
        && record.vmpidr_el2 == psci::mpidr_of(vcpu);
    if !emulated {
        return Err(Errno::EINVAL);
    }
    Ok(Cpu {
        pstate: check_pstate(record.pstate)?,
        ..*record
    })
}

fn check_floating_point(record: &FloatingPoint) -> Result<FloatingPoint, Errno> {
    const CONTROL: u64 = 0x07FF_9F07;
    const STATUS: u64 = 0xF800_009F;
    if record.fpcr & !CONTROL != 0 || record.fpsr & !STATUS != 0 {
        return Err(Errno::EINVAL);
    }
    Ok(*record)
}

fn check_timer(record: &Timer) -> Result<Timer, Errno> {
    if (record.cntv_ctl | record.cntp_ctl) & !3 != 0 {
        return Err(Errno::EINVAL);
    }
    Ok(*record)
}

fn check_interface(record: &Redistributor) -> Result<Interface, Errno> {
    let words_fit = record
        .icc_apr
        .iter()
        .flatten()
        .all(|word| u32::try_from(*word).is_ok());
    let fits = words_fit
        && record.reserved == 0
        && record.icc_pmr <= 0xFF
        && record.icc_bpr.iter().all(|point| *point <= 7)
        && record.icc_ctlr & !3 == 0
        && record.icc_igrpen.iter().all(|enable| *enable <= 1);
    if !fits {
        return Err(Errno::EINVAL);
    }
    let bit = |set: bool, bit: u64| if set { bit } else { 0 };
    let [point0, point1] = record.icc_bpr;
    let [group0, group1] = record.icc_igrpen;
    Ok(Interface {
        vmcr: bit(group0 != 0, vmcr::GROUP0)
            | bit(group1 != 0, vmcr::GROUP1)
            | bit(record.icc_ctlr & 1 != 0, vmcr::COMMON_BINARY_POINT)
            | bit(record.icc_ctlr & 2 != 0, vmcr::SPLIT_END)
            | point1 << vmcr::BINARY_POINT1
            | point0 << vmcr::BINARY_POINT0
            | record.icc_pmr << vmcr::PRIORITY_MASK,
        active_priorities: record.icc_apr,
    })
}

fn interface_record(interface: &Interface, record: Redistributor) -> Redistributor {
    let is_set = |bit: u64| u64::from(interface.vmcr & bit != 0);
    Redistributor {
        icc_pmr: interface.vmcr >> vmcr::PRIORITY_MASK & 0xFF,
        icc_bpr: [
            interface.vmcr >> vmcr::BINARY_POINT0 & 7,
            interface.vmcr >> vmcr::BINARY_POINT1 & 7,
        ],
        icc_ctlr: is_set(vmcr::COMMON_BINARY_POINT) | is_set(vmcr::SPLIT_END) << 1,
        icc_igrpen: [is_set(vmcr::GROUP0), is_set(vmcr::GROUP1)],
        icc_apr: interface.active_priorities,
        ..record
    }
}

fn check_interface_v2(record: &Gicv2Interface) -> Result<Interface, Errno> {
    let fits = record.reserved == 0
        && record.gicc_ctlr & !vmcr::CONTROL == 0
        && record.gicc_pmr & !0xF8 == 0
        && record.gicc_bpr <= 7
        && record.gicc_abpr <= 7;
    if !fits {
        return Err(Errno::EINVAL);
    }
    let mut interface = Interface {
        vmcr: u64::from(record.gicc_ctlr)
            | u64::from(record.gicc_abpr) << vmcr::BINARY_POINT1
            | u64::from(record.gicc_bpr) << vmcr::BINARY_POINT0
            | u64::from(record.gicc_pmr) << vmcr::PRIORITY_MASK,
        ..Interface::default()
    };
    interface.active_priorities[0][0] = u64::from(record.gicc_apr);
    Ok(interface)
}

fn interface_record_v2(interface: &Interface, record: Gicv2Interface) -> Gicv2Interface {
    let vmcr = interface.vmcr as u32;
    Gicv2Interface {
        gicc_ctlr: vmcr & vmcr::CONTROL,
        gicc_pmr: vmcr >> vmcr::PRIORITY_MASK & 0xF8,
        gicc_bpr: vmcr >> vmcr::BINARY_POINT0 & 7,
        gicc_abpr: vmcr >> vmcr::BINARY_POINT1 & 7,
        gicc_apr: interface.active_priorities[0][0] as u32,
        ..record
    }
}

fn body<T: FromBytes>(bytes: &[u8]) -> Result<T, Errno> {
    T::read_from_bytes(bytes).map_err(|_| Errno::EINVAL)
}

impl Vcpu {
    pub(super) fn save_record(
        &self,
        platform: &Platform,
        nth: usize,
        out: &mut dyn RecordSink,
    ) -> Option<()> {
        let mut put = |kind, bytes: &[u8]| out.put(kind, self.index, bytes).then_some(());
        match nth {
            0 => put(Kind::ARM_CPU, self.cpu_record().as_bytes()),
            1 => put(Kind::ARM_FLOATING_POINT, self.floating_point.as_bytes()),
            2 => put(Kind::ARM_TIMER, self.timer.as_bytes()),
            3 if platform.version() == Version::V2 => {
                let banked = platform.save_banked(self.index);
                let record = interface_record_v2(&self.interface, banked);
                put(Kind::ARM_GICV2_INTERFACE, record.as_bytes())
            }
            3 => {
                let private = platform.save_private(self.index);
                let record = interface_record(&self.interface, private);
                put(Kind::ARM_REDISTRIBUTOR, record.as_bytes())
            }
            _ => None,
        }
    }

    fn cpu_record(&self) -> Cpu {
        Cpu {
            x: self.context.x,
            pc: self.context.pc,
            pstate: self.context.pstate,
            ..self.system
        }
    }

    pub(super) fn restore_record(
        &mut self,
        platform: &Platform,
        header: &Header,
        bytes: &[u8],
    ) -> Result<(), Errno> {
        if header.version != RECORD_VERSION {
            return Err(Errno::EOPNOTSUPP);
        }
        match header.kind {
            Kind::ARM_CPU => self.restore_cpu(&check_cpu(&body(bytes)?, self.index)?),
            Kind::ARM_FLOATING_POINT => {
                self.floating_point = check_floating_point(&body(bytes)?)?;
            }
            Kind::ARM_TIMER => self.timer = check_timer(&body(bytes)?)?,
            Kind::ARM_REDISTRIBUTOR if platform.version() == Version::V3 => {
                let record: Redistributor = body(bytes)?;
                let interface = check_interface(&record)?;
                platform.restore_private(self.index, &record)?;
                self.interface = interface;
            }
            Kind::ARM_GICV2_INTERFACE if platform.version() == Version::V2 => {
                let record: Gicv2Interface = body(bytes)?;
                let interface = check_interface_v2(&record)?;
                platform.restore_banked(self.index, &record)?;
                self.interface = interface;
            }
            Kind::ARM_REDISTRIBUTOR | Kind::ARM_GICV2_INTERFACE => return Err(Errno::EXDEV),
            _ => return Err(Errno::EOPNOTSUPP),
        }
        Ok(())
    }

    fn restore_cpu(&mut self, record: &Cpu) {
        self.context.x = record.x;
        self.context.pc = record.pc;
        self.context.pstate = record.pstate;
        self.pending = Pending::Nothing;
        self.system = *record;
    }
}

#[cfg(test)]
mod tests;
