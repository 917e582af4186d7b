//! A guest with devices on a fake machine, Domain-0 at the other end of the line.

use core::sync::atomic::Ordering;

use hv_abi::xen::{event as event_abi, hvm as hvm_abi};
use hv_abi::{CallNumber, DomId};

use super::*;
use crate::arch::fake::machine::{Machine, RAM, RAM_GFN};
use crate::arch::fake::{Fake, FakeHost};
use crate::arch::{Exit, Reply};
use crate::domain::{DomainRef, hold, remove_hold};
use crate::sched::turn;

const UART: u64 = PLACES.uart.gfn.0 << FRAME_SHIFT;
const RTC: u64 = PLACES.rtc.gfn.0 << FRAME_SHIFT;
const PLACES: crate::arch::DevicePlaces = Fake::DEVICES.expect("a fake has devices");
const FR: u64 = UART + 0x18;
const IMSC: u64 = UART + 0x38;

struct World {
    machine: Machine,
    domain: DomainRef<Fake>,
    /// Domain-0's port of the console.
    port: u32,
}

impl World {
    fn new() -> Self {
        let machine = Machine::with_cpus(512, 1);
        let domain = machine.domain_of(DomainKind::HVM, 16, 1);
        let mut world = Self {
            machine,
            domain,
            port: 0,
        };
        world.connect();
        world
    }

    /// What xend does.
    fn connect(&mut self) {
        let (machine, at) = (&self.machine, self.machine.dom0_ram);
        let mut unbound = event_abi::AllocUnbound {
            dom: self.domain.id,
            remote_dom: DomId::ZERO,
            port: 0,
        };
        let call = CallNumber::EVENT_CHANNEL_OP;
        machine
            .call_with(
                &machine.dom0,
                call,
                event_abi::ALLOC_UNBOUND,
                at,
                &mut unbound,
            )
            .unwrap();
        self.set(param::CONSOLE_EVTCHN, u64::from(unbound.port))
            .unwrap();
        self.set(param::CONSOLE_PFN, RAM_GFN.0).unwrap();
        let mut bind = event_abi::BindInterdomain {
            remote_dom: self.domain.id,
            remote_port: unbound.port,
            local_port: 0,
            ..Default::default()
        };
        machine
            .call_with(
                &machine.dom0,
                call,
                event_abi::BIND_INTERDOMAIN,
                at,
                &mut bind,
            )
            .unwrap();
        self.port = bind.local_port;
        let _bound = self.is_told();
    }

    fn set(&self, index: u32, value: u64) -> Result<u64, Errno> {
        let mut request = hvm_abi::Param {
            domid: self.domain.id,
            index,
            value,
            ..Default::default()
        };
        let (machine, at) = (&self.machine, self.machine.dom0_ram);
        let call = CallNumber::HVM_OP;
        machine.call_with(&machine.dom0, call, hvm_abi::SET_PARAM, at, &mut request)
    }

    fn host(&self) -> &'static FakeHost {
        self.machine.hypervisor.host
    }

    fn store(&self, address: u64, value: u64) {
        store(self.machine.hypervisor, &self.domain, Gpa(address), value).expect("a register");
    }

    fn load(&self, address: u64) -> u64 {
        load(self.machine.hypervisor, &self.domain, Gpa(address)).expect("a register")
    }

    /// Whether Domain-0 was told since the last look.
    fn is_told(&self) -> bool {
        let page = self.machine.dom0.lock().shared_info.expect("ports");
        let word = self.host().words(page)[Fake::SHARED_INFO.pending / 8].load(Ordering::SeqCst);
        let bit = 1 << self.port;
        self.host().words(page)[Fake::SHARED_INFO.pending / 8].fetch_and(!bit, Ordering::SeqCst);
        word & bit != 0
    }

    fn index(&self, offset: u64) -> u32 {
        self.machine.read(&self.domain, RAM + offset)
    }

    /// Domain-0 takes all output.
    fn drain(&self) {
        let producer = self.index(3084);
        self.machine.write(&self.domain, RAM + 3080, &producer);
    }

    /// Domain-0 types.
    fn type_in(&self, bytes: &[u8]) {
        let producer = self.index(3076);
        self.machine
            .write(&self.domain, RAM + u64::from(producer), bytes);
        let producer = producer + u32::try_from(bytes.len()).unwrap();
        self.machine.write(&self.domain, RAM + 3076, &producer);
        event::send(self.machine.hypervisor, &self.machine.dom0, self.port).unwrap();
    }

    fn inputs(&self) -> std::vec::Vec<(u32, bool)> {
        let raised = self.domain.platform.take_raised();
        let input = |raised| match raised {
            GuestInterrupt::Input { number, high } => Some((number, high)),
            _ => None,
        };
        raised.into_iter().filter_map(input).collect()
    }
}

#[test]
fn domain_0_is_told_of_the_first_byte_and_then_left_alone_for_a_while() {
    let world = World::new();
    world.store(UART, u64::from(b'a'));
    assert!(world.is_told());
    world.store(UART, u64::from(b'b'));
    world.drain();
    world.store(UART, u64::from(b'c'));
    assert!(!world.is_told(), "it will look again by itself");
    world.host().advance(SERIAL_QUIET_NS);
    world.store(UART, u64::from(b'd'));
    assert!(!world.is_told(), "not the first");
    world.drain();
    world.store(UART, u64::from(b'e'));
    assert!(world.is_told());
    let output: [u8; 5] = world.machine.read(&world.domain, RAM + 1024);
    assert_eq!(&output, b"abcde");
}

#[test]
fn half_a_ring_of_output_is_told_at_once() {
    let world = World::new();
    for _ in 0..1023 {
        world.store(UART, u64::from(b'x'));
    }
    assert!(world.is_told());
    world.store(UART, u64::from(b'x'));
    assert!(world.is_told());
    for _ in 0..2000 {
        world.store(UART, u64::from(b'x'));
    }
    assert!(!world.is_told());
    assert_eq!(world.load(FR) & 0x20, 0x20, "full");
}

#[test]
fn input_raises_the_line_until_it_is_read() {
    let world = World::new();
    world.store(UART + 0x2C, 0x70);
    world.store(IMSC, 0x50);
    world.type_in(b"ok");
    assert_eq!(world.inputs(), [(40, true)]);
    assert_eq!(world.load(UART), u64::from(b'o'));
    assert!(world.inputs().is_empty());
    assert_eq!(world.load(UART), u64::from(b'k'));
    assert_eq!(world.inputs(), [(40, false)]);
    assert_eq!(world.load(FR) & 0x10, 0x10);
    assert!(!world.is_told());
}

#[test]
fn a_guest_that_makes_room_for_input_says_so() {
    let world = World::new();
    world.type_in(&[b'x'; 1024]);
    let told = (0..1024).filter(|_| {
        let _byte = world.load(UART);
        world.is_told()
    });
    assert_eq!(told.count(), 1);
}

#[test]
fn the_alarm_comes_while_the_guest_waits() {
    let world = World::new();
    let hypervisor = world.machine.hypervisor;
    hypervisor.wall_clock.set_base_ns(1_795_651_200 * SECOND_NS);
    let now = world.load(RTC);
    assert_eq!(now, 1_795_651_200);
    world.store(RTC + 0x10, 1);
    world.store(RTC + 4, now + 2);
    let is_due = || world.load(RTC + 0x14) != 0;
    // It waits until the interrupt, takes it and waits again.
    let guest = world.domain.clone();
    let take = move || assert!(guest.platform.script(0).take_interrupt());
    world.domain.platform.script(0).exit(Exit::Idle);
    world.domain.platform.script(0).exit_after(take, Exit::Idle);
    remove_hold(hypervisor, &world.domain, hold::PAUSED);
    for _ in 0..8 {
        if !is_due() {
            turn(hypervisor);
        }
    }
    assert_eq!(world.load(RTC), now + 2);
    assert_eq!(world.inputs(), [(41, true)]);
    assert_eq!(world.load(RTC + 0x18), 1);
}

#[test]
fn other_domains_have_no_devices() {
    let world = World::new();
    let other = world.machine.domain(1, 1);
    let hypervisor = world.machine.hypervisor;
    assert_eq!(load(hypervisor, &other, Gpa(FR)), None);
    assert_eq!(store(hypervisor, &other, Gpa(UART), 1), None);
    assert_eq!(load(hypervisor, &world.domain, Gpa(0x70_0000)), None);
}

#[test]
fn accesses_of_a_vcpu_reach_the_devices() {
    let world = World::new();
    let script = world.domain.platform.script(0);
    let size = 4;
    let gpa = Gpa(FR);
    script.exit(Exit::Load { gpa, size });
    let (gpa, value) = (Gpa(UART), u64::from(b'!'));
    script.exit(Exit::Store { gpa, size, value });
    let gpa = Gpa(UART + 0x1000_0000);
    script.exit(Exit::Load { gpa, size });
    remove_hold(world.machine.hypervisor, &world.domain, hold::PAUSED);
    turn(world.machine.hypervisor);
    let replies = script.take_replies();
    assert_eq!(
        replies[1..],
        [Reply::Loaded(0x97), Reply::Resume, Reply::Abort]
    );
    assert_eq!(world.machine.read::<u8>(&world.domain, RAM + 1024), b'!');
}

#[test]
fn records_bring_the_lines_back() {
    let world = World::new();
    world.store(IMSC, 0x10);
    world.type_in(b"x");
    let (uart, rtc) = (save_uart(&world.domain), save_rtc(&world.domain));
    let copy = World::new();
    let producer = 1_u32;
    copy.machine.write(&copy.domain, RAM + 3076, &producer);
    let hypervisor = copy.machine.hypervisor;
    restore_uart(hypervisor, &copy.domain, &uart).unwrap();
    restore_rtc(hypervisor, &copy.domain, &rtc).unwrap();
    assert_eq!(copy.inputs(), [(40, true), (41, false)]);
    let plain = copy.machine.domain(1, 1);
    assert_eq!(restore_uart(hypervisor, &plain, &uart), Err(Errno::EINVAL));
}

#[test]
fn the_page_is_given_back_with_the_domain() {
    let world = World::new();
    world.store(UART, 1);
    let World {
        machine, domain, ..
    } = world;
    // Domain-0 closes its end when it hears of it.
    machine.destroy(domain);
    assert_eq!(machine.usage().domains, 0);
}
