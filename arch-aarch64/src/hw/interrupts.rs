//! The machine's interrupt controller: a GICv3, or a GICv2 ([`super::gicv2`]).
//!
//! Priority drop and deactivation are split (`ICC_CTLR_EL1.EOImode` = 1): an interrupt that goes on to a guest is ended
//! here so that others can come, and stays active until the guest ends it.

use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, Ordering};

use arm_gic::gicv3::GicV3;
use arm_gic::gicv3::registers::{Gicd, GicrSgi};
use arm_gic::{IntId, Trigger};
use safe_mmio::UniqueMmioPointer;
use spin::mutex::TicketMutex;
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

static GIC: TicketMutex<Option<GicV3<'static>>> = TicketMutex::new(None);
/// Where this CPU's private frame is.
static PRIVATE: AtomicU64 = AtomicU64::new(0);

/// Why the interrupt controller cannot be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum GicError {
    /// Its description is wrong.
    Description,
    /// It does not answer as a GICv3.
    NotV3,
}

/// Sets up a GICv2: distributor and this CPU's interface. Their registers are mapped.
///
/// # Errors
/// What is wrong with the controller.
pub(crate) fn start_v2(addresses: gicv2::Addresses) -> Result<(), GicError> {
    gicv2::start(addresses).ok_or(GicError::Description)?;
    // The registers that activate private interrupts are in the distributor, at the same offsets.
    PRIVATE.store(addresses.distributor, Ordering::Relaxed);
    Ok(())
}

/// Sets up a GICv3: distributor and this CPU's redistributor and interface. Their registers are mapped.
///
/// # Errors
/// What is wrong with the controller.
pub(crate) fn start(distributor: u64, redistributors: u64) -> Result<(), GicError> {
    let gicd = NonNull::new(distributor as *mut Gicd).ok_or(GicError::Description)?;
    let gicr = NonNull::new(redistributors as *mut GicrSgi).ok_or(GicError::Description)?;
    // SAFETY: the caller found the distributor in the device tree and mapped it; nothing else uses it.
    let gicd = unsafe { UniqueMmioPointer::new(gicd) };
    // SAFETY: as above, for the redistributors; `PRIVATE` is used for registers that the driver does not touch then.
    let gic = unsafe { GicV3::new(gicd, gicr, super::cpu::CPUS_MAX) };
    let mut gic = gic.map_err(|_| GicError::NotV3)?;
    set_up(&mut gic);
    PRIVATE.store(redistributors + PRIVATE_OFFSET, Ordering::Relaxed);
    *GIC.lock() = Some(gic);
    start_interface();
    Ok(())
}

#[cfg(target_arch = "aarch64")]
fn set_up(gic: &mut GicV3<'_>) {
    ICC_SRE_EL2.set((IccSre::SRE::SET + IccSre::DFB::SET + IccSre::DIB::SET).value);
    gic.enable_all_interrupts(false);
    gic.setup(0);
}

#[cfg(not(target_arch = "aarch64"))]
fn set_up(_: &mut GicV3<'_>) {
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
        let _unknown = gic.enable_interrupt(identifier(number), Some(0), enabled);
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

/// Makes a PPI of this CPU active, or not, without it having come.
#[inline]
pub(crate) fn set_private_active(number: u32, active: bool) {
    let frame = PRIVATE.load(Ordering::Relaxed) as *const PrivateFrame;
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

/// Kicks a CPU.
pub(crate) fn kick(mpidr: u64) {
    if gicv2::is_here() {
        barrier();
        // The only CPU there is: this one.
        return gicv2::send(KICK, gicv2::own_target().max(1));
    }
    let target = 1_u64 << (mpidr & 0xF);
    let affinity1 = mpidr >> 8 & 0xFF;
    barrier();
    ICC_SGI1R_EL1.set(u64::from(KICK) << 24 | affinity1 << 16 | target);
}

#[inline(always)]
fn barrier() {
    #[cfg(target_arch = "aarch64")]
    // SAFETY: a barrier.
    unsafe {
        core::arch::asm!("dsb sy", options(nostack));
    }
}
