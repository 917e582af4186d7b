//! From the start page to running tasks.

use crate::hw::interrupts::Trigger;
use crate::hw::{executor, heap, interrupts, memory, page_tables};
use crate::hypervisor::Calls;
use crate::random::Random;
use crate::{bundle, clock, console_log, devices, events, server};
use embassy_executor::raw::Executor;
use hv_abi::start::{Dom0Start, MAGIC, Range, VERSION};
use static_cell::StaticCell;
use xend::hypervisor::Hypervisor;
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

    let mut interrupts = interrupts::Interrupts::new(start);
    interrupts.enable(start.timer_interrupt, Trigger::Level);
    interrupts.enable(start.event_interrupt, Trigger::Level);
    let link = devices::find_link(start, &mut interrupts);
    log::info!(
        "dom0-mini {} on {}: {} KiB of RAM, bundle of {} KiB, link {}",
        env!("CARGO_PKG_VERSION"),
        board(start),
        start.ram.size / 1024,
        start.bundle.size / 1024,
        if link.is_some() {
            "on a virtio console"
        } else {
            "missing: no virtio console found"
        },
    );

    let virqs = events::start().expect("the hypervisor takes our shared page");
    let interrupt_numbers = Numbers {
        timer: start.timer_interrupt,
        event: start.event_interrupt,
        link: link.as_ref().map(|link| link.interrupt),
    };
    let mut calls = calls(start);
    match calls.host_info() {
        Ok(info) => clock::set(info.now_ns),
        Err(error) => log::error!("no system time from the hypervisor: {error:?}"),
    }
    let xend = start_xend(start, calls);

    static EXECUTOR: StaticCell<Executor> = StaticCell::new();
    let executor = EXECUTOR.init(Executor::new(core::ptr::null_mut()));
    server::spawn(
        executor.spawner(),
        xend,
        link,
        virqs,
        wall_clock_base_s(start),
    );
    let take = move || while interrupts.take(|number| interrupt_numbers.dispatch(number)) {};
    executor::run(executor, take, interrupts::wait)
}

/// Which interrupt is whose.
#[derive(Clone, Copy)]
struct Numbers {
    timer: u32,
    event: u32,
    link: Option<u32>,
}

impl Numbers {
    fn dispatch(self, number: u32) {
        if number == self.timer {
            clock::expired();
        } else if number == self.event {
            server::upcall();
        } else if Some(number) == self.link {
            server::link_interrupt();
        }
    }
}

fn calls(start: &'static Dom0Start) -> Calls {
    let random = Random::from_host_tree(memory::constant_bytes(start.host_tables));
    if !random.is_seeded() {
        log::warn!("the firmware gives no random seed: UUIDs can be guessed");
    }
    Calls::new(memory::constant_bytes(start.bundle), random)
}

fn start_xend(start: &'static Dom0Start, calls: Calls) -> Xend<Calls> {
    let bundle = memory::constant_bytes(start.bundle);
    let settings = bundle::file(bundle, "xend-config.sxp").unwrap_or_default();
    let settings = core::str::from_utf8(settings).unwrap_or_else(|_| {
        log::error!("xend-config.sxp is not UTF-8 text and is ignored");
        ""
    });
    let facts = Facts {
        board: board(start).into(),
        arch: "aarch64".into(),
        hypervisor: concat!("alcove ", env!("CARGO_PKG_VERSION")).into(),
        ..Facts::default()
    };
    let now = server::now(wall_clock_base_s(start));
    Xend::new(calls, settings, facts, now)
}

/// The wall clock at system time 0: the real-time clock's, or the hypervisor's.
fn wall_clock_base_s(start: &Dom0Start) -> u64 {
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

fn enable_page_tables(start: &Dom0Start) {
    let mut registers = [Range::default(); REGISTERS];
    for (slot, range) in registers.iter_mut().zip(devices::register_ranges(start)) {
        *slot = range;
    }
    page_tables::enable(&registers, &start.ram_banks, memory::image_parts());
}
