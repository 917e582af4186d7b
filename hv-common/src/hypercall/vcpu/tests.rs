//! vCPUs that a guest starts and stops by calls.

use std::vec::Vec;

use hv_abi::CallNumber;
use zerocopy::IntoBytes;

use super::*;
use crate::arch::fake::machine::{Machine, RAM};
use crate::arch::fake::{Fake, FakeHost, Registers};
use crate::arch::{Exit, Reply};
use crate::domain::{DomainRef, hold, remove_hold};

const CALL: CallNumber = CallNumber::VCPU_OP;

/// A domain whose vCPUs but the first were never started.
fn fresh(machine: &Machine, vcpus: u32) -> DomainRef<Fake> {
    let domain = machine.domain(8, vcpus);
    for slot in domain.vcpus.iter().skip(1) {
        slot.set_activity(Activity::Off);
    }
    domain
}

fn activities(domain: &DomainRef<Fake>) -> Vec<Activity> {
    domain.vcpus.iter().map(|slot| slot.activity()).collect()
}

#[test]
fn a_vcpu_is_given_registers_once_and_then_started() {
    let machine = Machine::new(800);
    let domain = fresh(&machine, 2);
    // Across a page's end.
    let at = RAM + 4096 - 8;
    let initialise = |vcpu, registers: Registers| {
        machine.write(&domain, at, &registers);
        machine.call(&domain, CALL, &[abi::INITIALISE, vcpu, at])
    };
    let up = |vcpu| machine.call(&domain, CALL, &[abi::UP, vcpu]);
    let good = Registers {
        pc: 8,
        argument: 1,
        scratch: 2,
    };
    let bad = Registers { pc: 7, ..good };
    assert_eq!(up(1), Err(Errno::EINVAL), "it has no registers");
    assert_eq!(initialise(1, bad), Err(Errno::EINVAL));
    assert_eq!(up(1), Err(Errno::EINVAL), "nor now");
    let nowhere = [abi::INITIALISE, 1, RAM + 8 * 4096 - 8];
    assert_eq!(machine.call(&domain, CALL, &nowhere), Err(Errno::EFAULT));
    assert_eq!(initialise(1, good), Ok(0));
    let slot = domain.vcpu(1).unwrap();
    assert_eq!(*slot.registers().unwrap().registers(), good);
    assert_eq!(initialise(1, good), Err(Errno::EEXIST));
    assert_eq!(initialise(0, good), Err(Errno::EEXIST), "the caller");
    assert_eq!(activities(&domain)[1], Activity::Off);

    assert_eq!(up(1), Ok(0));
    assert_eq!(activities(&domain)[1], Activity::Ready);
    assert_eq!(machine.call(&domain, CALL, &[abi::IS_UP, 1]), Ok(1));
    assert_eq!(up(1), Ok(0), "it is already");
    for number in [2, 1 << 31, 1 << 32] {
        assert_eq!(initialise(number, good), Err(Errno::ENOENT));
        assert_eq!(up(number), Err(Errno::ENOENT));
        let down = machine.call(&domain, CALL, &[abi::DOWN, number]);
        assert_eq!(down, Err(Errno::ENOENT));
    }
}

#[test]
fn a_vcpu_that_was_started_otherwise_has_its_registers() {
    let machine = Machine::new(800);
    let domain = fresh(&machine, 2);
    let slot = domain.vcpu(1).unwrap();
    slot.has_context.store(true, Ordering::Relaxed);
    machine.write(&domain, RAM, Registers::default().as_bytes());
    let initialise = machine.call(&domain, CALL, &[abi::INITIALISE, 1, RAM]);
    assert_eq!(initialise, Err(Errno::EEXIST));
    assert_eq!(machine.call(&domain, CALL, &[abi::UP, 1]), Ok(0));
}

#[test]
fn the_last_vcpu_that_stops_switches_the_domain_off() {
    let machine = Machine::new(800);
    let domain = machine.domain(8, 3);
    let down =
        |caller, vcpu| machine.call_then(&domain, caller, CALL.0, [abi::DOWN, vcpu, 0, 0, 0]);
    assert_eq!(down(0, 2), (Ok(0), After::Resume));
    assert_eq!(down(0, 2), (Ok(0), After::Resume), "it is already");
    assert_eq!(down(0, 0), (Ok(0), After::Yield));
    assert_eq!(machine.call(&domain, CALL, &[abi::IS_UP, 2]), Ok(0));
    assert_eq!(domain.shutdown_reason(), None);
    assert_eq!(down(1, 1), (Ok(0), After::Yield));
    assert_eq!(domain.shutdown_reason(), Some(ShutdownReason::POWEROFF));
}

#[test]
fn a_vcpu_that_stopped_itself_goes_on_after_its_call() {
    FakeHost::be_cpu(0);
    let machine = Machine::with_cpus(2048, 1);
    machine
        .dom0
        .vcpu(0)
        .unwrap()
        .set_activity(Activity::Blocked);
    let domain = fresh(&machine, 2);
    let starter = domain.platform.script(0);
    let other = domain.platform.script(1);
    machine.write(&domain, RAM, Registers::default().as_bytes());
    starter.call(CALL.0, &[abi::INITIALISE, 1, RAM]);
    starter.call(CALL.0, &[abi::UP, 1]);
    other.call(CALL.0, &[abi::DOWN, 1]);
    other.exit(Exit::Idle);
    remove_hold(machine.hypervisor, &domain, hold::PAUSED);
    for _ in 0..4 {
        sched::turn(machine.hypervisor);
    }
    assert_eq!(activities(&domain), [Activity::Blocked, Activity::Off]);
    assert_eq!(other.left(), 1, "it stopped at its call");
    let (state, ..) = domain.vcpu(1).unwrap().runstate.read(0);
    assert_eq!(state, runstate::OFFLINE);

    starter.call(CALL.0, &[abi::UP, 1]);
    crate::domain::wake(machine.hypervisor, &domain, 0);
    for _ in 0..4 {
        sched::turn(machine.hypervisor);
    }
    assert_eq!(other.left(), 0);
    assert_eq!(
        other.take_replies(),
        [Reply::Resume, Reply::Returned(0), Reply::Resume],
        "started, the answer of the call that stopped it, started again"
    );
    assert_eq!(activities(&domain), [Activity::Blocked; 2]);
}

#[test]
fn a_vcpu_that_is_stopped_while_it_runs_leaves_its_cpu() {
    FakeHost::be_cpu(0);
    let machine = Machine::with_cpus(2048, 1);
    let domain = machine.domain(8, 2);
    let slot = domain.vcpu(1).unwrap();
    slot.set_activity(Activity::Blocked);
    domain.vcpu(0).unwrap().set_activity(Activity::Blocked);
    let guest = domain.clone();
    let script = domain.platform.script(1);
    // What another CPU does meanwhile.
    let stop = move || guest.vcpu(1).unwrap().set_activity(Activity::Off);
    script.exit_after(stop, Exit::Idle);
    script.exit(Exit::Idle);
    remove_hold(machine.hypervisor, &domain, hold::PAUSED);
    crate::domain::wake(machine.hypervisor, &domain, 1);
    sched::turn(machine.hypervisor);
    assert_eq!(slot.activity(), Activity::Off, "it does not wait");
    crate::domain::wake(machine.hypervisor, &domain, 1);
    sched::turn(machine.hypervisor);
    assert_eq!(script.left(), 1, "and no interrupt wakes it");
}
