//! From the start page to running tasks.

use crate::devices::{DiskDevice, Found};
use crate::disk::WaitingDisk;
use crate::hw::{
    ARCH, counter, executor, heap, interrupts, link as link_device, memory, page_tables, seed,
};
use crate::hypervisor::Calls;
use crate::lines::Lines;
use crate::pending::{LineWait, Pending};
use crate::random::Random;
use crate::{bundle, clock, console_log, devices, events, server};
use alloc::boxed::Box;
use embassy_executor::raw::Executor;
use hv_abi::start::{Dom0Start, MAGIC, Range, VERSION};
use static_cell::StaticCell;
use xend::hypervisor::Hypervisor;
use xend::store::disk::Disk;
use xend::store::keeper::{Keeper, Mounted};
use xend::store::partition::Names;
use xend::{Facts, Xend};

/// Register ranges to map.
const REGISTERS: usize = hv_abi::start::DEVICES + 2;

/// Domain-0's life. Runs on the boot stack, with the heap not yet open.
pub(crate) fn run(start: &'static Dom0Start) -> ! {
    assert!(
        start.magic == MAGIC && start.version == VERSION,
        "a start page of another version"
    );
    console_log::install(log::LevelFilter::Info);
    heap::open(free_memory(start));
    enable_page_tables(start);

    counter::start(start.counter_hz);

    let virqs = events::start().expect("the hypervisor takes our shared page");
    let mut interrupts = interrupts::Interrupts::new(start);
    let timer = interrupts.timer(start);
    let upcall = interrupts.upcall(start);
    let Found { link, disk } = devices::find(start, &mut interrupts);
    log::info!(
        "dom0-mini {} on {}: {} KiB of RAM, bundle of {} KiB, link {}{}",
        env!("CARGO_PKG_VERSION"),
        board(start),
        start.ram.size / 1024,
        start.bundle.size / 1024,
        link.as_ref().map_or("missing: ", |_| "on "),
        link.as_ref().map_or(link_device::MISSING, |link| link.name),
    );
    let lines = Lines {
        timer,
        upcall,
        link: link.as_ref().map(|link| link.line),
        disk: disk.as_ref().map(|disk| disk.line),
    };
    static PENDING: StaticCell<Pending> = StaticCell::new();
    let pending: &'static Pending = PENDING.init(Pending::new(interrupts, lines));
    let mut calls = calls(start);
    match calls.host_info() {
        Ok(info) => clock::set(info.now_ns),
        Err(error) => log::error!("no system time from the hypervisor: {error:?}"),
    }
    let disk = disk.map(|disk| open_disk(disk, pending));
    let names = Names::new(|into| calls.random(into));
    let (keeper, mounted) = Keeper::mount(disk, &names);
    let xend = start_xend(start, calls, mounted);

    static EXECUTOR: StaticCell<Executor> = StaticCell::new();
    let executor = EXECUTOR.init(Executor::new(core::ptr::null_mut()));
    server::spawn(
        executor.spawner(),
        xend,
        keeper,
        link,
        virqs,
        lines,
        wall_clock_base_s(start),
    );
    executor::run(executor, || pending.take(), interrupts::wait)
}

fn open_disk(DiskDevice { device, line }: DiskDevice, pending: &'static Pending) -> Box<dyn Disk> {
    Box::new(WaitingDisk::new(device, LineWait { pending, line }))
}

fn calls(start: &'static Dom0Start) -> Calls {
    let random = Random::from_machine(memory::constant_bytes(start.host_tables));
    if !random.is_seeded() {
        log::warn!("{}: UUIDs can be guessed", seed::MISSING);
    }
    Calls::new(memory::constant_bytes(start.bundle), random)
}

fn start_xend(start: &'static Dom0Start, calls: Calls, mounted: Mounted) -> Xend<Calls> {
    let bundle = memory::constant_bytes(start.bundle);
    let settings = bundle::file(bundle, "xend-config.sxp").unwrap_or_default();
    let settings = core::str::from_utf8(settings).unwrap_or_else(|_| {
        log::error!("xend-config.sxp is not UTF-8 text and is ignored");
        ""
    });
    let facts = Facts {
        board: board(start).into(),
        arch: ARCH.into(),
        hypervisor: concat!("alcove ", env!("CARGO_PKG_VERSION")).into(),
        ..Facts::default()
    };
    let now = server::now(wall_clock_base_s(start));
    Xend::new(calls, settings, mounted, facts, now)
}

/// The wall clock at system time 0: the real-time clock's, or the hypervisor's.
fn wall_clock_base_s(start: &'static Dom0Start) -> u64 {
    devices::wall_clock_s(start).map_or(start.wall_clock_base_s, |now| {
        now.saturating_sub(clock::now_ns() / 1_000_000_000)
    })
}

/// The board's name, as the hypervisor knows it.
pub(crate) fn board(start: &Dom0Start) -> &str {
    let name = start
        .board
        .split(|byte| *byte == 0)
        .next()
        .unwrap_or_default();
    core::str::from_utf8(name).unwrap_or("unknown board")
}

/// Our RAM behind the image. The hypervisor puts image and start page at its beginning.
fn free_memory(start: &Dom0Start) -> Range {
    let base = (start.image.base + start.image.size).next_multiple_of(hv_abi::FRAME_SIZE as u64);
    Range {
        base,
        size: start.ram.base + start.ram.size - base,
    }
}

fn enable_page_tables(start: &'static Dom0Start) {
    let mut registers = [Range::default(); REGISTERS];
    for (slot, range) in registers.iter_mut().zip(devices::register_ranges(start)) {
        *slot = range;
    }
    page_tables::enable(&registers, &start.ram_banks, memory::image_parts());
}
