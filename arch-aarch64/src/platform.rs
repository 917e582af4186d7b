//! What a domain has beyond CPUs and RAM: its interrupt controller and its time.

use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

use arch_common::cpus::CPUS_MAX;
use hv_abi::layout::arm as layout;
use hv_abi::record::arm::{Distributor, Gicv2Distributor, Gicv2Interface, Redistributor};
use hv_abi::record::{self, Header, Kind};
use hv_abi::{Errno, FRAME_SHIFT};
use hv_common::arch::{DirectRegisters, Gfn, GuestInterrupt, Mfn, PlatformConfig, RecordSink};
use hv_common::lock::{Guard, Lock};
use zerocopy::{FromBytes, IntoBytes};

use crate::Aarch64;
use crate::host::ArmHost;
use crate::hw::{interrupts, timer};
use crate::vgic::{Frame, Gic, VCPUS, Version};

/// Version of our records.
pub(crate) const RECORD_VERSION: u16 = 1;

/// Where an interrupt controller's registers are, the machine's or a domain's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Controller {
    /// A GICv2.
    V2 {
        distributor: u64,
        cpu_interface: u64,
        /// The machine's virtual CPU interface: what is in the place of a guest's CPU interface.
        virtual_interface: u64,
    },
    /// A GICv3.
    V3 {
        distributor: u64,
        redistributors: u64,
    },
}

impl Controller {
    /// A domain's, on a machine that has this one.
    fn of_domain(self) -> Self {
        match self {
            Self::V2 {
                virtual_interface, ..
            } => Self::V2 {
                distributor: layout::GICD_BASE,
                cpu_interface: layout::GICC_BASE,
                virtual_interface,
            },
            Self::V3 { .. } => Self::V3 {
                distributor: layout::GICD_BASE,
                redistributors: layout::GICR_BASE,
            },
        }
    }

    /// Its version.
    pub(crate) fn version(self) -> Version {
        match self {
            Self::V2 { .. } => Version::V2,
            Self::V3 { .. } => Version::V3,
        }
    }

    /// vCPUs that it serves at most.
    fn vcpus_max(self) -> u32 {
        match self {
            Self::V2 { .. } => layout::GICV2_VCPUS_MAX,
            Self::V3 { .. } => VCPUS as u32,
        }
    }
}

/// A domain's interrupt controller and time.
pub struct Platform {
    gic: Lock<Gic>,
    /// Bit for bit: the vCPU has to look at the controller before it enters the guest. Set after the controller has
    /// changed, cleared before it is looked at.
    attention: [AtomicBool; VCPUS],
    /// The vCPU that ran last on each CPU, plus 1.
    last_ran: [AtomicU8; CPUS_MAX],
    /// Machine counter minus guest counter.
    offset: AtomicU64,
    controller: Controller,
    distributor: u64,
    distributor_size: u64,
    redistributors: u64,
    /// Redistributors: none on a GICv2.
    redistributor_count: u32,
    hypervisor_visible: bool,
}

/// Bytes of a register frame.
const FRAME: u64 = 0x1_0000;

impl Platform {
    /// A platform whose controller is this one.
    pub(crate) fn at(controller: Controller, config: &PlatformConfig, offset: u64) -> Self {
        let (distributor, distributor_size, redistributors, redistributor_count) = match controller
        {
            Controller::V2 { distributor, .. } => (distributor, layout::GICV2_GICD_SIZE, 0, 0),
            Controller::V3 {
                distributor,
                redistributors,
            } => (distributor, FRAME, redistributors, config.vcpus),
        };
        Self {
            gic: Lock::new(
                Gic::new(controller.version(), config.vcpus)
                    .deactivates_by_itself(interrupts::deactivate_by_themselves()),
            ),
            attention: [const { AtomicBool::new(false) }; VCPUS],
            last_ran: [const { AtomicU8::new(0) }; CPUS_MAX],
            offset: AtomicU64::new(offset),
            controller,
            distributor,
            distributor_size,
            redistributors,
            redistributor_count,
            hypervisor_visible: config.hypervisor_visible,
        }
    }

    /// Whether a vCPU has to look at the controller; it does so now.
    #[inline(always)]
    pub(crate) fn take_attention(&self, vcpu: u32) -> bool {
        let Some(flag) = self.attention.get(vcpu as usize) else {
            return false;
        };
        let set = flag.load(Ordering::Relaxed);
        if set {
            flag.swap(false, Ordering::Acquire);
        }
        set
    }

    /// Makes a vCPU look at the controller.
    #[inline]
    pub(crate) fn call_attention(&self, vcpu: u32) {
        if let Some(flag) = self.attention.get(vcpu as usize) {
            flag.store(true, Ordering::Release);
        }
    }

    /// Makes vCPUs look, a bit for each.
    pub(crate) fn call_attentions(&self, mut vcpus: u32) {
        while vcpus != 0 {
            self.call_attention(vcpus.trailing_zeros());
            vcpus &= vcpus - 1;
        }
    }

    /// A vCPU gets a CPU. Returns whether another vCPU of the domain was the last there: what that CPU has cached of
    /// translations may be the other's, as all of them have the domain's tag.
    #[inline]
    pub(crate) fn changes_vcpu(&self, cpu: usize, vcpu: u32) -> bool {
        let Some(last) = self.last_ran.get(cpu) else {
            return true;
        };
        let this = vcpu as u8 + 1;
        // Only this CPU writes its entry.
        let before = last.load(Ordering::Relaxed);
        last.store(this, Ordering::Relaxed);
        before != 0 && before != this
    }

    /// The controller.
    #[inline]
    pub(crate) fn gic(&self) -> Guard<'_, Gic> {
        self.gic.lock()
    }

    /// The register frame at a guest-physical address, as `vcpu` sees it, and the offset in it.
    #[inline]
    pub(crate) fn frame_at(&self, address: u64, vcpu: u32) -> Option<(Frame, u64)> {
        let offset = address.wrapping_sub(self.distributor);
        if offset < self.distributor_size {
            let frame = if self.redistributor_count == 0 {
                Frame::Banked(vcpu)
            } else {
                Frame::Distributor
            };
            return Some((frame, offset));
        }
        let offset = address.wrapping_sub(self.redistributors);
        let vcpu = u32::try_from(offset / layout::GICR_STRIDE).ok()?;
        if vcpu >= self.redistributor_count {
            return None;
        }
        let within = offset % layout::GICR_STRIDE;
        if within < FRAME {
            Some((Frame::Redistributor(vcpu), within))
        } else {
            Some((Frame::Private(vcpu), within - FRAME))
        }
    }

    /// Machine counter minus guest counter.
    #[inline]
    pub(crate) fn offset(&self) -> u64 {
        self.offset.load(Ordering::Relaxed)
    }

    /// Whether the guest is told about the hypervisor.
    pub(crate) fn hypervisor_visible(&self) -> bool {
        self.hypervisor_visible
    }
}

impl hv_common::arch::Platform<Aarch64> for Platform {
    fn new(host: &ArmHost, config: &PlatformConfig) -> Result<Self, Errno> {
        let controller = if config.hardware {
            host.controller
        } else {
            host.controller.of_domain()
        };
        if !(1..=controller.vcpus_max()).contains(&config.vcpus) {
            return Err(Errno::EINVAL);
        }
        Ok(Self::at(controller, config, timer::now_ticks()))
    }

    fn direct_registers(&self) -> Option<DirectRegisters> {
        let Controller::V2 {
            cpu_interface,
            virtual_interface,
            ..
        } = self.controller
        else {
            return None;
        };
        Some(DirectRegisters {
            gfn: Gfn(cpu_interface >> FRAME_SHIFT),
            mfn: Mfn(virtual_interface >> FRAME_SHIFT),
            count: layout::GICC_SIZE >> FRAME_SHIFT,
        })
    }

    fn raise(&self, interrupt: GuestInterrupt) -> Option<u32> {
        let look = match interrupt {
            GuestInterrupt::Upcall { vcpu } => {
                let looks = self.gic.lock().raise_private(vcpu, layout::EVENT_INTID);
                looks.then_some(vcpu)
            }
            GuestInterrupt::Line {
                number,
                from_machine,
            } => self.gic.lock().raise_shared(number, from_machine),
            GuestInterrupt::Input { number, high } => {
                let look = self.gic.lock().set_input(number, high);
                if !high {
                    // One that runs elsewhere may still take it, as on a machine where the wire is long.
                    look.inspect(|vcpu| self.call_attention(*vcpu));
                    return None;
                }
                look
            }
        };
        if let Some(vcpu) = look {
            self.call_attention(vcpu);
        }
        look
    }

    fn set_guest_counter(&self, _: &ArmHost, ticks: u64) {
        let offset = timer::now_ticks().wrapping_sub(ticks);
        self.offset.store(offset, Ordering::Relaxed);
    }

    fn guest_counter(&self, _: &ArmHost) -> u64 {
        timer::now_ticks().wrapping_sub(self.offset())
    }

    fn requirements(&self, host: &ArmHost) -> record::Platform {
        host.requirements()
    }

    fn save(&self, nth: usize, out: &mut dyn RecordSink) -> Option<()> {
        if nth != 0 {
            return None;
        }
        let fitted = match self.controller.version() {
            Version::V2 => {
                let record = self.gic.lock().save_distributor_v2();
                out.put(Kind::ARM_GICV2_DISTRIBUTOR, 0, record.as_bytes())
            }
            Version::V3 => {
                let record = self.gic.lock().save_distributor();
                out.put(Kind::ARM_DISTRIBUTOR, 0, record.as_bytes())
            }
        };
        fitted.then_some(())
    }

    fn restore(&self, header: &Header, body: &[u8]) -> Result<(), Errno> {
        if header.version != RECORD_VERSION {
            return Err(Errno::EOPNOTSUPP);
        }
        match (header.kind, self.controller.version()) {
            (Kind::ARM_DISTRIBUTOR, Version::V3) => {
                let record = Distributor::ref_from_bytes(body).map_err(|_| Errno::EINVAL)?;
                self.gic.lock().restore_distributor(record)
            }
            (Kind::ARM_GICV2_DISTRIBUTOR, Version::V2) => {
                let record = Gicv2Distributor::ref_from_bytes(body).map_err(|_| Errno::EINVAL)?;
                self.gic.lock().restore_distributor_v2(record)
            }
            (Kind::ARM_DISTRIBUTOR | Kind::ARM_GICV2_DISTRIBUTOR, _) => Err(Errno::EXDEV),
            _ => Err(Errno::EOPNOTSUPP),
        }
    }
}

impl Platform {
    /// The vCPU's part of the controller as a record.
    pub(crate) fn save_private(&self, vcpu: u32) -> Redistributor {
        self.gic.lock().save_private(vcpu)
    }

    /// Loads the vCPU's part of the controller.
    pub(crate) fn restore_private(&self, vcpu: u32, record: &Redistributor) -> Result<(), Errno> {
        self.gic.lock().restore_private(vcpu, record)?;
        self.call_attention(vcpu);
        Ok(())
    }

    /// The version of the controller.
    pub(crate) fn version(&self) -> Version {
        self.controller.version()
    }

    /// The distributor's part of a vCPU's record, on a GICv2.
    pub(crate) fn save_banked(&self, vcpu: u32) -> Gicv2Interface {
        self.gic.lock().save_banked(vcpu)
    }

    /// Loads the distributor's part of a vCPU's record, on a GICv2.
    pub(crate) fn restore_banked(&self, vcpu: u32, record: &Gicv2Interface) -> Result<(), Errno> {
        self.gic.lock().restore_banked(vcpu, record)?;
        self.call_attention(vcpu);
        Ok(())
    }

    /// Applies what a register write led to, except for the caller's own vCPU. Returns the others that have to look.
    pub(crate) fn apply(&self, effect: crate::vgic::Effect, from: u32) -> u32 {
        let (first, mut bits) = effect.deactivate;
        while bits != 0 {
            interrupts::deactivate(first + bits.trailing_zeros());
            bits &= bits - 1;
        }
        self.call_attentions(effect.look);
        effect.look & !(1 << from)
    }
}
