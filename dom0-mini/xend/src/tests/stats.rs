//! Samples of the host and its domains.

use super::world::{World, by_name, config};
use hv_abi::control::host::extension;
use hv_abi::control::vcpu::{ExitCounts, Usage};
use mgmt_proto::messages::{DomainKind, DomainState, ErrorCode, Reply, RequestBody, Stats};
use std::vec::Vec;

fn stats(world: &mut World) -> Stats {
    match world.ask(RequestBody::Stats) {
        Ok(Reply::Stats(stats)) => stats,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_host_says_what_its_guests_run_by() {
    let mut world = World::new();
    for (code, words) in [
        (extension::ONLY, "ARM EL2"),
        (extension::SVM, "AMD SVM"),
        (extension::VMX, "Intel VMX"),
    ] {
        world.machine().extension = code;
        let Ok(Reply::Info(info)) = world.ask(RequestBody::Info) else {
            panic!("no facts");
        };
        assert_eq!(info.virtualization.as_deref(), Some(words));
    }
}

#[test]
fn a_sample_has_the_host_and_every_domain_in_order() {
    let mut world = World::new();
    let alone = stats(&mut world);
    assert_eq!(alone.domains.len(), 1);
    assert_eq!(alone.domains[0].summary.kind, DomainKind::CONTROL);
    for name in ["first", "second", "third"] {
        world.create(config(name)).unwrap();
    }
    world.ask(RequestBody::Pause(by_name("second"))).unwrap();
    let stats = stats(&mut world);
    let names: Vec<&str> = stats
        .domains
        .iter()
        .map(|domain| domain.summary.name.as_str())
        .collect();
    assert_eq!(names, ["Domain-0", "first", "second", "third"]);
    assert_eq!(stats.domains[2].summary.state, DomainState::PAUSED);
    assert!(stats.domains.iter().all(|domain| domain.vcpus_online == 1));
    assert!(stats.host.free_kib < alone.host.free_kib && stats.host.total_kib > 0);
}

#[test]
fn what_a_domain_used_is_told_down_to_its_vcpus() {
    let mut world = World::new();
    let domid = world.create(config("guest") + "vcpus = 2\n").unwrap();
    let exits = ExitCounts {
        hypercalls: 30,
        accesses: 4,
        architecture: 500,
        ..ExitCounts::default()
    };
    world.machine().domain(domid).usage = Usage {
        cpu_ns: 7_000,
        runnable_ns: 200,
        blocked_ns: 90_000,
        runs: 10,
        queued_ns: 150,
        longest_queued_ns: 80,
        exits,
        interrupts: 12,
        events: 3,
    };
    let Ok(Reply::Usage(told)) = world.ask(RequestBody::Usage(by_name("guest"))) else {
        panic!("nothing is told");
    };
    let cpus: Vec<_> = told
        .vcpus
        .iter()
        .map(|it| (it.summary.vcpu, it.summary.cpu))
        .collect();
    assert_eq!(cpus, [(0, 0), (1, 1)]);
    let usage = told.vcpus[1].usage;
    assert_eq!((usage.runnable_ns, usage.exits.architecture), (200, 500));
    assert_eq!((usage.interrupts, usage.events), (12, 3));
    let whole = told.domain.usage.expect("it is of this release");
    assert_eq!((whole.blocked_ns, whole.longest_queued_ns), (180_000, 80));
    assert_eq!((told.domain.exits, told.domain.hypercalls), (2 * 534, 60));
    assert_eq!(told.domain.summary.cpu_ns, 14_000);
    assert_eq!(stats(&mut world).domains[1], told.domain, "as in a sample");
    assert_eq!(
        world.code(RequestBody::Usage(by_name("nobody"))),
        ErrorCode::UNKNOWN_DOMAIN
    );
    let Ok(Reply::Usage(dom0)) = world.ask(RequestBody::Usage(by_name("Domain-0"))) else {
        panic!("nothing is told of Domain-0");
    };
    assert_eq!(dom0.vcpus.len(), 1);
}

#[test]
fn the_logs_are_seen_to_grow() {
    let mut world = World::new();
    let before = stats(&mut world).host;
    world.create(config("guest")).unwrap();
    world
        .machine()
        .log
        .extend_from_slice(b"a line of the hypervisor's\n");
    let after = stats(&mut world).host;
    assert!(after.xend_log_bytes > before.xend_log_bytes);
    assert_eq!(
        after.hypervisor_log_bytes.unwrap() - before.hypervisor_log_bytes.unwrap(),
        27
    );
}
