//! A GICv2's registers: distributor (GICD), CPU interface (GICC), and the hypervisor's view of the virtual CPU
//! interface (GICH) of the CPU that asks (IHI 0048).
//!
//! Where the machine has a GICv3, the addresses stay 0 and nothing here is used. As on a GICv3, priority drop and
//! deactivation are split. What serves an exit is marked cold: the GICv3's path through the same functions stays short.

use core::sync::atomic::{AtomicU64, Ordering};

use tock_registers::interfaces::{Readable, Writeable};
use tock_registers::registers::{ReadOnly, ReadWrite, WriteOnly};
use tock_registers::{register_bitfields, register_structs};

use super::lists::Interface;
use crate::vgic::ListRegister;

register_structs! {
    Distributor {
        (0x000 => ctlr: ReadWrite<u32>),
        (0x004 => typer: ReadOnly<u32, Typer::Register>),
        (0x008 => iidr: ReadOnly<u32>),
        (0x00C => _reserved0),
        (0x080 => group: [ReadWrite<u32>; 32]),
        (0x100 => set_enabled: [ReadWrite<u32>; 32]),
        (0x180 => clear_enabled: [ReadWrite<u32>; 32]),
        (0x200 => _reserved1),
        (0x280 => clear_pending: [ReadWrite<u32>; 32]),
        (0x300 => _reserved2),
        (0x380 => clear_active: [ReadWrite<u32>; 32]),
        (0x400 => priority: [ReadWrite<u32>; 256]),
        (0x800 => targets: [ReadWrite<u8>; 1024]),
        (0xC00 => configuration: [ReadWrite<u32>; 64]),
        (0xD00 => _reserved3),
        (0xF00 => sgi: WriteOnly<u32>),
        (0xF04 => @END),
    },
    CpuInterface {
        (0x0000 => ctlr: ReadWrite<u32, Gicc::Register>),
        (0x0004 => priority_mask: ReadWrite<u32>),
        (0x0008 => binary_point: ReadWrite<u32>),
        (0x000C => acknowledge: ReadOnly<u32>),
        (0x0010 => end: WriteOnly<u32>),
        (0x0014 => _reserved0),
        (0x1000 => deactivate: WriteOnly<u32>),
        (0x1004 => @END),
    },
    HypervisorInterface {
        (0x000 => hcr: ReadWrite<u32>),
        (0x004 => vtr: ReadOnly<u32>),
        (0x008 => vmcr: ReadWrite<u32>),
        (0x00C => _reserved0),
        (0x0F0 => apr: ReadWrite<u32>),
        (0x0F4 => _reserved1),
        (0x100 => lists: [ReadWrite<u32>; 64]),
        (0x200 => @END),
    }
}

register_bitfields! {u32,
    Typer [
        Lines OFFSET(0) NUMBITS(5) [],
        SecurityExtension OFFSET(10) NUMBITS(1) [],
    ],
    Gicc [
        /// Group 0, or group 1 in the non-secure view.
        Enable OFFSET(0) NUMBITS(1) [],
        /// EOImode, or EOImodeNS in the non-secure view.
        SplitEnd OFFSET(9) NUMBITS(1) [],
    ]
}

/// Interrupts of a bank register.
const BANK: u32 = 32;
/// INTIDs below are SGIs.
const SGIS: u32 = 16;
/// Half of the priorities are more urgent.
const MIDDLE_PRIORITY: u32 = 0x8080_8080;
/// GICD_SGIR.TargetListFilter: the CPUs of the list.
const TARGET_LIST: u32 = 0 << 24;

static DISTRIBUTOR: AtomicU64 = AtomicU64::new(0);
static CPU_INTERFACE: AtomicU64 = AtomicU64::new(0);
static HYPERVISOR_INTERFACE: AtomicU64 = AtomicU64::new(0);

/// Whether the machine has a GICv2.
#[inline(always)]
pub(crate) fn is_here() -> bool {
    CPU_INTERFACE.load(Ordering::Relaxed) != 0
}

fn distributor() -> Option<&'static Distributor> {
    let address = DISTRIBUTOR.load(Ordering::Relaxed) as *const Distributor;
    // SAFETY: 0, or `start` put the address of mapped registers there that are only reached as registers.
    unsafe { address.as_ref() }
}

#[inline(always)]
fn cpu_interface() -> Option<&'static CpuInterface> {
    let address = CPU_INTERFACE.load(Ordering::Relaxed) as *const CpuInterface;
    // SAFETY: as above.
    unsafe { address.as_ref() }
}

#[inline(always)]
fn hypervisor_interface() -> Option<&'static HypervisorInterface> {
    let address = HYPERVISOR_INTERFACE.load(Ordering::Relaxed) as *const HypervisorInterface;
    // SAFETY: as above.
    unsafe { address.as_ref() }
}

/// Where a GICv2's registers are; all of them are mapped.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Addresses {
    pub(crate) distributor: u64,
    pub(crate) cpu_interface: u64,
    pub(crate) hypervisor_interface: u64,
}

/// Sets up the distributor and this CPU's interface. Returns the distributor's address if the registers are there.
pub(crate) fn start(addresses: Addresses) -> Option<()> {
    DISTRIBUTOR.store(addresses.distributor, Ordering::Relaxed);
    CPU_INTERFACE.store(addresses.cpu_interface, Ordering::Relaxed);
    HYPERVISOR_INTERFACE.store(addresses.hypervisor_interface, Ordering::Relaxed);
    let gicd = distributor()?;
    gicd.ctlr.set(0);
    let banks = gicd.typer.read(Typer::Lines) as usize + 1;
    // Without the security extension both groups are ours to choose: group 0, which is signalled as an IRQ.
    let chooses_group = !gicd.typer.is_set(Typer::SecurityExtension);
    for bank in 1..banks {
        set_up_bank(gicd, bank, chooses_group);
    }
    start_cpu()?;
    gicd.ctlr.set(1);
    Some(())
}

/// Sets up what each CPU has for itself: SGIs, PPIs and its interface.
pub(crate) fn start_cpu() -> Option<()> {
    let gicd = distributor()?;
    set_up_bank(gicd, 0, !gicd.typer.is_set(Typer::SecurityExtension));
    let gicc = cpu_interface()?;
    gicc.priority_mask.set(0xFF);
    gicc.binary_point.set(0);
    gicc.ctlr.write(Gicc::Enable::SET + Gicc::SplitEnd::SET);
    Some(())
}

fn set_up_bank(gicd: &Distributor, bank: usize, chooses_group: bool) {
    let registers = [&gicd.clear_enabled, &gicd.clear_pending, &gicd.clear_active];
    for register in registers.into_iter().filter_map(|array| array.get(bank)) {
        register.set(u32::MAX);
    }
    if chooses_group && let Some(group) = gicd.group.get(bank) {
        group.set(0);
    }
    for priority in gicd.priority.iter().skip(8 * bank).take(8) {
        priority.set(MIDDLE_PRIORITY);
    }
}

/// Whether this is a GICv2 that does not look at a physical line again when a guest's end of a virtual interrupt
/// deactivates the physical one: an interrupt whose line is still high then would not come again. QEMU's does not; it
/// says that it is the one of a Cortex-A15, which no machine of ours has.
pub(crate) fn forgets_lines() -> bool {
    const NO_PRODUCT: u32 = 0x43B;
    distributor().is_some_and(|gicd| gicd.iidr.get() == NO_PRODUCT)
}

/// This CPU's number, as a bit: what the read-only target registers of its own interrupts say (0 if it is the only
/// one).
pub(crate) fn own_target() -> u8 {
    let own = distributor().and_then(|gicd| gicd.targets.first());
    own.map_or(0, Readable::get)
}

/// Lets an interrupt come, or not.
#[cold]
pub(crate) fn enable(number: u32, enabled: bool) {
    let Some(gicd) = distributor() else { return };
    let registers = if enabled {
        &gicd.set_enabled
    } else {
        &gicd.clear_enabled
    };
    if let Some(register) = registers.get((number / BANK) as usize) {
        register.set(1 << (number % BANK));
    }
}

/// Says whether an SPI is an edge, and sends it to this CPU. One CPU at a time does so.
#[cold]
pub(crate) fn configure(number: u32, is_edge: bool) {
    let Some(gicd) = distributor() else { return };
    if let Some(register) = gicd.configuration.get((number / 16) as usize) {
        let bit = 2 << (2 * (number % 16));
        let others = register.get() & !bit;
        register.set(others | if is_edge { bit } else { 0 });
    }
    if let Some(target) = gicd.targets.get(number as usize) {
        target.set(own_target());
    }
}

/// Takes the most urgent pending interrupt. An SGI is over then: nobody has to know which CPU sent it.
#[cold]
#[inline(never)]
pub(crate) fn acknowledge() -> u32 {
    const NOTHING: u32 = 1023;
    let Some(gicc) = cpu_interface() else {
        return NOTHING;
    };
    let acknowledged = gicc.acknowledge.get();
    let number = acknowledged & 0x3FF;
    if number < SGIS {
        gicc.end.set(acknowledged);
        gicc.deactivate.set(acknowledged);
    }
    number
}

/// Lets others come again; the interrupt stays active.
#[cold]
#[inline(never)]
pub(crate) fn drop_priority(number: u32) {
    if number >= SGIS
        && let Some(gicc) = cpu_interface()
    {
        gicc.end.set(number);
    }
}

/// Makes an interrupt inactive: it may come again. One that all CPUs share may have been taken by another CPU than this
/// one: QEMU's GICC_DIR has no effect then, so it is told the distributor.
#[cold]
#[inline(never)]
pub(crate) fn deactivate(number: u32) {
    if number >= BANK {
        let gicd = distributor();
        let bank = (number / BANK) as usize;
        let register = gicd.and_then(|gicd| gicd.clear_active.get(bank));
        if let Some(register) = register {
            register.set(1 << (number % BANK));
        }
    } else if number >= SGIS
        && let Some(gicc) = cpu_interface()
    {
        gicc.deactivate.set(number);
    }
}

/// Sends an SGI to the CPUs whose [`own_target`]s these are.
pub(crate) fn send(number: u32, targets: u8) {
    if let Some(gicd) = distributor() {
        gicd.sgi
            .set(TARGET_LIST | u32::from(targets) << 16 | number);
    }
}

/// List registers this CPU has.
#[cold]
pub(crate) fn lists() -> usize {
    hypervisor_interface().map_or(0, |gich| (gich.vtr.get() as usize & 0x3F) + 1)
}

/// Reads a list register.
#[cold]
#[inline(never)]
pub(crate) fn read_list(number: usize) -> ListRegister {
    let list = hypervisor_interface().and_then(|gich| gich.lists.get(number));
    list.map_or_else(ListRegister::new, |list| {
        crate::vgic::v2::decode_list(list.get())
    })
}

/// Writes a list register.
#[cold]
#[inline(never)]
pub(crate) fn write_list(number: usize, value: ListRegister) {
    if let Some(list) = hypervisor_interface().and_then(|gich| gich.lists.get(number)) {
        list.set(crate::vgic::v2::encode_list(value));
    }
}

/// Sets GICH_HCR.
#[cold]
#[inline(never)]
pub(crate) fn control(value: u32) {
    if let Some(gich) = hypervisor_interface() {
        gich.hcr.set(value);
    }
}

/// Reads GICH_HCR.
#[cold]
#[inline(never)]
pub(crate) fn read_control() -> u32 {
    hypervisor_interface().map_or(0, |gich| gich.hcr.get())
}

/// Takes the guest's CPU interface off this CPU, list registers aside.
#[cold]
pub(crate) fn save() -> Interface {
    let mut interface = Interface::default();
    if let Some(gich) = hypervisor_interface() {
        interface.vmcr = u64::from(gich.vmcr.get());
        interface.active_priorities[0][0] = u64::from(gich.apr.get());
        gich.hcr.set(0);
    }
    interface
}

/// Puts a guest's CPU interface on this CPU.
#[cold]
pub(crate) fn load(interface: &Interface) {
    if let Some(gich) = hypervisor_interface() {
        gich.vmcr.set(interface.vmcr as u32);
        gich.apr.set(interface.active_priorities[0][0] as u32);
    }
}
