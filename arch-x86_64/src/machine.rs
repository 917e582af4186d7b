//! The machine, from what the boot loader and ACPI say: what it has, and where everything of ours goes.
//!
//! What is found is plain data; [`run`] applies it in the one order that works: console, address space, log, interrupts,
//! time, guests' controls, then common code, which does not return.

mod describe;

use arch_common::cpus::CPUS_MAX;
use arch_common::hw::shared::Shared;
use arch_common::report;
use boards::{Board, Match};
use hv_abi::FRAME_SIZE;
use hv_abi::control::host::extension as code;
use hv_common::arch::HostFacts;
use hv_common::hypervisor::Hypervisor;
use hv_common::options::Options;
use spin::Once;

use crate::X86;
use crate::acpi::{self, Memory, Tables};
use crate::boot_info::{self, BootInfo};
use crate::clock::Clock;
use crate::host::X86Host;
use crate::hw::interrupts::IoApic;
use crate::hw::power::Power;
use crate::hw::timer::Reference;
use crate::hw::{
    boot, console, cpu, extended, fault, identity, interrupts, mmu, msr, power, svm, timer, tlb,
    vmx,
};
use crate::msr::{FEATURE_CONTROL, VM_CR, efer};
use crate::support::{self, Extension, Facts};
use crate::svm::Svm;
use crate::vendor::Vendor;
use crate::vmx::Vmx;
use crate::vmx::field::secondary;

const FRAME: u64 = FRAME_SIZE as u64;
/// Two pages below 1 MiB where further CPUs start.
const START_PAGE: u64 = 0x8000;
/// How often a guest is looked at where interrupts do not end its stay.
const STAYS_PER_SECOND: u64 = 1000;
/// Tags of VMX: 16 bits.
const VPIDS: u32 = 1 << 16;

static HOST: Once<X86Host> = Once::new();
static CLOCK: Once<Clock> = Once::new();
/// What the other CPUs wait for.
static SVM: Once<Shared<Hypervisor<X86<Svm>>>> = Once::new();
static VMX: Once<Shared<Hypervisor<X86<Vmx>>>> = Once::new();

/// Memory as firmware and the boot loader left it.
struct Loaded;

impl Memory for Loaded {
    fn bytes(&self, address: u64, length: u64) -> Option<&'static [u8]> {
        boot::loaded_bytes(address, length)
    }
}

/// Runs the hypervisor on the machine that the boot loader describes at `information`.
pub fn run(protocol: u64, information: u64) -> ! {
    console::start();
    let Some(info) = boot_info::read(&Loaded, protocol, information) else {
        panic!(
            "the boot loader passed no PVH or multiboot2 information ({protocol:#x}, {information:#x})"
        );
    };
    let options = Options::parse(info.command_line, |_| {});
    report::set_on_panic(options.on_panic);
    let rsdp = info.rsdp.or_else(|| acpi::find_rsdp(&Loaded));
    let Some(tables) = rsdp.and_then(|rsdp| acpi::read(&Loaded, rsdp)) else {
        panic!("the machine has no sound ACPI tables (RSDP {rsdp:x?})");
    };
    let extension = match support::choose(&facts()) {
        Ok(extension) => extension,
        Err(sentence) => fault::refuse(sentence),
    };
    boot::place_start_page(START_PAGE);
    activate_address_space(&info, &tables);
    interrupts::start();
    use_tables(&tables);
    timer::calibrate(reference(&tables));
    start_log();
    let board = board_of(&tables);
    log::info!("Alcove {} on {}", env!("CARGO_PKG_VERSION"), board.name);
    if board.quirks.masked_guests_hold_interrupts && extension == Extension::Vmx {
        vmx::limit_stay(timer::frequency() / STAYS_PER_SECOND);
    }
    let host = start_host(extension);
    let cpus = start_further_cpus(&tables);
    let machine = describe::describe(board, &info, &tables, cpus);
    match extension {
        Extension::Svm => start::<Svm>(host, &machine, &SVM),
        Extension::Vmx => start::<Vmx>(host, &machine, &VMX),
    }
}

fn start<V: Vendor>(
    host: &'static X86Host,
    machine: &hv_common::start::Machine,
    ready: &'static Once<Shared<Hypervisor<X86<V>>>>,
) -> ! {
    hv_common::start::start::<X86<V>>(host, machine, |hypervisor| {
        ready.call_once(|| hypervisor.clone());
    })
}

/// What CPUID and MSRs say about running guests.
fn facts() -> Facts {
    const NESTED_PAGING: u32 = 1;
    let features = identity::features();
    let mut facts = Facts {
        has_vmx: features.has_vmx,
        has_svm: features.has_svm,
        has_nested_paging: features.svm_features & NESTED_PAGING != 0,
        has_no_execute: features.has_no_execute,
        ..Facts::default()
    };
    if features.has_svm {
        facts.vm_cr = msr::read(VM_CR);
    } else if features.has_vmx {
        facts.feature_control = msr::read(FEATURE_CONTROL);
        let allowed = (vmx::secondary() >> 32) as u32;
        facts.has_nested_paging = allowed & secondary::EPT != 0;
        facts.has_unrestricted_guest = allowed & secondary::UNRESTRICTED != 0;
    }
    facts
}

/// The board that matches.
fn board_of(tables: &Tables) -> &'static Board {
    let matches =
        |board: &&&'static Board| board.matches == Match::PciInMemory(tables.pci.is_some());
    boards::ALL
        .iter()
        .find(matches)
        .map_or(&boards::bochs_pc::BOCHS_PC, |board| *board)
}

fn activate_address_space(info: &BootInfo, tables: &Tables) {
    let mut space = mmu::AddressSpace::new();
    let mut map = || {
        // The first megabyte: start page, firmware's tables.
        space.add_ram(FRAME, (1 << 20) - FRAME)?;
        space.add_start_page(START_PAGE)?;
        for bank in &info.ram {
            space.add_ram(bank.base, bank.size)?;
        }
        space.add_device(interrupts::apic_base(), FRAME)?;
        for base in [tables.io_apic.map(|(base, _)| base), tables.hpet]
            .into_iter()
            .flatten()
        {
            space.add_device(base, FRAME)?;
        }
        space.add_image(CPUS_MAX)
    };
    if map().is_err() {
        panic!("the machine's memory map needs too many tables");
    }
    space.activate();
}

/// Uses what ACPI found.
fn use_tables(tables: &Tables) {
    power::use_power(Power {
        control: tables.pm_control.unwrap_or(0),
        off: tables.off.unwrap_or(0),
        reset: tables.reset.unwrap_or((0, 0)),
    });
    let Some((base, first)) = tables.io_apic else {
        return;
    };
    let mut lines = [(0, 0); 16];
    for (line, slot) in lines.iter_mut().enumerate() {
        *slot = (line as u32, 0);
    }
    for (line, input, flags) in &tables.overrides {
        if let Some(slot) = lines.get_mut(usize::from(*line)) {
            *slot = (*input, *flags);
        }
    }
    interrupts::use_io_apic(IoApic { base, first, lines });
}

/// The clock to measure with.
fn reference(tables: &Tables) -> Reference {
    match (tables.hpet, tables.pm_timer) {
        (Some(base), _) => Reference::Hpet {
            base,
            period_fs: timer::hpet_period_fs(base),
        },
        (None, Some(port)) => Reference::PowerManagement { port },
        (None, None) => Reference::IntervalTimer,
    }
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

fn start_host(extension: Extension) -> &'static X86Host {
    let features = identity::features();
    let clock = CLOCK
        .get()
        .copied()
        .unwrap_or_else(|| Clock::new(timer::frequency(), 0));
    let khz = clock.hz() / 1000;
    log::info!("TSC {} MHz", khz / 1000);
    let without_fast_save = if features.has_fast_fxsave {
        0
    } else {
        efer::FFXSR
    };
    let host = HOST.call_once(|| X86Host {
        clock,
        facts: HostFacts {
            cpu_id: u64::from(features.signature),
            ipa_bits: features.physical_bits.min(48),
            interrupt_controller_version: 0,
            extension: match extension {
                Extension::Svm => code::SVM,
                Extension::Vmx => code::VMX,
            },
            cpus: 1,
        },
        tsc_khz: u32::try_from(khz).unwrap_or(u32::MAX),
        efer_allowed: efer::ALL & !without_fast_save,
    });
    prepare_for_guests();
    cpu::go_online();
    host
}

/// Sets this CPU up for guests.
fn prepare_for_guests() {
    let features = identity::features();
    extended::start();
    if features.has_svm {
        svm::start();
        tlb::use_tags(features.svm_asids);
    } else {
        vmx::start();
        tlb::use_tags(VPIDS);
    }
}

/// Starts the CPUs other than this one, one after the other; returns how many run then.
fn start_further_cpus(tables: &Tables) -> u32 {
    hv_common::lock::give_way_by(cpu::give_way);
    let here = cpu::this()
        .apic_id
        .load(core::sync::atomic::Ordering::Relaxed);
    let mut running = 1;
    for apic_id in tables.cpus.iter().filter(|id| **id != here) {
        if running == CPUS_MAX {
            log::warn!("more than {} CPUs: the others are not used", CPUS_MAX);
            break;
        }
        if !boot::start_cpu(running, *apic_id, START_PAGE) {
            log::error!("CPU {apic_id:#x} does not start; it and the following are not used");
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
pub fn join(_: usize) -> ! {
    interrupts::start_further();
    timer::start_further();
    prepare_for_guests();
    cpu::go_online();
    loop {
        if let Some(hypervisor) = SVM.get() {
            hv_common::sched::cpu_loop(hypervisor);
        }
        if let Some(hypervisor) = VMX.get() {
            hv_common::sched::cpu_loop(hypervisor);
        }
        cpu::give_way();
    }
}
