//! A vCPU's registers as records, and what of a record is believed.

use hv_abi::Errno;
use hv_abi::record::x86::{self, Cpu};
use hv_abi::record::{Header, Kind};
use hv_common::arch::RecordSink;
use zerocopy::{FromBytes, IntoBytes};

use super::{Pending, Vcpu};
use crate::apic::{Apic, FIRST_VECTOR};
use crate::control_registers::{cr0, cr4, rflags};
use crate::hw::extended;
use crate::msr::{self, efer};
use crate::platform::{Platform, RECORD_VERSION};
use crate::vendor::{Control, Vendor};

/// Bits of [`x86::Apic::flags`].
mod flag {
    pub(super) const UPCALL: u32 = 1 << 0;
    pub(super) const INIT: u32 = 1 << 1;
}

/// Bits of [`Cpu::activity`].
mod activity {
    pub(super) const SHADOW: u64 = 1 << 0;
    pub(super) const NMI_PENDING: u64 = 1 << 2;
}

impl<V: Vendor> Vcpu<V> {
    pub(super) fn save_record(
        &self,
        platform: &Platform,
        nth: usize,
        out: &mut dyn RecordSink,
    ) -> Option<()> {
        let vcpu = self.index;
        let fitted = match nth {
            0 => out.put(V::CPU_RECORD, vcpu, self.cpu_record(platform).as_bytes()),
            1 => out.put(Kind::X86_APIC, vcpu, self.apic_record(platform).as_bytes()),
            2 => out.put(Kind::X86_EXTENDED_STATE, vcpu, self.extended.bytes()),
            _ => return None,
        };
        fitted.then_some(())
    }

    fn cpu_record(&self, platform: &Platform) -> Cpu {
        let mut record = Cpu {
            gpr: self.registers.0,
            dr: self.dr,
            xcr0: self.xcr0,
            tsc_aux: self.tsc_aux,
            ..Cpu::default()
        };
        if platform.requests(self.index).has_nmi() {
            record.activity |= activity::NMI_PENDING;
        }
        self.control.save(&mut record);
        record
    }

    fn apic_record(&self, platform: &Platform) -> x86::Apic {
        let requests = platform.requests(self.index);
        let upcall = if requests.has_upcall() {
            flag::UPCALL
        } else {
            0
        };
        let init = if requests.has_init() { flag::INIT } else { 0 };
        let mut apic = self.apic;
        if let Some(class) = self.control.task_priority() {
            apic.set_priority_class(class);
        }
        x86::Apic {
            irr: requests.irr().0,
            upcall_vector: u32::from(requests.upcall_vector()),
            flags: upcall | init,
            ..apic.save()
        }
    }

    pub(super) fn restore_record(
        &mut self,
        platform: &Platform,
        header: &Header,
        body: &[u8],
    ) -> Result<(), Errno> {
        if header.version != RECORD_VERSION {
            return Err(Errno::EOPNOTSUPP);
        }
        match header.kind {
            kind if kind == V::CPU_RECORD => {
                let record = Cpu::ref_from_bytes(body).map_err(|_| Errno::EINVAL)?;
                self.restore_cpu(platform, &check_cpu(record)?);
                Ok(())
            }
            // The other vendor's: a guest keeps what it has found out of the CPU.
            Kind::VMX_CPU | Kind::SVM_CPU => Err(Errno::EXDEV),
            Kind::X86_APIC => {
                let record = x86::Apic::ref_from_bytes(body).map_err(|_| Errno::EINVAL)?;
                self.restore_apic(platform, record)
            }
            Kind::X86_EXTENDED_STATE => extended::check(body).map(|state| self.extended = state),
            _ => Err(Errno::EOPNOTSUPP),
        }
    }

    fn restore_cpu(&mut self, platform: &Platform, record: &Cpu) {
        self.pending = Pending::Nothing;
        self.set_state(record);
        if record.activity & activity::NMI_PENDING != 0 {
            platform.requests(self.index).request_nmi();
        }
    }

    fn restore_apic(&mut self, platform: &Platform, record: &x86::Apic) -> Result<(), Errno> {
        let vector = u8::try_from(record.upcall_vector).map_err(|_| Errno::EINVAL)?;
        let reachable = (vector == 0 || vector >= FIRST_VECTOR)
            && record.irr[0] & 0xFFFF == 0
            && record.flags & !(flag::UPCALL | flag::INIT) == 0
            && record.reserved == 0
            && (record.ldr, record.dfr) == (0, 0);
        if !reachable {
            return Err(Errno::EINVAL);
        }
        self.apic = Apic::restore(self.index, record)?;
        self.control
            .set_task_priority((self.apic.task_priority() >> 4) as u8);
        platform.requests(self.index).restore(
            record.irr,
            record.flags & flag::UPCALL != 0,
            record.flags & flag::INIT != 0,
            vector,
        );
        Ok(())
    }
}

/// RFLAGS without reserved bits and virtual-8086 interrupts' companions.
const RFLAGS_BITS: u64 = 0x003F_7FD5;

/// Registers as a guest could have them, without bits that do nothing.
///
/// # Errors
/// `EINVAL`: no guest could be in that state.
pub(super) fn check_cpu(record: &Cpu) -> Result<Cpu, Errno> {
    let paging = record.cr0 & cr0::PG != 0;
    let long = record.efer & efer::LMA != 0;
    let modes = (!paging || record.cr0 & cr0::PE != 0)
        && (record.cr0 & cr0::NW == 0 || record.cr0 & cr0::CD != 0)
        && long == (paging && record.efer & efer::LME != 0)
        && (!long || record.cr4 & cr4::PAE != 0)
        && (record.cr4 & cr4::PCIDE == 0 || long);
    let fits = record.cr0 & !cr0::ALL == 0
        && record.cr4 & !cr4::ALL == 0
        && record.efer & !(efer::ALL | efer::LMA) == 0
        && msr::is_pat(record.pat)
        && extended::is_valid(record.xcr0)
        && u32::try_from(record.tsc_aux).is_ok()
        && record.dr6 >> 32 == 0
        && record.dr7 >> 32 == 0
        && record.activity & !(activity::SHADOW | activity::NMI_PENDING) == 0;
    let addresses = [
        record.rip,
        record.lstar,
        record.cstar,
        record.kernel_gs_base,
        record.sysenter_esp,
        record.sysenter_eip,
        record.fs.base,
        record.gs.base,
        record.gdtr.base,
        record.idtr.base,
        record.tr.base,
        record.ldtr.base,
    ];
    let canonical = addresses.iter().all(|address| msr::is_canonical(*address));
    if !(modes && fits && canonical && is_event(record.event)) {
        return Err(Errno::EINVAL);
    }
    Ok(Cpu {
        rflags: record.rflags & RFLAGS_BITS | rflags::FIXED,
        ..*record
    })
}

/// Whether an interrupted event is one that hardware could have been delivering: an interrupt, an NMI or an exception.
fn is_event(event: u64) -> bool {
    const VALID: u64 = 1 << 31;
    const RESERVED: u64 = 0x7FFF_F000;
    let (vector, kind) = (event & 0xFF, event >> 8 & 7);
    if event & VALID == 0 {
        return event == 0;
    }
    event & RESERVED == 0
        && match kind {
            0 => vector >= 16,
            2 => vector == 2,
            3 => vector < 32 && vector != 2,
            _ => false,
        }
}
