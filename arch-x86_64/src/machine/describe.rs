//! The machine for common code: RAM and its uses, modules, Domain-0's devices.

use arch_common::cpus::CPUS_MAX;
use arch_common::hw::frames::zeroed_words;
use arch_common::hw::image;
use boards::Board;
use hv_abi::start::{DEVICES, Device, DeviceKind, Range};
use hv_common::start::layout::Layout;
use hv_common::start::{Machine, Reserved};

use crate::acpi::Tables;
use crate::boot_info::BootInfo;
use crate::hw::boot;
use crate::ports;

/// Where I/O APICs, HPET and local APIC are: nothing of PCI is there or above.
const SYSTEM_DEVICES: u64 = 0xFEC0_0000;
const BLOCK: u64 = 2 << 20;
/// IRQ of the second serial line.
const COM2_IRQ: u32 = 3;

/// See the module.
pub(super) fn describe(
    board: &'static Board,
    info: &BootInfo,
    tables: &Tables,
    cpus: u32,
) -> Machine {
    let mut layout = layout(info);
    let metadata = layout.reserve_metadata();
    let module = info.modules.first().copied().unwrap_or_default();
    let bytes = boot::loaded_bytes(module.base, module.size);
    Machine {
        ram: layout.ram,
        reserved: layout.reserved,
        first_frame: metadata.first,
        metadata: zeroed_words(metadata.base, metadata.count),
        bundle: (module, bytes.unwrap_or_default()),
        host_tables: Range::default(),
        command_line: info.command_line,
        board: board.name,
        devices: devices(info, tables),
        interrupt_controller: [Range::default(); 2],
        event_interrupt: 0,
        timer_interrupt: 0,
        wall_clock_base_s: 0,
        cpus,
    }
}

fn layout(info: &BootInfo) -> Layout {
    let (start, end) = image::range(CPUS_MAX);
    let image = Range {
        base: start,
        size: end - start,
    };
    let mut layout = Layout::new(info.ram.clone());
    layout.reserve(image, Reserved::Hypervisor);
    for range in info.modules.iter().chain(&info.kept) {
        layout.reserve(*range, Reserved::Boot);
    }
    layout
}

fn port_range((first, count): (u16, u16)) -> Range {
    Range {
        base: u64::from(first),
        size: u64::from(count),
    }
}

/// What Domain-0 gets: the second serial line, the clock, PCI.
fn devices(info: &BootInfo, tables: &Tables) -> heapless::Vec<Device, DEVICES> {
    let device = |kind, interrupt, registers| Device {
        kind,
        interrupt,
        registers,
    };
    let mut devices = heapless::Vec::new();
    let fixed = [
        device(DeviceKind::UART_16550, COM2_IRQ, port_range(ports::COM2)),
        device(DeviceKind::CMOS, 0, port_range(ports::CMOS)),
        device(DeviceKind::PCI_PORTS, 0, port_range(ports::PCI)),
    ];
    let space = configuration_space(tables);
    let memory = pci_memory(info, space);
    let more = space
        .map(|range| device(DeviceKind::PCI_ECAM, 0, range))
        .into_iter()
        .chain(memory.map(|range| device(DeviceKind::PCI_MEMORY, 0, range)));
    for device in fixed
        .into_iter()
        .chain(more.filter(|device| device.registers.size > 0))
    {
        // There are fewer than fit.
        let _kept = devices.push(device);
    }
    devices
}

/// PCI configuration space in memory.
fn configuration_space(tables: &Tables) -> Option<Range> {
    const BUS: u64 = 1 << 20;
    let (base, first, last) = tables.pci?;
    let buses = u64::from(last.checked_sub(first)?) + 1;
    Some(Range {
        base: base + u64::from(first) * BUS,
        size: buses * BUS,
    })
}

/// Where firmware puts PCI devices' memory: from the end of RAM below 4 GiB to the system's own devices, on both sides of
/// configuration space.
fn pci_memory(info: &BootInfo, space: Option<Range>) -> [Range; 2] {
    let below = info.ram.iter().map(|bank| bank.base + bank.size);
    let top = below
        .filter(|end| *end <= SYSTEM_DEVICES)
        .max()
        .unwrap_or(0)
        .next_multiple_of(BLOCK);
    // Firmware keeps some of RAM's last megabytes for itself.
    let start = top.next_multiple_of(128 * BLOCK);
    let between = |base: u64, end: u64| Range {
        base,
        size: end.saturating_sub(base),
    };
    match space {
        Some(space) if space.base >= start && space.base < SYSTEM_DEVICES => [
            between(start, space.base),
            between(space.base + space.size, SYSTEM_DEVICES),
        ],
        _ => [between(start, SYSTEM_DEVICES), Range::default()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info() -> BootInfo {
        let mut info = BootInfo::default();
        let bank = |base, size| Range { base, size };
        let banks = [
            bank(0x10_0000, 0x1FED_0000),
            bank(0x1_0000_0000, 0x4000_0000),
        ];
        info.ram = heapless::Vec::from_slice(&banks).expect("two banks");
        info
    }

    #[test]
    fn pci_is_in_the_hole_below_four_gigabytes() {
        let space = Range {
            base: 0xB000_0000,
            size: 0x1000_0000,
        };
        let [low, high] = pci_memory(&info(), Some(space));
        assert_eq!((low.base, low.base + low.size), (0x2000_0000, 0xB000_0000));
        assert_eq!(
            (high.base, high.base + high.size),
            (0xC000_0000, 0xFEC0_0000)
        );
        let [all, none] = pci_memory(&info(), None);
        assert_eq!(
            (all.base, all.size, none.size),
            (0x2000_0000, 0xDEC0_0000, 0)
        );
    }
}
