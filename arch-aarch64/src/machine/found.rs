//! What the device tree says, as plain data.

use arch_common::cpus::CPUS_MAX;
use hv_abi::start::Range;
use hv_common::fdt::{self, Device, Tree};
use hv_common::start::RANGES;

use super::FRAME;
use crate::hw::{gicv2, identity, interrupts};
use crate::platform::Controller;

/// INTID of the hypervisor's timer where the tree does not say.
const HOST_TIMER_DEFAULT: u32 = 26;
/// INTID of the maintenance interrupt where the tree does not say.
const MAINTENANCE_DEFAULT: u32 = 25;
/// CNTHP, the fourth interrupt of the timer's node.
const HOST_TIMER_INDEX: usize = 3;

/// What the tree says, as far as we need it.
pub(super) struct Found {
    pub(super) ram: heapless::Vec<Range, RANGES>,
    pub(super) interrupt_controller: FoundController,
    pub(super) host_timer: u32,
    /// Affinities of the CPUs other than this one, as many as we can use.
    pub(super) further_cpus: heapless::Vec<u64, { CPUS_MAX - 1 }>,
}

/// The interrupt controller that the tree describes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct FoundController {
    /// Registers, in the order of the binding: distributor and redistributors of a GICv3; distributor, CPU interface,
    /// its hypervisor's view, and the virtual one of a GICv2.
    pub(super) registers: [Range; 4],
    is_v2: bool,
    /// INTID of the maintenance interrupt.
    pub(super) maintenance: u32,
}

impl FoundController {
    /// Where its parts are.
    pub(super) fn places(&self) -> Controller {
        let [distributor, second, _, virtual_interface] = self.registers;
        if self.is_v2 {
            Controller::V2 {
                distributor: distributor.base,
                cpu_interface: second.base,
                virtual_interface: virtual_interface.base,
            }
        } else {
            Controller::V3 {
                distributor: distributor.base,
                redistributors: second.base,
            }
        }
    }

    /// What Domain-0 sees of it: distributor, then CPU interface or redistributors.
    pub(super) fn seen_by_dom0(&self) -> [Range; 2] {
        let [distributor, second, ..] = self.registers;
        [distributor, second]
    }

    pub(super) fn start(&self, cpus: usize) -> Result<(), interrupts::GicError> {
        match self.places() {
            Controller::V2 {
                distributor,
                cpu_interface,
                ..
            } => interrupts::start_v2(gicv2::Addresses {
                distributor,
                cpu_interface,
                hypervisor_interface: self.registers[2].base,
            }),
            Controller::V3 {
                distributor,
                redistributors,
            } => interrupts::start(distributor, redistributors, cpus),
        }
    }
}

impl Found {
    pub(super) fn new(tree: &Tree<'_>) -> Self {
        let mut ram: heapless::Vec<Range, RANGES> = heapless::Vec::new();
        tree.memory(|bank| {
            // More banks than fit are not used.
            let _kept = ram.push(range(bank));
        });
        ram.sort_unstable_by_key(|bank| bank.base);
        let interrupt_controller = interrupt_controller(tree);
        let timer = tree.find(&["arm,armv8-timer"], |device| {
            device
                .interrupts()
                .get(HOST_TIMER_INDEX)
                .and_then(|interrupt| intid(interrupt.cells))
        });
        Self {
            ram,
            interrupt_controller,
            host_timer: timer.unwrap_or(HOST_TIMER_DEFAULT),
            further_cpus: further_cpus(tree),
        }
    }

    pub(super) fn cpus(&self) -> usize {
        1 + self.further_cpus.len()
    }
}

fn further_cpus(tree: &Tree<'_>) -> heapless::Vec<u64, { CPUS_MAX - 1 }> {
    const AFFINITY: u64 = 0xFF_00FF_FFFF;
    let here = identity::read().mpidr & AFFINITY;
    let mut further = heapless::Vec::new();
    tree.cpus(|mpidr, _| {
        if mpidr != here {
            // More than fit are not used.
            let _kept = further.push(mpidr);
        }
    });
    further
}

/// The same, for Domain-0.
pub(super) fn range(range: fdt::Range) -> Range {
    Range {
        base: range.base,
        size: range.size,
    }
}

/// The INTID of a GIC interrupt specifier: type, number, flags.
pub(super) fn intid([kind, number, _]: [u32; 3]) -> Option<u32> {
    match kind {
        0 if number < 988 => Some(number + 32),
        1 if number < 16 => Some(number + 16),
        _ => None,
    }
}

/// Interrupt controllers that are a GICv2 with the virtualization extensions.
const GICV2: [&str; 3] = ["arm,gic-400", "arm,cortex-a15-gic", "arm,cortex-a7-gic"];

fn interrupt_controller(tree: &Tree<'_>) -> FoundController {
    let v3 = || tree.find(&["arm,gic-v3"], |device| found_controller(device, 2));
    let v2 = || tree.find(&GICV2, |device| found_controller(device, 4));
    match v3().or_else(v2) {
        Some(found) => found,
        None => panic!(
            "the machine has no GICv3, nor a GICv2 with virtualization (on QEMU virt: -M \
             virt,virtualization=on,gic-version=3)"
        ),
    }
}

/// A controller with this many register ranges.
fn found_controller(device: &Device<'_, '_, '_>, count: usize) -> Option<FoundController> {
    let mut registers = [Range::default(); 4];
    let ranges = device.registers();
    for (slot, found) in registers.iter_mut().zip(ranges.get(..count)?) {
        *slot = range(*found);
    }
    let is_v2 = count == 4;
    if is_v2 {
        let [_, cpu_interface, _, virtual_interface] = &mut registers;
        *cpu_interface = both_pages(*cpu_interface);
        *virtual_interface = both_pages(*virtual_interface);
    }
    let maintenance = device
        .interrupts()
        .first()
        .and_then(|interrupt| intid(interrupt.cells));
    Some(FoundController {
        registers,
        is_v2,
        maintenance: maintenance.unwrap_or(MAINTENANCE_DEFAULT),
    })
}

/// Where the two pages of a CPU interface follow each other. Boards that give each page 64 KiB repeat it there (Arm SBSA,
/// "GICv2m"): the last copy of the first page is in front of the second.
fn both_pages(interface: Range) -> Range {
    const REPEATED: u64 = 0x2_0000;
    const LAST_COPY: u64 = 0xF000;
    if interface.size < REPEATED {
        return interface;
    }
    Range {
        base: interface.base + LAST_COPY,
        size: 2 * FRAME,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interrupt_specifiers_become_intids() {
        assert_eq!(intid([0, 1, 4]), Some(33));
        assert_eq!(intid([1, 10, 4]), Some(26));
        assert_eq!(intid([1, 16, 4]), None);
        assert_eq!(intid([7, 0, 4]), None);
    }
}
