//! From a described machine to a running one: the pool, Domain-0, the first vCPU.
//!
//! The architecture describes the machine as a [`Machine`] and never hears of it again: [`start`] does not return. What
//! is true afterwards: every frame of RAM has a use, Domain-0 is mapped one to one (guest frame = machine frame), its
//! image is loaded and relocates itself, and its start page says what it owns (`hv_abi::start`).

use core::sync::atomic::{AtomicU64, Ordering};

use hv_abi::DomId;
use hv_abi::start::{Device, Range};

use crate::arch::{Arch, Host, Mfn};
use crate::domain::table::DomainTable;
use crate::hypervisor::{CPUS_MAX, Hypervisor};
use crate::memory::frames::{Frame, FrameKind, Frames, run_order_for};
use crate::options::Options;
use crate::sched::{self, Cpu};
use crate::time::WallClock;

pub mod bundle;
mod dom0;
pub mod image;

/// RAM banks and reserved ranges a machine may have.
pub const RANGES: usize = 32;

/// What is in a range of RAM from the start.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reserved {
    /// The hypervisor: image, frame metadata, stacks, tables.
    Hypervisor,
    /// Boot bundle, host tables: they stay where the boot loader put them.
    Boot,
}

/// A machine as the architecture found it. Addresses are machine addresses.
pub struct Machine {
    /// RAM, ascending, not overlapping.
    pub ram: heapless::Vec<Range, RANGES>,
    /// What of it is in use. May overlap; the first entry of a frame counts.
    pub reserved: heapless::Vec<(Range, Reserved), RANGES>,
    /// First frame that `metadata` describes.
    pub first_frame: Mfn,
    /// One zero word for each frame from there on.
    pub metadata: &'static [AtomicU64],
    /// The boot bundle's place, and its bytes.
    pub bundle: (Range, &'static [u8]),
    /// The host's FDT or RSDP, for Domain-0 to read.
    pub host_tables: Range,
    /// The boot command line.
    pub command_line: &'static str,
    /// The board's name.
    pub board: &'static str,
    /// Devices of Domain-0.
    pub devices: heapless::Vec<Device, { hv_abi::start::DEVICES }>,
    /// The interrupt controller as Domain-0 sees it.
    pub interrupt_controller: [Range; 2],
    /// Number of the event-channel upcall's interrupt.
    pub event_interrupt: u32,
    /// Number of the virtual timer's interrupt.
    pub timer_interrupt: u32,
    /// Wall-clock time at system time 0, seconds since 1970, 0 if unknown.
    pub wall_clock_base_s: u64,
    /// CPUs that run.
    pub cpus: u32,
}

/// Runs the machine. Panics only if the machine cannot run at all (no memory, no Domain-0): then there is nobody to tell.
pub fn start<A: Arch>(host: &'static A::Host, machine: &Machine) -> ! {
    let options = Options::parse(machine.command_line, |word| {
        log::warn!("boot option {word:?} is not known and ignored");
    });
    log::set_max_level(options.log_level);
    let frames = pool(machine);
    let usage = frames.usage();
    log::info!(
        "{}: {} MiB of RAM, {} KiB for the hypervisor",
        machine.board,
        usage.total >> 8,
        usage.hypervisor << 2
    );
    let hypervisor = assemble::<A>(host, machine, frames, options);
    match dom0::build(&hypervisor, machine) {
        Ok(()) => {}
        Err(problem) => panic!("Domain-0 cannot be started: {problem}"),
    }
    hypervisor
        .dom0_started_ns
        .store(hypervisor.now_ns(), Ordering::Relaxed);
    log::info!("Domain-0 starts");
    sched::cpu_loop(&hypervisor)
}

/// All RAM with its uses.
fn pool(machine: &Machine) -> Frames {
    let frames = Frames::new(machine.first_frame, machine.metadata);
    for bank in &machine.ram {
        let mut at = bank.base.next_multiple_of(FRAME) / FRAME;
        let end = (bank.base + bank.size) / FRAME;
        while at < end {
            let (kind, until) = use_of(machine, at, end);
            match kind {
                Some(kind) => frames.add_used(Mfn(at), until - at, Frame::new(kind, DomId::ZERO)),
                None => frames.add_free(Mfn(at), until - at),
            };
            at = until;
        }
    }
    frames
}

const FRAME: u64 = hv_abi::FRAME_SIZE as u64;

/// What the frame `at` is used for, and up to where the same is true.
fn use_of(machine: &Machine, at: u64, end: u64) -> (Option<FrameKind>, u64) {
    let mut until = end;
    for (range, reserved) in machine.reserved.iter().filter(|(range, _)| range.size > 0) {
        let first = range.base / FRAME;
        let last = (range.base + range.size).div_ceil(FRAME);
        if (first..last).contains(&at) {
            let kind = match reserved {
                Reserved::Hypervisor => FrameKind::Hypervisor,
                Reserved::Boot => FrameKind::Boot,
            };
            return (Some(kind), last.min(until));
        }
        if first > at {
            until = until.min(first);
        }
    }
    (None, until)
}

fn assemble<A: Arch>(
    host: &'static A::Host,
    machine: &Machine,
    frames: Frames,
    options: Options,
) -> <A::Host as Host>::Shared<Hypervisor<A>> {
    let mut cpus = heapless::Vec::new();
    for number in 0..machine.cpus.min(CPUS_MAX as u32) {
        let order = run_order_for(size_of::<Cpu>(), align_of::<Cpu>());
        let run = frames
            .allocate_run(order, DomId::ZERO)
            .expect("memory for a CPU's queue");
        let pushed = cpus.push(host.share(run, Cpu::new(number)));
        debug_assert!(pushed.is_ok(), "more CPUs than there may be");
    }
    let wall_clock = WallClock::default();
    wall_clock.set_base_ns(
        machine
            .wall_clock_base_s
            .saturating_mul(crate::time::SECOND_NS),
    );
    let order = run_order_for(size_of::<Hypervisor<A>>(), align_of::<Hypervisor<A>>());
    let run = frames
        .allocate_run(order, DomId::ZERO)
        .expect("memory for the hypervisor's state");
    let hypervisor = Hypervisor {
        host,
        frames,
        domains: DomainTable::default(),
        cpus,
        options,
        wall_clock,
        facts: host.facts(),
        dom0_started_ns: AtomicU64::new(0),
    };
    host.share(run, hypervisor)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine() -> Machine {
        let words: std::vec::Vec<AtomicU64> = (0..1024).map(|_| AtomicU64::new(0)).collect();
        let range = |base, size| Range { base, size };
        Machine {
            ram: heapless::Vec::from_slice(&[range(0x10_0000, 0x40_0000)]).expect("one bank"),
            reserved: heapless::Vec::from_slice(&[
                (range(0x20_0000, 0x1_0800), Reserved::Hypervisor),
                (range(0x30_0000, 0x2000), Reserved::Boot),
            ])
            .expect("two ranges"),
            first_frame: Mfn(0x100),
            metadata: words.leak(),
            bundle: (Range::default(), &[]),
            host_tables: Range::default(),
            command_line: "",
            board: "test",
            devices: heapless::Vec::new(),
            interrupt_controller: [Range::default(); 2],
            event_interrupt: 31,
            timer_interrupt: 27,
            wall_clock_base_s: 0,
            cpus: 1,
        }
    }

    #[test]
    fn every_frame_gets_its_use() {
        let frames = pool(&machine());
        let usage = frames.usage();
        assert_eq!(
            (usage.total, usage.hypervisor, usage.boot),
            (0x400, 0x11, 2)
        );
        assert_eq!(usage.free, 0x400 - 0x13);
        assert_eq!(
            frames.describe(Mfn(0x210)).map(|frame| frame.kind),
            Some(FrameKind::Hypervisor)
        );
        assert_eq!(frames.describe(Mfn(0x211)), None);
        assert_eq!(
            frames.describe(Mfn(0x301)).map(|frame| frame.kind),
            Some(FrameKind::Boot)
        );
    }
}
