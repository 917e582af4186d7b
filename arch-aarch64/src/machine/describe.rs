//! The machine for common code: RAM and its uses, the bundle, Domain-0's devices.

use arch_common::hw::frames::zeroed_words;
use arch_common::hw::image;
use boards::Board;
use hv_abi::layout::arm::{EVENT_INTID, VIRTUAL_TIMER_INTID};
use hv_abi::start::{Device as OwnedDevice, DeviceKind, Range};
use hv_common::fdt::{Device, Tree};
use hv_common::start::layout::Layout;
use hv_common::start::{Machine, Reserved};

use super::found::{Found, intid, range};
use crate::hw::{boot, interrupts};

/// See the module.
pub(super) fn describe(
    tree: &Tree<'static>,
    board: &'static Board,
    found: &Found,
    cpus: u32,
    console_base: Option<u64>,
    blob: &'static [u8],
) -> Machine {
    let mut layout = Layout::new(found.ram.clone());
    let chosen = tree.chosen();
    let bundle = chosen
        .initrd
        .map(range)
        .filter(|bundle| layout.is_ram(bundle))
        .unwrap_or_default();
    let tables = Range {
        base: blob.as_ptr().addr() as u64,
        size: tree.blob().len() as u64,
    };
    let (start, end) = image::range(found.cpus());
    let image = Range {
        base: start,
        size: end - start,
    };
    for (range, what) in [
        (image, Reserved::Hypervisor),
        (bundle, Reserved::Boot),
        (tables, Reserved::Boot),
    ] {
        layout.reserve(range, what);
    }
    tree.reserved(|kept| layout.reserve(range(kept), Reserved::Boot));
    let metadata = layout.reserve_metadata();
    Machine {
        ram: layout.ram,
        reserved: layout.reserved,
        first_frame: metadata.first,
        metadata: zeroed_words(metadata.base, metadata.count),
        bundle: (bundle, boot::loaded_bytes(bundle.base, bundle.size)),
        host_tables: tables,
        command_line: chosen.bootargs.unwrap_or_default(),
        board: board.name,
        devices: owned_devices(tree, console_base),
        interrupt_controller: found.interrupt_controller.seen_by_dom0(),
        event_interrupt: EVENT_INTID,
        timer_interrupt: VIRTUAL_TIMER_INTID,
        wall_clock_base_s: 0,
        cpus,
    }
}

/// Lets the interrupts of Domain-0's devices come, as edges or levels as the tree says. One that Domain-0 does not want
/// comes once and stays active.
pub(super) fn configure_interrupts(tree: &Tree<'_>) {
    const EDGES: u32 = 3;
    tree.visit(&mut |device| {
        if owned_device(device).is_some() {
            for interrupt in device.interrupts() {
                if let Some(number) = intid(interrupt.cells) {
                    interrupts::configure(number, interrupt.cells[2] & EDGES != 0);
                    interrupts::enable(number, true);
                }
            }
        }
        false
    });
}

/// Devices that Domain-0 gets: virtio transports and the clock.
fn owned_devices(
    tree: &Tree<'_>,
    console_base: Option<u64>,
) -> heapless::Vec<OwnedDevice, { hv_abi::start::DEVICES }> {
    let mut devices = heapless::Vec::new();
    tree.visit(&mut |device| {
        if let Some(owned) = owned_device(device)
            && Some(owned.registers.base) != console_base
        {
            // More than fit stay unused.
            let _kept = devices.push(owned);
        }
        false
    });
    devices
}

fn owned_device(device: &Device<'_, '_, '_>) -> Option<OwnedDevice> {
    let kind = if device.node.is_compatible(&["virtio,mmio"]) {
        DeviceKind::VIRTIO_MMIO
    } else if device.node.is_compatible(&["arm,pl031"]) {
        DeviceKind::PL031
    } else {
        return None;
    };
    let registers = range(*device.registers().first()?);
    let interrupt = device
        .interrupts()
        .first()
        .and_then(|interrupt| intid(interrupt.cells))
        .unwrap_or(0);
    Some(OwnedDevice {
        kind,
        interrupt,
        registers,
    })
}
