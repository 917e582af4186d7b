//! The machine, from its device tree: what it is called, what it has, and where everything of ours goes.
//!
//! The tree is validated as a whole before anything of it is believed (`hv_common::fdt`). What is found is plain data;
//! [`run`] applies it in the one order that works: console, address space, log, interrupts, guests' controls, then common
//! code, which does not return.

use arch_common::cpus::CPUS_MAX;
use arch_common::hw::frames::zeroed_words;
use arch_common::hw::image;
use arch_common::hw::shared::Shared;
use arch_common::report;
use boards::{Board, Match};
use hv_abi::FRAME_SIZE;
use hv_abi::layout::arm::{EVENT_INTID, VIRTUAL_TIMER_INTID};
use hv_abi::start::{Device as OwnedDevice, DeviceKind, Range};
use hv_common::arch::{HostFacts, Mfn};
use hv_common::fdt::{self, Device, Tree};
use hv_common::hypervisor::Hypervisor;
use hv_common::options::{OnPanic, Options};
use hv_common::start::{Machine, RANGES, Reserved};
use spin::Once;

use crate::Aarch64;
use crate::clock::Clock;
use crate::features::Features;
use crate::host::{ArmHost, PHYSICAL_TIMER, VIRTUAL_TIMER};
use crate::hw::power::Conduit;
use crate::hw::{boot, console, cpu, gicv2, identity, interrupts, lists, mmu, power, timer, world};
use crate::platform::Controller;
use crate::stage2;
use crate::vgic::Version;

const FRAME: u64 = FRAME_SIZE as u64;
/// INTID of the hypervisor's timer where the tree does not say.
const HOST_TIMER_DEFAULT: u32 = 26;
/// INTID of the maintenance interrupt where the tree does not say.
const MAINTENANCE_DEFAULT: u32 = 25;
/// CNTHP, the fourth interrupt of the timer's node.
const HOST_TIMER_INDEX: usize = 3;

static HOST: Once<ArmHost> = Once::new();
/// What the other CPUs wait for.
static HYPERVISOR: Once<Shared<Hypervisor<Aarch64>>> = Once::new();
static CLOCK: Once<Clock> = Once::new();

/// Runs the hypervisor on the machine that the device tree at `address` describes.
pub fn run(address: u64) -> ! {
    let Some(blob) = boot::device_tree(address) else {
        panic!("the boot loader passed no device tree in x0 ({address:#x})");
    };
    let tree = match Tree::new(blob) {
        Ok(tree) => tree,
        Err(error) => panic!("the device tree at {address:#x} is damaged: {error:?}"),
    };
    let board = board_of(&tree);
    let console_base = console_base(&tree, board);
    if let Some(base) = console_base {
        console::use_pl011(base);
    }
    let found = Found::new(&tree);
    activate_address_space(&found, console_base);
    start_log();
    log::info!("Alcove {} on {}", env!("CARGO_PKG_VERSION"), board.name);
    let options = Options::parse(tree.chosen().bootargs.unwrap_or_default(), |_| {});
    report::halt_on_panic(options.on_panic == OnPanic::Halt);
    use_firmware(&tree, board);
    let host = start_host(&found);
    configure_interrupts(&tree);
    let cpus = start_further_cpus(&found);
    let machine = describe(&tree, board, &found, cpus, console_base, blob);
    hv_common::start::start::<Aarch64>(host, &machine, |hypervisor| {
        HYPERVISOR.call_once(|| hypervisor.clone());
        cpu::send_event();
    })
}

/// Starts the CPUs other than this one, one after the other; returns how many run then.
fn start_further_cpus(found: &Found) -> u32 {
    hv_common::lock::give_way_by(cpu::give_way);
    cpu::go_online();
    let mut running = 1;
    for mpidr in &found.further_cpus {
        if !boot::start_cpu(running, *mpidr) {
            log::error!("CPU {mpidr:#x} does not start; it and the following are not used");
            break;
        }
        running += 1;
    }
    if running > 1 {
        log::info!("{running} CPUs");
    }
    running as u32
}

/// What further CPUs run: they set themselves up for guests and wait until there are some.
pub fn join(number: usize) -> ! {
    let Some(host) = HOST.get() else {
        panic!("CPU {number} started before there is a machine");
    };
    let started = match host.controller {
        Controller::V2 { distributor, .. } => interrupts::start_further_v2(distributor),
        Controller::V3 { redistributors, .. } => {
            interrupts::start_further(redistributors, host.redistributors)
        }
    };
    if let Err(error) = started {
        panic!("CPU {number} cannot use the interrupt controller: {error:?}");
    }
    prepare_for_guests(host);
    cpu::go_online();
    loop {
        if let Some(hypervisor) = HYPERVISOR.get() {
            hv_common::sched::cpu_loop(hypervisor);
        }
        cpu::wait_for_event();
    }
}

/// Sets this CPU up for guests.
fn prepare_for_guests(host: &ArmHost) {
    let identity = identity::read();
    world::start(stage2::vtcr(identity.mmfr0, identity.mmfr1));
    for number in [
        host.host_timer,
        host.maintenance,
        VIRTUAL_TIMER,
        PHYSICAL_TIMER,
        interrupts::KICK,
        interrupts::STOP,
    ] {
        interrupts::enable_private(number);
    }
}

/// The first board that matches the tree.
fn board_of(tree: &Tree<'_>) -> &'static Board {
    let is_compatible = |name: &str| {
        tree.node("/")
            .is_some_and(|root| root.is_compatible(&[name]))
    };
    let matches = |board: &&&'static Board| match board.matches {
        Match::RootCompatible(name) => is_compatible(name),
        Match::PciInMemory(_) => false,
        Match::Any => true,
    };
    boards::ALL
        .iter()
        .find(matches)
        .map_or(&boards::generic::GENERIC_ARM64, |board| *board)
}

/// Where the PL011 is: the board's, or the first of the tree.
fn console_base(tree: &Tree<'_>, board: &Board) -> Option<u64> {
    let found = || {
        tree.find(&["arm,pl011"], |device| {
            device.registers().first().map(|range| range.base)
        })
    };
    board.early_console.map(|early| early.base).or_else(found)
}

/// What the tree says, as far as we need it.
struct Found {
    ram: heapless::Vec<Range, RANGES>,
    interrupt_controller: FoundController,
    host_timer: u32,
    /// Affinities of the CPUs other than this one, as many as we can use.
    further_cpus: heapless::Vec<u64, { CPUS_MAX - 1 }>,
}

/// The interrupt controller that the tree describes.
#[derive(Clone, Copy, Debug, Default)]
struct FoundController {
    /// Registers, in the order of the binding: distributor and redistributors of a GICv3; distributor, CPU interface,
    /// its hypervisor's view, and the virtual one of a GICv2.
    registers: [Range; 4],
    is_v2: bool,
    /// INTID of the maintenance interrupt.
    maintenance: u32,
}

impl FoundController {
    /// Where its parts are.
    fn places(&self) -> Controller {
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
    fn seen_by_dom0(&self) -> [Range; 2] {
        let [distributor, second, ..] = self.registers;
        [distributor, second]
    }

    fn start(&self, cpus: usize) -> Result<(), interrupts::GicError> {
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
    fn new(tree: &Tree<'_>) -> Self {
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

    fn cpus(&self) -> usize {
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

fn range(range: fdt::Range) -> Range {
    Range {
        base: range.base,
        size: range.size,
    }
}

/// The INTID of a GIC interrupt specifier: type, number, flags.
fn intid([kind, number, _]: [u32; 3]) -> Option<u32> {
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

fn activate_address_space(found: &Found, console_base: Option<u64>) {
    let mut space = mmu::AddressSpace::new();
    let mut map = || {
        for bank in &found.ram {
            space.add_ram(bank.base, bank.size)?;
        }
        for registers in found.interrupt_controller.registers {
            space.add_device(registers.base, registers.size.next_multiple_of(FRAME))?;
        }
        if let Some(base) = console_base {
            space.add_device(base, FRAME)?;
        }
        space.add_image(found.cpus())
    };
    if let Err(error) = map() {
        panic!("the machine's memory cannot be mapped: {error}");
    }
    space.activate();
}

fn start_log() {
    let clock = *CLOCK.call_once(|| Clock::new(timer::frequency(), timer::now_ticks()));
    let _ = clock;
    let surroundings = hv_common::log::Surroundings {
        console: console::write,
        now_ns,
    };
    hv_common::log::install(surroundings, log::LevelFilter::Info);
}

fn now_ns() -> u64 {
    CLOCK
        .get()
        .map_or(0, |clock| clock.ns_at(timer::now_ticks()))
}

fn use_firmware(tree: &Tree<'_>, board: &Board) {
    let method = tree.find(&["arm,psci-1.0", "arm,psci-0.2", "arm,psci"], |device| {
        device.node.text("method")
    });
    let conduit = match method {
        _ if board.quirks.power_by_smc => Conduit::Smc,
        Some("hvc") => Conduit::Hvc,
        _ => Conduit::Smc,
    };
    power::use_conduit(conduit);
}

/// Sets this CPU up for guests.
fn start_host(found: &Found) -> &'static ArmHost {
    let controller = found.interrupt_controller;
    if let Err(error) = controller.start(found.cpus()) {
        panic!("the interrupt controller cannot be used: {error:?}");
    }
    let identity = identity::read();
    let facts = HostFacts {
        cpu_id: identity.midr,
        ipa_bits: stage2::ipa_bits(identity.mmfr0),
        interrupt_controller_version: match controller.places().version() {
            Version::V2 => 2,
            Version::V3 => 3,
        },
        extension: hv_abi::control::host::extension::ONLY,
        cpus: 0,
    };
    let host = HOST.call_once(|| ArmHost {
        clock: CLOCK
            .get()
            .copied()
            .unwrap_or_else(|| Clock::new(timer::frequency(), timer::now_ticks())),
        facts,
        features: Features::new(identity::identification, identity.constants),
        controller: controller.places(),
        host_timer: found.host_timer,
        maintenance: controller.maintenance,
        lists: lists::count(),
        redistributors: found.cpus(),
        has_pan: identity.has_pan(),
    });
    prepare_for_guests(host);
    host
}

/// The machine for common code.
fn describe(
    tree: &Tree<'static>,
    board: &'static Board,
    found: &Found,
    cpus: u32,
    console_base: Option<u64>,
    blob: &'static [u8],
) -> Machine {
    let chosen = tree.chosen();
    let bundle = chosen
        .initrd
        .map(range)
        .filter(|bundle| in_ram(found, bundle))
        .unwrap_or_default();
    let tables = Range {
        base: blob.as_ptr().addr() as u64,
        size: tree.blob().len() as u64,
    };
    let (start, end) = image::range(found.cpus());
    let mut reserved = heapless::Vec::new();
    let image = Range {
        base: start,
        size: end - start,
    };
    for entry in [
        (image, Reserved::Hypervisor),
        (bundle, Reserved::Boot),
        (tables, Reserved::Boot),
    ] {
        keep(&mut reserved, entry);
    }
    tree.reserved(|range_kept| keep(&mut reserved, (range(range_kept), Reserved::Boot)));
    let first = found.ram.first().map_or(0, |bank| bank.base / FRAME);
    let last = found
        .ram
        .last()
        .map_or(0, |bank| (bank.base + bank.size) / FRAME);
    let metadata = place_metadata(found, &reserved, last - first);
    keep(&mut reserved, (metadata, Reserved::Hypervisor));
    Machine {
        ram: found.ram.clone(),
        reserved,
        first_frame: Mfn(first),
        metadata: zeroed_words(metadata.base, last - first),
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

fn keep(reserved: &mut heapless::Vec<(Range, Reserved), RANGES>, entry: (Range, Reserved)) {
    if entry.0.size > 0 && reserved.push(entry).is_err() {
        panic!("the machine has more than {RANGES} reserved ranges");
    }
}

fn in_ram(found: &Found, range: &Range) -> bool {
    let end = range.base.checked_add(range.size);
    end.is_some_and(|end| {
        found
            .ram
            .iter()
            .any(|bank| range.base >= bank.base && end <= bank.base + bank.size)
    })
}

/// The first place in RAM where one word for each of `frames` fits beside what is reserved.
fn place_metadata(found: &Found, reserved: &[(Range, Reserved)], frames: u64) -> Range {
    let size = (frames * 8).next_multiple_of(FRAME);
    let mut candidates: heapless::Vec<u64, { 2 * RANGES }> = heapless::Vec::new();
    let ends = reserved
        .iter()
        .map(|(range, _)| (range.base + range.size).next_multiple_of(FRAME));
    for base in ends.chain(found.ram.iter().map(|bank| bank.base)) {
        let _full = candidates.push(base);
    }
    let fits = |base: &&u64| {
        let place = Range { base: **base, size };
        let overlaps = |(other, _): &(Range, Reserved)| {
            place.base < other.base + other.size && other.base < place.base + size
        };
        in_ram(found, &place) && !reserved.iter().any(overlaps)
    };
    match candidates.iter().find(fits) {
        Some(base) => Range { base: *base, size },
        None => panic!("no room for the metadata of {frames} frames"),
    }
}

/// Lets the interrupts of Domain-0's devices come, as edges or levels as the tree says. One that Domain-0 does not want
/// comes once and stays active.
fn configure_interrupts(tree: &Tree<'_>) {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn found() -> Found {
        Found {
            ram: heapless::Vec::from_slice(&[Range {
                base: 0x4000_0000,
                size: 0x1000_0000,
            }])
            .expect("one bank"),
            interrupt_controller: FoundController::default(),
            host_timer: 26,
            further_cpus: heapless::Vec::new(),
        }
    }

    #[test]
    fn metadata_goes_where_nothing_else_is() {
        let image = (
            Range {
                base: 0x4020_0000,
                size: 0x8_0800,
            },
            Reserved::Hypervisor,
        );
        let bundle = (
            Range {
                base: 0x4028_1000,
                size: 0x1000,
            },
            Reserved::Boot,
        );
        let place = place_metadata(&found(), &[image, bundle], 0x1_0000);
        assert_eq!((place.base, place.size), (0x4028_2000, 0x8_0000));
    }

    #[test]
    fn interrupt_specifiers_become_intids() {
        assert_eq!(intid([0, 1, 4]), Some(33));
        assert_eq!(intid([1, 10, 4]), Some(26));
        assert_eq!(intid([1, 16, 4]), None);
        assert_eq!(intid([7, 0, 4]), None);
    }
}
