//! The machine, from its device tree: what it is called, what it has, and where everything of ours goes.
//!
//! The tree is validated as a whole before anything of it is believed (`hv_common::fdt`). What is found is plain data
//! ([`found`]); [`run`] applies it in the one order that works: console, address space, log, interrupts, guests' controls,
//! then common code, which does not return.

mod describe;
mod found;

use arch_common::hw::shared::Shared;
use arch_common::report;
use boards::{Board, Match};
use hv_abi::FRAME_SIZE;
use hv_common::arch::HostFacts;
use hv_common::fdt::Tree;
use hv_common::hypervisor::Hypervisor;
use hv_common::options::Options;
use spin::Once;

use crate::Aarch64;
use crate::clock::Clock;
use crate::features::Features;
use crate::host::{ArmHost, PHYSICAL_TIMER, VIRTUAL_TIMER};
use crate::hw::power::Conduit;
use crate::hw::{boot, console, cpu, identity, interrupts, lists, mmu, power, timer, world};
use crate::platform::Controller;
use crate::stage2;
use crate::vgic::Version;
use found::Found;

const FRAME: u64 = FRAME_SIZE as u64;

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
    report::set_on_panic(options.on_panic);
    use_firmware(&tree, board);
    let host = start_host(&found);
    describe::configure_interrupts(&tree);
    let cpus = start_further_cpus(&found);
    let machine = describe::describe(&tree, board, &found, cpus, console_base, blob);
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
    CLOCK.call_once(|| Clock::new(timer::frequency(), timer::now_ticks()));
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
