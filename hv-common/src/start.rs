//! From a described machine to a running one: the pool, Domain-0, the first vCPU.
//!
//! The architecture describes the machine as a [`Machine`] and never hears of it again: [`start`] does not return. What
//! is true afterwards: every frame of RAM has a use, Domain-0 is mapped one to one (guest frame = machine frame), its
//! image is loaded and relocates itself, and its start page says what it owns (`hv_abi::start`).

use core::sync::atomic::{AtomicU64, Ordering};

use hv_abi::DomId;
use hv_abi::start::{Device, Range};

use crate::arch::{Arch, Host, HostFacts, Mfn, Shared};
use crate::domain::table::DomainTable;
use crate::hypervisor::{CPUS_MAX, DevicePorts, Hypervisor};
use crate::memory::frames::{Frame, FrameKind, Frames, run_order_for};
use crate::options::Options;
use crate::sched::{self, Cpu};
use crate::time::WallClock;

pub mod bundle;
mod dom0;
pub mod image;
pub mod layout;

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
    /// The interrupt controller as Domain-0 sees it: distributor, then the rest.
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

/// Runs the machine; `ready` is called when the other CPUs may join in.
///
/// # Panics
/// If the machine cannot run at all (no memory, no Domain-0): there is nobody to tell then.
pub fn start<A: Arch>(
    host: &'static A::Host,
    machine: &Machine,
    ready: impl FnOnce(&Shared<A, Hypervisor<A>>),
) -> ! {
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
    ready(&hypervisor);
    sched::cpu_loop(&hypervisor)
}

/// All RAM with its uses.
fn pool(machine: &Machine) -> Frames {
    let frames = Frames::new(machine.first_frame, machine.metadata);
    for bank in &machine.ram {
        let mut at = bank.base.div_ceil(FRAME);
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
        facts: HostFacts {
            cpus: machine.cpus,
            ..host.facts()
        },
        device_ports: DevicePorts::default(),
        dom0_started_ns: AtomicU64::new(0),
    };
    host.share(run, hypervisor)
}

#[cfg(test)]
mod tests {
    use hv_abi::start::{Dom0Start, MAGIC, VERSION};
    use zerocopy::{FromZeros, IntoBytes};

    use super::*;
    use crate::arch::fake::{Fake, FakeHost, RAM_START};

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

    /// An archive with one member.
    fn archive(name: &str, content: &[u8]) -> &'static [u8] {
        let mut bytes = std::vec::Vec::new();
        for (name, content) in [(name, content), ("TRAILER!!!", &[][..])] {
            bytes.extend(b"070701");
            for index in 0..13 {
                let value = match index {
                    6 => content.len(),
                    11 => name.len() + 1,
                    _ => 0,
                };
                bytes.extend(std::format!("{value:08X}").bytes());
            }
            bytes.extend(name.bytes().chain([0]));
            bytes.resize(bytes.len().next_multiple_of(4), 0);
            bytes.extend(content);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
        bytes.leak()
    }

    const BUNDLE: u64 = 0x10_0000;

    /// A machine of 16 MiB of fake RAM with a bundle in it.
    fn fake_machine(member: &str, content: &[u8]) -> (&'static FakeHost, Machine) {
        const FRAMES: usize = 4096;
        FakeHost::be_cpu(0);
        let host = FakeHost::leak(FRAMES);
        let words: std::vec::Vec<AtomicU64> = (0..FRAMES).map(|_| AtomicU64::new(0)).collect();
        let ram = RAM_START.0 * FRAME;
        let archive = archive(member, content);
        let place = Range {
            base: ram + BUNDLE,
            size: archive.len() as u64,
        };
        let bank = Range {
            base: ram,
            size: FRAMES as u64 * FRAME,
        };
        let device = |slot: u64| Device {
            kind: hv_abi::start::DeviceKind::VIRTIO_MMIO,
            interrupt: 48 + u32::try_from(slot).unwrap_or(0),
            registers: Range {
                base: 0x0A00_0000 + 0x200 * slot,
                size: 0x200,
            },
        };
        let machine = Machine {
            ram: heapless::Vec::from_slice(&[bank]).expect("one bank"),
            reserved: heapless::Vec::from_slice(&[(place, Reserved::Boot)]).expect("one range"),
            first_frame: RAM_START,
            metadata: words.leak(),
            bundle: (place, archive),
            command_line: "dom0_mem=4M",
            devices: (0..2).map(device).collect(),
            ..machine()
        };
        (host, machine)
    }

    fn built(
        member: &str,
        content: &[u8],
    ) -> Result<(&'static FakeHost, TestHypervisor), std::string::String> {
        let (host, machine) = fake_machine(member, content);
        let options = Options::parse(machine.command_line, |_| {});
        let hypervisor = assemble::<Fake>(host, &machine, pool(&machine), options);
        match dom0::build(&hypervisor, &machine) {
            Ok(()) => Ok((host, hypervisor)),
            Err(problem) => Err(std::format!("{problem}")),
        }
    }

    type TestHypervisor = <FakeHost as Host>::Shared<Hypervisor<Fake>>;

    #[test]
    fn domain_0_is_loaded_told_what_it_owns_and_runs() {
        let (host, hypervisor) = built("dom0", &image::tests::elf()).expect("a machine that runs");
        let dom0 = hypervisor.dom0().expect("it is there");
        let slot = dom0.vcpu(0).expect("it has one");
        let (entry, argument) = {
            let mut registers = slot.registers().expect("nobody runs it");
            (registers.registers().pc, registers.registers().argument)
        };
        let memory = hypervisor.memory(&dom0);
        let read = |at, out: &mut [u8]| memory.read(crate::arch::Gpa(at), out);
        let mut page = Dom0Start::new_zeroed();
        read(argument, page.as_mut_bytes()).expect("its own memory");
        assert_eq!((page.magic, page.version), (MAGIC, VERSION));
        assert_eq!((page.ram.size, page.image.size), (4 << 20, 0x3000));
        assert_eq!(page.ram.base % (2 << 20), 0);
        assert_eq!(entry, page.ram.base + 0x10);
        assert_eq!(page.device_count, 2);
        let mut code = [0; 5];
        read(page.ram.base + 0x1000, &mut code).expect("its own memory");
        assert_eq!(&code, b"code\0");
        read(page.bundle.base, &mut code).expect("it may read the bundle");
        let write = memory.write(crate::arch::Gpa(page.bundle.base), &code);
        assert!(write.is_err(), "it may not write it");
        let registers = memory.lookup(&dom0.lock(), crate::arch::Gfn(0xA000));
        assert!(registers.is_some_and(|leaf| leaf.attributes.device));
        assert_eq!(hypervisor.frames.usage().dom0, 1024);
        sched::turn(&hypervisor);
        assert_eq!(dom0.platform.script(0).take_replies().len(), 1);
        let _host = host;
    }

    #[test]
    fn what_is_wrong_with_a_bundle_is_said() {
        let said = |member, content: &[u8]| built(member, content).err().unwrap_or_default();
        assert!(said("other", b"").contains("no member `dom0`"));
        assert!(said("dom0", b"#!/bin/sh").contains("no 64-bit"));
        let (host, mut machine) = fake_machine("dom0", &image::tests::elf());
        machine.bundle = (Range::default(), &[]);
        let hypervisor = assemble::<Fake>(host, &machine, pool(&machine), Options::default());
        let problem = dom0::build(&hypervisor, &machine).err();
        let text = std::format!("{}", problem.expect("nothing to start"));
        assert!(text.contains("no boot bundle"));
        let (host, machine) = fake_machine("dom0", &image::tests::elf());
        let hypervisor = assemble::<Fake>(host, &machine, pool(&machine), Options::default());
        let problem = dom0::build(&hypervisor, &machine).err();
        let text = std::format!("{}", problem.expect("24 MiB in 16"));
        assert!(text.contains("large enough"));
    }
}
