use std::vec::Vec;

use hv_abi::CallNumber;
use hv_abi::control::domain::ShutdownReason;
use hv_abi::control::vcpu::{ExitCounts, StartContext, Usage};
use hv_abi::xen::sched as abi;

use super::*;
use crate::arch::fake::machine::Machine;
use crate::arch::fake::{Fake, FakeHost};
use crate::arch::{Exit, Gpa, Power, Refusal, RefusalKind, Reply, Vcpu};
use crate::domain::{add_hold, hold, remove_hold};

/// A machine with one CPU on which Domain-0 sleeps.
fn machine() -> Machine {
    FakeHost::be_cpu(0);
    let machine = Machine::with_cpus(2048, 1);
    let slot = machine.dom0.vcpu(0).expect("it has one");
    slot.set_activity(Activity::Blocked);
    remove_hold(machine.hypervisor, &machine.dom0, hold::PAUSED);
    machine
}

fn running(machine: &Machine, vcpus: u32) -> DomainRef<Fake> {
    let domain = machine.domain(4, vcpus);
    remove_hold(machine.hypervisor, &domain, hold::PAUSED);
    domain
}

fn activity(domain: &DomainRef<Fake>, vcpu: u32) -> Activity {
    domain.vcpu(vcpu).expect("it exists").activity()
}

fn ran_ns(machine: &Machine, domain: &DomainRef<Fake>) -> u64 {
    let now = machine.hypervisor.now_ns();
    domain.vcpu(0).expect("it has one").usage(now).cpu_ns
}

/// The guest takes its interrupt and sleeps.
fn takes_interrupt(domain: &DomainRef<Fake>) {
    let guest = domain.clone();
    let take = move || assert!(guest.platform.script(0).take_interrupt());
    domain.platform.script(0).exit_after(take, Exit::Idle);
}

/// Lets two domains be busy for a while: each exit is an interrupt a millisecond later.
fn burn(machine: &Machine, domains: &[&DomainRef<Fake>], milliseconds: u64) {
    let host = machine.hypervisor.host;
    let end = host.now_ns() + milliseconds * 1_000_000;
    while host.now_ns() < end {
        for domain in domains {
            let script = domain.platform.script(0);
            while script.left() < 20 {
                script.exit_after(|| host.advance(1_000_000), Exit::Interrupted);
            }
        }
        turn(machine.hypervisor);
    }
}

#[test]
fn an_idle_vcpu_sleeps_until_its_own_timer() {
    let machine = machine();
    let domain = running(&machine, 1);
    let script = domain.platform.script(0);
    let at = machine.hypervisor.now_ns() + 5_000_000;
    script.set_deadline(Some(at));
    turn(machine.hypervisor);
    assert_eq!(activity(&domain, 0), Activity::Blocked);
    turn(machine.hypervisor);
    assert_eq!(machine.hypervisor.now_ns(), at, "idle until then");
    assert_eq!(script.take_replies().len(), 1);
    turn(machine.hypervisor);
    assert_eq!(script.take_replies().len(), 1, "it ran again");
    let cpu = machine.hypervisor.this_cpu().expect("CPU 0");
    assert!(cpu.idle_ns() >= 5_000_000);
}

#[test]
fn an_interrupt_between_publishing_and_sleeping_is_not_lost() {
    let machine = machine();
    let domain = running(&machine, 1);
    let raised = domain.platform.raise(GuestInterrupt::Upcall { vcpu: 0 });
    assert_eq!(raised, Some(0));
    let script = domain.platform.script(0);
    script.exit(Exit::Idle);
    takes_interrupt(&domain);
    turn(machine.hypervisor);
    assert_eq!(script.left(), 0, "the first wait ended at once");
    assert_eq!(activity(&domain, 0), Activity::Blocked);
}

#[test]
fn weights_share_a_cpu() {
    let machine = machine();
    let (light, heavy) = (running(&machine, 1), running(&machine, 1));
    heavy.weight.store(512, Ordering::Relaxed);
    burn(&machine, &[&light, &heavy], 1_200);
    let (light, heavy) = (ran_ns(&machine, &light), ran_ns(&machine, &heavy));
    let ratio = heavy as f64 / light as f64;
    assert!((1.9..2.1).contains(&ratio), "{light} {heavy}");
}

fn usage(machine: &Machine, domain: &DomainRef<Fake>) -> Usage {
    let now = machine.hypervisor.now_ns();
    domain.vcpu(0).expect("it has one").usage(now)
}

#[test]
fn who_waits_for_a_cpu_is_seen_to_wait() {
    let machine = machine();
    let domains = [running(&machine, 1), running(&machine, 1)];
    burn(&machine, &[&domains[0], &domains[1]], 400);
    for domain in &domains {
        let usage = usage(&machine, domain);
        let ran = usage.cpu_ns as f64 / usage.runnable_ns as f64;
        assert!(
            (0.8..1.25).contains(&ran),
            "as long as the other: {usage:?}"
        );
        assert_eq!(usage.blocked_ns, 0);
        assert!((15..30).contains(&usage.runs), "slices of 10 ms: {usage:?}");
        assert!(usage.longest_queued_ns >= SLICE_NS, "{usage:?}");
        assert!(usage.queued_ns <= usage.runnable_ns, "{usage:?}");
    }
}

#[test]
fn a_domain_on_hold_waits_for_nothing() {
    let machine = machine();
    let domain = running(&machine, 1);
    let (held, host) = (domain.clone(), machine.hypervisor);
    let hold = move || add_hold(host, &held, hold::PAUSED);
    domain
        .platform
        .script(0)
        .exit_after(hold, Exit::Interrupted);
    turn(machine.hypervisor);
    host.host.advance(500_000_000);
    remove_hold(host, &domain, hold::PAUSED);
    host.host.advance(3_000_000);
    turn(host);
    let usage = usage(&machine, &domain);
    assert_eq!((usage.runs, usage.runnable_ns), (2, 3_000_000), "{usage:?}");
    assert_eq!(usage.longest_queued_ns, 3_000_000);
}

#[test]
fn exits_are_counted_by_what_they_were_for() {
    let machine = machine();
    let domain = running(&machine, 1);
    let script = domain.platform.script(0);
    script.call(17, &[0]).call(17, &[0]);
    script.exit(Exit::Wake { vcpus: 1 });
    script.exit(Exit::Power(Power::IsOn { vcpu: 0 }));
    script.exit(Exit::Interrupted);
    let (gpa, size) = (Gpa(0x10), 4);
    script.exit(Exit::Load { gpa, size });
    script.exit(Exit::Store {
        gpa,
        size,
        value: 1,
    });
    let _raised = domain.platform.raise(GuestInterrupt::Upcall { vcpu: 0 });
    takes_interrupt(&domain);
    turn(machine.hypervisor);
    assert_eq!(script.left(), 0);
    let usage = usage(&machine, &domain);
    let expected = ExitCounts {
        hypercalls: 2,
        accesses: 2,
        idle: 1,
        interrupted: 1,
        ipis: 1,
        power: 1,
        ..ExitCounts::default()
    };
    assert_eq!((usage.exits, usage.interrupts), (expected, 1), "{usage:?}");
    assert_eq!(usage.exits.total(), 8);
}

#[test]
fn a_cap_holds_although_nobody_else_wants_the_cpu() {
    let machine = machine();
    let domain = running(&machine, 1);
    domain.cap.store(25, Ordering::Relaxed);
    let start = machine.hypervisor.now_ns();
    burn(&machine, &[&domain], 2_000);
    let ran = ran_ns(&machine, &domain);
    let percent = 100.0 * ran as f64 / (machine.hypervisor.now_ns() - start) as f64;
    assert!((24.0..26.5).contains(&percent), "{percent}");
}

/// A machine with two CPUs on which Domain-0 sleeps.
fn machine_with_two() -> Machine {
    FakeHost::be_cpu(0);
    let machine = Machine::with_cpus(2048, 2);
    let slot = machine.dom0.vcpu(0).expect("it has one");
    slot.set_activity(Activity::Blocked);
    remove_hold(machine.hypervisor, &machine.dom0, hold::PAUSED);
    machine
}

fn turn_on(machine: &Machine, cpu: usize) {
    FakeHost::be_cpu(cpu);
    turn(machine.hypervisor);
}

fn home(domain: &DomainRef<Fake>, vcpu: u32) -> usize {
    domain.vcpu(vcpu).expect("it exists").home()
}

#[test]
fn vcpus_that_become_ready_spread_over_idle_cpus() {
    let machine = machine_with_two();
    let domain = machine.domain(4, 2);
    for slot in &domain.vcpus {
        slot.set_home(0);
    }
    remove_hold(machine.hypervisor, &domain, hold::PAUSED);
    assert_eq!((home(&domain, 0), home(&domain, 1)), (0, 1));
    assert!(machine.hypervisor.host.take_kicks().contains(&1));
}

#[test]
fn a_cpu_with_nothing_to_do_takes_what_waits_elsewhere_and_may_run_on_it() {
    let machine = machine_with_two();
    let domain = machine.domain(4, 3);
    let hypervisor = machine.hypervisor;
    for slot in &domain.vcpus {
        slot.set_home(0);
    }
    domain.vcpu(0).expect("three").set_affinity(0b01);
    let second = hypervisor.cpu(1).expect("two");
    second.busy.store(true, Ordering::Relaxed);
    remove_hold(hypervisor, &domain, hold::PAUSED);
    assert_eq!([0, 1, 2].map(|vcpu| home(&domain, vcpu)), [0, 0, 0]);
    second.busy.store(false, Ordering::Relaxed);
    for _ in 0..3 {
        turn_on(&machine, 1);
    }
    let ran = [0, 1, 2].map(|vcpu| domain.platform.script(vcpu).take_replies().len());
    assert_eq!(ran, [0, 1, 1]);
    assert_eq!([0, 1, 2].map(|vcpu| home(&domain, vcpu)), [0, 1, 1]);
    FakeHost::be_cpu(0);
}

#[test]
fn who_comes_to_a_cpu_has_paid_as_much_as_who_ran_there_alone() {
    const ALONE_NS: u64 = 7_000_000_000;
    let machine = machine_with_two();
    let (hypervisor, host) = (machine.hypervisor, machine.hypervisor.host);
    let resident = machine.domain(1, 1);
    let newcomer = machine.domain(1, 1);
    let (there, comes) = (
        resident.vcpu(0).expect("one"),
        newcomer.vcpu(0).expect("one"),
    );
    there.set_home(1);
    comes.set_home(0);
    let cpu = hypervisor.cpu(1).expect("two");
    cpu.begin(
        hypervisor,
        &resident,
        there,
        Slice::of(&resident, host.now_ns()),
    );
    host.advance(ALONE_NS);
    // It ran alone for as long on its own CPU, and left it just now.
    let other = hypervisor.cpu(0).expect("two");
    comes.virtual_ns.store(ALONE_NS, Ordering::Relaxed);
    other.end(comes);
    place::adopt(hypervisor, cpu, &newcomer, comes);
    let paid = comes.virtual_ns.load(Ordering::Relaxed);
    assert!(paid.abs_diff(ALONE_NS) < SLICE_NS, "{paid}");
}

#[test]
fn a_vcpu_that_is_pinned_elsewhere_moves_with_its_timers() {
    let machine = machine_with_two();
    let domain = machine.domain(4, 1);
    let hypervisor = machine.hypervisor;
    let slot = domain.vcpu(0).expect("it has one");
    slot.set_home(0);
    set_singleshot(hypervisor, &domain, slot, Some(u64::MAX / 2));
    set_affinity(hypervisor, slot, 0b10).expect("CPU 1 runs");
    assert_eq!(set_affinity(hypervisor, slot, 0b100), Err(Errno::EINVAL));
    remove_hold(hypervisor, &domain, hold::PAUSED);
    assert_eq!(home(&domain, 0), 1);
    let next = |cpu: usize| {
        hypervisor
            .cpu(cpu)
            .expect("two")
            .queue
            .lock()
            .next_timer_ns()
    };
    assert_eq!((next(0), next(1)), (NEVER, u64::MAX / 2));
    turn_on(&machine, 0);
    assert!(domain.platform.script(0).take_replies().is_empty());
    turn_on(&machine, 1);
    assert_eq!(domain.platform.script(0).take_replies().len(), 1);
    FakeHost::be_cpu(0);
}

#[test]
fn a_vcpu_alone_has_no_tick() {
    let machine = machine();
    let domain = running(&machine, 1);
    let host = machine.hypervisor.host;
    let script = domain.platform.script(0);
    let look = || assert_eq!(host.deadline(0), None);
    script.exit_after(look, Exit::Interrupted);
    turn(machine.hypervisor);
}

#[test]
fn who_yields_stays_unless_one_waits_that_has_paid_less() {
    let machine = machine();
    let host = machine.hypervisor.host;
    let yields = Exit::Call {
        number: CallNumber::SCHED_OP.0,
        args: [abi::YIELD, 0, 0, 0, 0],
    };
    let first = running(&machine, 1);
    let script = first.platform.script(0);
    script.exit(yields);
    script.exit(yields);
    turn(machine.hypervisor);
    assert_eq!(script.left(), 0, "alone, it stayed");
    assert_eq!(activity(&first, 0), Activity::Blocked);

    let [first, second] = [running(&machine, 1), running(&machine, 1)];
    let script = first.platform.script(0);
    script.exit_after(|| host.advance(1_000), yields);
    script.exit(Exit::Idle);
    turn(machine.hypervisor);
    assert_eq!(script.left(), 1, "it left");
    turn(machine.hypervisor);
    assert_eq!(second.platform.script(0).take_replies().len(), 1);
}

#[test]
fn a_device_interrupt_brings_domain_0_at_once() {
    let machine = machine();
    let host = machine.hypervisor.host;
    let domain = running(&machine, 1);
    let dom0 = machine.dom0.vcpu(0).expect("it has one");
    dom0.virtual_ns.store(u64::MAX / 2, Ordering::Relaxed);
    host.enable_device_interrupt(48, true);
    let again = || host.interrupt(0, 48);
    domain
        .platform
        .script(0)
        .exit_after(again, Exit::Interrupted)
        .exit(Exit::Idle);
    takes_interrupt(&machine.dom0);
    takes_interrupt(&machine.dom0);
    host.interrupt(0, 48);
    // It is taken at the first look, before the guest is picked: then Domain-0 is first.
    turn(machine.hypervisor);
    assert_eq!(machine.dom0.platform.script(0).take_replies().len(), 1);
    assert_eq!(domain.platform.script(0).left(), 2, "the guest waits");
    // And while the guest runs, at its next exit.
    turn(machine.hypervisor);
    assert_eq!(
        domain.platform.script(0).left(),
        1,
        "it gave way after one exit"
    );
    turn(machine.hypervisor);
    assert_eq!(machine.dom0.platform.script(0).take_replies().len(), 1);
}

#[test]
fn a_paused_domain_leaves_its_cpu_and_comes_back() {
    let machine = machine();
    let domain = running(&machine, 1);
    add_hold(machine.hypervisor, &domain, hold::PAUSED);
    turn(machine.hypervisor);
    assert!(domain.platform.script(0).take_replies().is_empty());
    remove_hold(machine.hypervisor, &domain, hold::PAUSED);
    turn(machine.hypervisor);
    assert_eq!(domain.platform.script(0).take_replies().len(), 1);
}

#[test]
fn secondary_vcpus_are_switched_on_and_off_by_power_calls() {
    let machine = machine();
    let domain = running(&machine, 2);
    domain.vcpu(1).expect("two").set_activity(Activity::Off);
    let context = StartContext {
        entry: 0x1234,
        argument: 5,
    };
    let on = |vcpu| Exit::Power(Power::CpuOn { vcpu, context });
    let script = domain.platform.script(0);
    for exit in [
        on(1),
        on(1),
        on(9),
        Exit::Power(Power::IsOn { vcpu: 1 }),
        Exit::Power(Power::IsOn { vcpu: 2 }),
    ] {
        script.exit(exit);
    }
    let second = domain.platform.script(1);
    second.exit(Exit::Power(Power::CpuOff));
    for _ in 0..3 {
        turn(machine.hypervisor);
    }
    let answers: Vec<Reply> = [0, 1, 2, 1, u64::MAX].map(Reply::Returned).to_vec();
    assert_eq!(script.take_replies()[1..], answers);
    assert_eq!(second.take_replies(), [Reply::Resume]);
    assert_eq!(activity(&domain, 1), Activity::Off);
    let slot = domain.vcpu(1).expect("two");
    assert_eq!(slot.registers().expect("nobody runs it").pc(), 0x1234);
}

#[test]
fn what_nobody_answers_is_refused_or_ends_the_domain() {
    let machine = machine();
    let domain = running(&machine, 1);
    let refusal = Refusal {
        kind: RefusalKind::Instruction,
        what: "test",
        pc: 1,
        detail: 2,
        address: 3,
    };
    let script = domain.platform.script(0);
    let gpa = crate::arch::Gpa(0x6000_0000);
    script
        .exit(Exit::Load { gpa, size: 4 })
        .exit(Exit::Store {
            gpa,
            size: 4,
            value: 1,
        })
        .call(9999, &[])
        .exit(Exit::Refused(refusal))
        .exit(Exit::Fault(refusal));
    turn(machine.hypervisor);
    let nosys = hv_abi::Errno::ENOSYS.to_return_value();
    assert_eq!(
        script.take_replies(),
        [
            Reply::Resume,
            Reply::Abort,
            Reply::Abort,
            Reply::Returned(nosys),
            Reply::Resume
        ]
    );
    let counted = domain.refusals.read();
    assert_eq!(
        (counted.calls, counted.accesses, counted.instructions),
        (1, 2, 2)
    );
    assert_eq!(counted.total(), 5);
    assert_eq!(domain.shutdown_reason(), Some(ShutdownReason::CRASH));
    turn(machine.hypervisor);
    assert!(script.take_replies().is_empty(), "it does not run any more");
}

#[test]
fn the_answer_of_a_call_that_blocks_is_there_before_it_sleeps() {
    let machine = machine();
    let domain = running(&machine, 1);
    let script = domain.platform.script(0);
    script.call(hv_abi::CallNumber::SCHED_OP.0, &[hv_abi::xen::sched::BLOCK]);
    turn(machine.hypervisor);
    assert_eq!(script.take_replies(), [Reply::Resume, Reply::Returned(0)]);
    assert_eq!(activity(&domain, 0), Activity::Blocked);
    crate::domain::wake(machine.hypervisor, &domain, 0);
    turn(machine.hypervisor);
    assert_eq!(script.take_replies(), [Reply::Resume]);
}

#[test]
fn a_singleshot_timer_is_an_event() {
    let machine = machine();
    let domain = running(&machine, 1);
    let port = event::bind_virq(machine.hypervisor, &domain, virq::TIMER, 0).expect("a port");
    let slot = domain.vcpu(0).expect("it has one");
    let at = machine.hypervisor.now_ns() + 3_000_000;
    set_singleshot(machine.hypervisor, &domain, slot, Some(at));
    domain.platform.script(0).exit(Exit::Idle);
    takes_interrupt(&domain);
    for _ in 0..4 {
        turn(machine.hypervisor);
    }
    let host = machine.hypervisor.host;
    assert!(event::is_port_pending::<Fake>(host, &domain.lock(), port));
    assert_eq!(slot.singleshot_ns.load(Ordering::Relaxed), NEVER);
}

#[test]
fn a_paused_domain_keeps_its_timer_until_it_goes_on() {
    let machine = machine();
    let domain = running(&machine, 1);
    let port = event::bind_virq(machine.hypervisor, &domain, virq::TIMER, 0).expect("a port");
    let slot = domain.vcpu(0).expect("it has one");
    let host = machine.hypervisor.host;
    let is_pending = || event::is_port_pending::<Fake>(host, &domain.lock(), port);
    let at = machine.hypervisor.now_ns() + 3_000_000;
    set_singleshot(machine.hypervisor, &domain, slot, Some(at));
    add_hold(machine.hypervisor, &domain, hold::PAUSED);
    for _ in 0..4 {
        turn(machine.hypervisor);
    }
    host.advance(4_000_000);
    turn(machine.hypervisor);
    assert_eq!(slot.singleshot_ns.load(Ordering::Relaxed), at);
    assert!(!is_pending());
    remove_hold(machine.hypervisor, &domain, hold::PAUSED);
    domain.platform.script(0).exit(Exit::Idle);
    takes_interrupt(&domain);
    for _ in 0..4 {
        turn(machine.hypervisor);
    }
    assert_eq!(slot.singleshot_ns.load(Ordering::Relaxed), NEVER);
    assert!(is_pending());
}

#[test]
fn a_vcpu_is_up_until_it_has_left_its_cpu() {
    let machine = machine();
    let domain = running(&machine, 2);
    let slot = domain.vcpu(1).expect("it has two");
    slot.set_activity(Activity::Ready);
    slot.run_state.arrive(0);
    slot.set_activity(Activity::Off);
    assert_eq!((slot.is_online(), slot.is_up()), (false, true));
    slot.run_state.leave(0);
    assert!(!slot.is_up());
}

#[test]
fn a_forgotten_domain_is_finished_by_the_idle_machine() {
    let machine = machine();
    let before = machine.usage();
    let domain = running(&machine, 2);
    turn(machine.hypervisor);
    destroy::begin(machine.hypervisor, &domain);
    let id = domain.id;
    drop(domain);
    for _ in 0..200 {
        turn(machine.hypervisor);
    }
    assert!(machine.hypervisor.domain(id).is_none());
    assert_eq!(machine.usage(), before);
}

#[test]
fn a_queue_takes_the_urgent_then_the_one_that_paid_least() {
    let mut queue = Queue::default();
    let key = |vcpu| Key {
        domain: DomId(1),
        vcpu,
    };
    for (vcpu, virtual_ns) in [(0, 30), (1, 10), (2, 20)] {
        queue.push(Entry {
            key: key(vcpu),
            virtual_ns,
            urgent: false,
            affinity: u64::MAX,
        });
    }
    assert!(queue.promote(key(0)) && !queue.promote(key(7)));
    let order: Vec<u32> =
        core::iter::from_fn(|| queue.take_best().map(|entry| entry.key.vcpu)).collect();
    assert_eq!(order, [0, 1, 2]);
    assert_eq!(queue.floor_ns(), 30);
}

#[test]
fn a_timer_is_replaced_taken_away_and_due_once() {
    let mut queue = Queue::default();
    let key = Key {
        domain: DomId(1),
        vcpu: 0,
    };
    queue.set_timer(key, TimerKind::Wake, 50);
    queue.set_timer(key, TimerKind::Singleshot, 40);
    queue.set_timer(key, TimerKind::Wake, 30);
    assert_eq!(queue.next_timer_ns(), 30);
    assert_eq!(queue.take_due(29), None);
    assert_eq!(queue.take_due(35), Some((key, TimerKind::Wake)));
    queue.set_timer(key, TimerKind::Singleshot, NEVER);
    assert_eq!(queue.next_timer_ns(), NEVER);
    queue.set_timer(key, TimerKind::Wake, 1);
    queue.forget(DomId(1));
    assert_eq!(queue.take_due(u64::MAX), None);
}
