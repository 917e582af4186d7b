//! The machine's interrupt controller: a GICv3, or a GICv2 ([`super::gicv2`]).
//!
//! Priority drop and deactivation are split (`ICC_CTLR_EL1.EOImode` = 1): an interrupt that goes on to a guest is ended
//! here so that others can come, and stays active until the guest ends it.

use core::ptr::NonNull;
use core::sync::atomic::Ordering;

use arm_gic::gicv3::GicV3;
use arm_gic::gicv3::registers::{Gicd, GicrSgi};
use arm_gic::{IntId, Trigger};
use hv_common::lock::Lock;
use safe_mmio::UniqueMmioPointer;
use tock_registers::interfaces::{Readable, Writeable};
use tock_registers::registers::ReadWrite;
use tock_registers::{register_bitfields, register_structs};

use super::gicv2;
use super::registers::{
    ICC_BPR1_EL1, ICC_CTLR_EL1, ICC_DIR_EL1, ICC_EOIR1_EL1, ICC_IAR1_EL1, ICC_IGRPEN1_EL1,
    ICC_PMR_EL1, ICC_SGI1R_EL1, ICC_SRE_EL2,
};

register_structs! {
    /// The SGI and PPI frame of a redistributor, the part we use at run time.
    PrivateFrame {
        (0x000 => _reserved0),
        (0x300 => set_active: ReadWrite<u32>),
        (0x304 => _reserved1),
        (0x380 => clear_active: ReadWrite<u32>),
        (0x384 => @END),
    }
}

register_bitfields! {u64,
    IccCtlr [
        EOImode OFFSET(1) NUMBITS(1) [],
    ],
    IccSre [
        SRE OFFSET(0) NUMBITS(1) [],
        DFB OFFSET(1) NUMBITS(1) [],
        DIB OFFSET(2) NUMBITS(1) [],
    ]
}

/// INTIDs from here on are no interrupts.
const SPECIAL: u32 = 1020;
/// Distance of a redistributor's private frame from its base.
const PRIVATE_OFFSET: u64 = 0x1_0000;
/// The software interrupt that kicks another CPU.
pub(crate) const KICK: u32 = 0;
/// The software interrupt that stops another CPU for good.
pub(crate) const STOP: u32 = 1;

static GIC: Lock<Option<GicV3<'static>>> = Lock::new(None);

/// Why the interrupt controller cannot be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum GicError {
    /// Its description is wrong.
    Description,
    /// It does not answer as a GICv3.
    NotV3,
    /// No redistributor is this CPU's.
    NoRedistributor,
}

/// Sets up a GICv2: distributor and this CPU's interface. Their registers are mapped.
///
/// # Errors
/// What is wrong with the controller.
pub(crate) fn start_v2(addresses: gicv2::Addresses) -> Result<(), GicError> {
    gicv2::start(addresses).ok_or(GicError::Description)?;
    adopt_v2(addresses.distributor);
    Ok(())
}

/// Sets up this further CPU's interface of a GICv2.
///
/// # Errors
/// What is wrong with the controller.
pub(crate) fn start_further_v2(distributor: u64) -> Result<(), GicError> {
    gicv2::start_cpu().ok_or(GicError::Description)?;
    adopt_v2(distributor);
    Ok(())
}

/// The registers that activate private interrupts are in the distributor, at the same offsets as in a private frame; it
/// shows each CPU its own.
fn adopt_v2(distributor: u64) {
    let this = super::cpu::this();
    let target = u32::from(gicv2::own_target().max(1));
    this.target.store(target, Ordering::Relaxed);
    this.private_frame.store(distributor, Ordering::Relaxed);
}

/// Sets up a GICv3: the distributor, the redistributors of that many CPUs, and this CPU's interface. Their registers are
/// mapped.
///
/// # Errors
/// What is wrong with the controller.
pub(crate) fn start(distributor: u64, redistributors: u64, cpus: usize) -> Result<(), GicError> {
    let gicd = NonNull::new(distributor as *mut Gicd).ok_or(GicError::Description)?;
    let gicr = NonNull::new(redistributors as *mut GicrSgi).ok_or(GicError::Description)?;
    // SAFETY: the caller found the distributor in the device tree and mapped it; nothing else uses it.
    let gicd = unsafe { UniqueMmioPointer::new(gicd) };
    // SAFETY: as above, for the redistributors; private frames are used for registers that
    // the driver does not touch then.
    let gic = unsafe { GicV3::new(gicd, gicr, cpus) };
    let mut gic = gic.map_err(|_| GicError::NotV3)?;
    let index = adopt_redistributor(&mut gic, redistributors, cpus)?;
    set_up(&mut gic, index);
    *GIC.lock() = Some(gic);
    start_interface();
    Ok(())
}

/// Sets up this further CPU's interface.
///
/// # Errors
/// What is wrong with the controller.
pub(crate) fn start_further(redistributors: u64, cpus: usize) -> Result<(), GicError> {
    let mut gic = GIC.lock();
    let gic = gic.as_mut().ok_or(GicError::NotV3)?;
    let index = adopt_redistributor(gic, redistributors, cpus)?;
    wake_up(gic, index);
    start_interface();
    Ok(())
}

/// Finds this CPU's redistributor by its affinity.
fn adopt_redistributor(
    gic: &mut GicV3<'_>,
    redistributors: u64,
    cpus: usize,
) -> Result<usize, GicError> {
    const AFFINITY: u64 = 0xFF_00FF_FFFF;
    let mpidr = aarch64_cpu::registers::MPIDR_EL1.get() & AFFINITY;
    let has_it = |index: &usize| {
        gic.gicr_typer(*index)
            .is_ok_and(|typer| typer.core_mpidr() == mpidr)
    };
    let index = (0..cpus).find(has_it).ok_or(GicError::NoRedistributor)?;
    let has_virtual_lpis = gic
        .gicr_typer(index)
        .is_ok_and(|typer| typer.virtual_lpis_supported());
    let frames = if has_virtual_lpis { 4 } else { 2 };
    let base = redistributors + index as u64 * frames * PRIVATE_OFFSET;
    let this = super::cpu::this();
    this.mpidr.store(mpidr, Ordering::Relaxed);
    this.redistributor.store(index as u32, Ordering::Relaxed);
    this.private_frame
        .store(base + PRIVATE_OFFSET, Ordering::Relaxed);
    Ok(index)
}

#[cfg(target_arch = "aarch64")]
fn set_up(gic: &mut GicV3<'_>, index: usize) {
    ICC_SRE_EL2.set((IccSre::SRE::SET + IccSre::DFB::SET + IccSre::DIB::SET).value);
    gic.enable_all_interrupts(false);
    gic.setup(index);
}

#[cfg(target_arch = "aarch64")]
fn wake_up(gic: &mut GicV3<'_>, index: usize) {
    ICC_SRE_EL2.set((IccSre::SRE::SET + IccSre::DFB::SET + IccSre::DIB::SET).value);
    gic.init_cpu(index);
}

#[cfg(not(target_arch = "aarch64"))]
fn wake_up(_: &mut GicV3<'_>, _: usize) {}

#[cfg(not(target_arch = "aarch64"))]
fn set_up(_: &mut GicV3<'_>, _: usize) {
    let _ = (
        ICC_SRE_EL2,
        IccSre::SRE::SET,
        IccSre::DFB::SET,
        IccSre::DIB::SET,
    );
}

fn start_interface() {
    ICC_PMR_EL1.set(0xFF);
    ICC_BPR1_EL1.set(0);
    ICC_CTLR_EL1.set(IccCtlr::EOImode::SET.value);
    ICC_IGRPEN1_EL1.set(1);
}

/// Lets an interrupt of this CPU (PPI, SGI) come.
pub(crate) fn enable_private(number: u32) {
    enable(number, true);
}

/// Lets an interrupt come, or not.
pub(crate) fn enable(number: u32, enabled: bool) {
    if number >= SPECIAL {
        return;
    }
    if gicv2::is_here() {
        return gicv2::enable(number, enabled);
    }
    if let Some(gic) = GIC.lock().as_mut() {
        let here = super::cpu::this().redistributor.load(Ordering::Relaxed) as usize;
        let _unknown = gic.enable_interrupt(identifier(number), Some(here), enabled);
    }
}

/// Says whether an SPI is an edge, and sends it to this CPU.
pub(crate) fn configure(number: u32, is_edge: bool) {
    if gicv2::is_here() {
        return gicv2::configure(number, is_edge);
    }
    let trigger = if is_edge {
        Trigger::Edge
    } else {
        Trigger::Level
    };
    if let Some(gic) = GIC.lock().as_mut() {
        let _unknown = gic.set_trigger(identifier(number), Some(0), trigger);
        let here = aarch64_cpu::registers::MPIDR_EL1.get();
        let _unknown = gic
            .distributor()
            .set_routing(identifier(number), Some(here & 0xFF_00FF_FFFF));
    }
}

fn identifier(number: u32) -> IntId {
    match number {
        0..16 => IntId::sgi(number),
        16..32 => IntId::ppi(number - 16),
        _ => IntId::spi(number - 32),
    }
}

/// Takes the most urgent pending interrupt; it is active then.
#[inline(always)]
pub(crate) fn acknowledge() -> Option<u32> {
    let number = if gicv2::is_here() {
        gicv2::acknowledge()
    } else {
        ICC_IAR1_EL1.get() as u32
    };
    barrier();
    (number < SPECIAL).then_some(number)
}

/// Lets others come again; the interrupt stays active.
#[inline(always)]
pub(crate) fn drop_priority(number: u32) {
    if gicv2::is_here() {
        return gicv2::drop_priority(number);
    }
    ICC_EOIR1_EL1.set(u64::from(number));
}

/// Makes an interrupt inactive: it may come again.
#[inline(always)]
pub(crate) fn deactivate(number: u32) {
    if gicv2::is_here() {
        return gicv2::deactivate(number);
    }
    ICC_DIR_EL1.set(u64::from(number));
}

/// Whether a guest's end of an interrupt deactivates the physical one that is linked to it as it should.
pub(crate) fn deactivate_by_themselves() -> bool {
    !gicv2::forgets_lines()
}

/// Makes a PPI of this CPU active, or not, without it having come.
#[inline]
pub(crate) fn set_private_active(number: u32, active: bool) {
    let frame = super::cpu::this().private_frame.load(Ordering::Relaxed) as *const PrivateFrame;
    if frame.is_null() {
        return;
    }
    // SAFETY: `start` put the address of this CPU's mapped private frame there.
    let frame = unsafe { &*frame };
    let bit = 1_u32.wrapping_shl(number);
    if active {
        frame.set_active.set(bit);
    } else {
        frame.clear_active.set(bit);
    }
    barrier();
}

/// Sends a software interrupt to another CPU, or to this one.
pub(crate) fn send(number: u32, to: &super::cpu::Cpu) {
    if gicv2::is_here() {
        barrier();
        return gicv2::send(number, to.target.load(Ordering::Relaxed) as u8);
    }
    let mpidr = to.mpidr.load(Ordering::Relaxed);
    let target = 1_u64 << (mpidr & 0xF);
    let affinity1 = mpidr >> 8 & 0xFF;
    barrier();
    let affinity2 = mpidr >> 16 & 0xFF;
    let affinity3 = mpidr >> 32 & 0xFF;
    let value = affinity3 << 48 | affinity2 << 32 | affinity1 << 16 | target;
    ICC_SGI1R_EL1.set(u64::from(number) << 24 | value);
}

#[inline(always)]
fn barrier() {
    #[cfg(target_arch = "aarch64")]
    // SAFETY: a barrier.
    unsafe {
        core::arch::asm!("dsb sy", options(nostack));
    }
}
