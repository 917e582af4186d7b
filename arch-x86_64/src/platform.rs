//! What a domain has beyond CPUs and RAM: what its local APICs are asked for, and its time.

use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

use hv_abi::record::{self, Header};
use hv_abi::{DomId, Errno};
use hv_common::arch::{ClockScale, GuestInterrupt, PlatformConfig, RecordSink};

use crate::X86;
use crate::apic::{Apic, Destination, IpiKind, Vectors};
use crate::host::X86Host;
use crate::hw::timer;
use crate::vendor::Vendor;

/// Version of our records.
pub(crate) const RECORD_VERSION: u16 = 1;
/// vCPUs of a domain at most.
pub(crate) const VCPUS: usize = hv_abi::control::domain::VCPUS_MAX as usize;

/// What others ask of a vCPU. Set first, then `attention`; the vCPU clears `attention` first, then looks.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    irr: [AtomicU64; 4],
    nmi: AtomicBool,
    /// An INIT: the vCPU is to stop and wait for a start-up IPI.
    init: AtomicBool,
    /// Event channels are pending.
    upcall: AtomicBool,
    /// Vector of its upcalls through the APIC; 0: the domain's way.
    upcall_vector: AtomicU8,
    attention: AtomicBool,
}

impl Requests {
    /// Requests an interrupt.
    pub(crate) fn request(&self, vector: u8) {
        if let Some(word) = self.irr.get(usize::from(vector / 64)) {
            word.fetch_or(1 << (vector % 64), Ordering::Relaxed);
        }
        self.call();
    }

    /// Requests a non-maskable interrupt.
    pub(crate) fn request_nmi(&self) {
        self.nmi.store(true, Ordering::Relaxed);
        self.call();
    }

    fn call(&self) {
        self.attention.store(true, Ordering::Release);
    }

    /// Whether it has to look; it does so now.
    #[inline(always)]
    pub(crate) fn take_attention(&self) -> bool {
        let set = self.attention.load(Ordering::Relaxed);
        if set {
            self.attention.swap(false, Ordering::Acquire);
        }
        set
    }

    /// Everything requested.
    pub(crate) fn irr(&self) -> Vectors {
        Vectors(self.irr.each_ref().map(|word| word.load(Ordering::Relaxed)))
    }

    /// A request is taken.
    pub(crate) fn accept(&self, vector: u8) {
        if let Some(word) = self.irr.get(usize::from(vector / 64)) {
            word.fetch_and(!(1 << (vector % 64)), Ordering::Relaxed);
        }
    }

    pub(crate) fn has_upcall(&self) -> bool {
        self.upcall.load(Ordering::Relaxed)
    }

    pub(crate) fn take_upcall(&self) -> bool {
        self.upcall.swap(false, Ordering::Relaxed)
    }

    pub(crate) fn has_nmi(&self) -> bool {
        self.nmi.load(Ordering::Relaxed)
    }

    pub(crate) fn take_nmi(&self) -> bool {
        self.nmi.swap(false, Ordering::Relaxed)
    }

    /// Requests an INIT.
    pub(crate) fn request_init(&self) {
        self.init.store(true, Ordering::Relaxed);
        self.call();
    }

    pub(crate) fn has_init(&self) -> bool {
        self.init.load(Ordering::Relaxed)
    }

    pub(crate) fn take_init(&self) -> bool {
        self.has_init() && self.init.swap(false, Ordering::Relaxed)
    }

    /// Forgets what was requested before the vCPU was started: a CPU that waits for a start-up IPI takes nothing, and
    /// another INIT is nothing new to it.
    pub(crate) fn forget(&self) {
        for word in &self.irr {
            word.store(0, Ordering::Relaxed);
        }
        self.nmi.store(false, Ordering::Relaxed);
        self.init.store(false, Ordering::Relaxed);
    }

    pub(crate) fn upcall_vector(&self) -> u8 {
        self.upcall_vector.load(Ordering::Relaxed)
    }

    /// Adds what was requested when the guest was saved: timers may have requested something already.
    pub(crate) fn restore(&self, irr: [u64; 4], upcall: bool, init: bool, upcall_vector: u8) {
        for (word, value) in self.irr.iter().zip(irr) {
            word.fetch_or(value, Ordering::Relaxed);
        }
        self.upcall.fetch_or(upcall, Ordering::Relaxed);
        self.init.fetch_or(init, Ordering::Relaxed);
        self.upcall_vector.store(upcall_vector, Ordering::Relaxed);
        self.call();
    }
}

/// A domain's interrupts and time.
#[derive(Debug)]
pub struct Platform {
    requests: [Requests; VCPUS],
    vcpus: u32,
    /// Vector of upcalls that do not pass the APIC; 0: none.
    callback_vector: AtomicU8,
    /// Machine TSC minus guest TSC.
    offset: AtomicU64,
    /// Domain-0.
    pub(crate) hardware: bool,
    pub(crate) hypervisor_visible: bool,
    pub(crate) guest_id: DomId,
}

impl Platform {
    /// What is asked of a vCPU.
    #[inline(always)]
    pub(crate) fn requests(&self, vcpu: u32) -> &Requests {
        &self.requests[vcpu as usize % VCPUS]
    }

    /// vCPUs there are.
    pub(crate) fn vcpus(&self) -> u32 {
        self.vcpus
    }

    /// Vector of upcalls that do not pass the APIC.
    pub(crate) fn callback_vector(&self) -> Option<u8> {
        let vector = self.callback_vector.load(Ordering::Relaxed);
        (vector != 0).then_some(vector)
    }

    /// Machine TSC minus guest TSC.
    #[inline]
    pub(crate) fn offset(&self) -> u64 {
        self.offset.load(Ordering::Relaxed)
    }

    /// Delivers an IPI other than start-up. Returns who has to look, except the sender.
    pub(crate) fn send(&self, from: u32, to: Destination, kind: IpiKind) -> u64 {
        let mut look = 0;
        for vcpu in 0..self.vcpus {
            if !Apic::is_addressed(vcpu, from, to) {
                continue;
            }
            match kind {
                IpiKind::Fixed(vector) => self.requests(vcpu).request(vector),
                IpiKind::Nmi => self.requests(vcpu).request_nmi(),
                IpiKind::Init if vcpu != from => self.requests(vcpu).request_init(),
                IpiKind::Init | IpiKind::Startup(_) => continue,
            }
            look |= 1 << vcpu;
        }
        look & !(1 << from)
    }

    fn raise_upcall(&self, vcpu: u32) -> Option<u32> {
        if vcpu >= self.vcpus {
            return None;
        }
        let requests = self.requests(vcpu);
        requests.upcall.store(true, Ordering::Relaxed);
        requests.call();
        Some(vcpu)
    }
}

impl<V: Vendor> hv_common::arch::Platform<X86<V>> for Platform {
    fn new(_: &X86Host, config: &PlatformConfig) -> Result<Self, Errno> {
        if !(1..=VCPUS as u32).contains(&config.vcpus) {
            return Err(Errno::EINVAL);
        }
        Ok(Self {
            requests: Default::default(),
            vcpus: config.vcpus,
            callback_vector: AtomicU8::new(0),
            offset: AtomicU64::new(timer::now_ticks()),
            hardware: config.hardware,
            hypervisor_visible: config.hypervisor_visible,
            guest_id: config.guest_id,
        })
    }

    fn raise(&self, interrupt: GuestInterrupt) -> Option<u32> {
        match interrupt {
            GuestInterrupt::Upcall { vcpu } => self.raise_upcall(vcpu),
            // There is no controller with lines.
            GuestInterrupt::Line { .. } | GuestInterrupt::Input { .. } => None,
        }
    }

    fn set_upcall(&self, vcpu: Option<u32>, vector: u8) -> Result<(), Errno> {
        if vector != 0 && vector < crate::apic::FIRST_VECTOR {
            return Err(Errno::EINVAL);
        }
        match vcpu {
            None => self.callback_vector.store(vector, Ordering::Relaxed),
            Some(vcpu) if vcpu < self.vcpus => {
                self.requests(vcpu)
                    .upcall_vector
                    .store(vector, Ordering::Relaxed);
            }
            Some(_) => return Err(Errno::ENOENT),
        }
        Ok(())
    }

    fn clock_scale(&self, host: &X86Host) -> Option<ClockScale> {
        Some(hv_common::time::clock_scale(host.clock.hz()))
    }

    fn set_guest_counter(&self, _: &X86Host, ticks: u64) {
        let offset = timer::now_ticks().wrapping_sub(ticks);
        self.offset.store(offset, Ordering::Relaxed);
    }

    fn guest_counter(&self, _: &X86Host) -> u64 {
        timer::now_ticks().wrapping_sub(self.offset())
    }

    fn requirements(&self, host: &X86Host) -> record::Platform {
        host.requirements()
    }

    fn save(&self, _: usize, _: &mut dyn RecordSink) -> Option<()> {
        // Everything belongs to a vCPU.
        None
    }

    fn restore(&self, _: &Header, _: &[u8]) -> Result<(), Errno> {
        Err(Errno::EOPNOTSUPP)
    }
}
