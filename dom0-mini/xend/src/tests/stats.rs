//! Samples of the host and its domains.

use super::world::{World, by_name, config};
use hv_abi::control::host::extension;
use mgmt_proto::messages::{DomainKind, DomainState, Reply, RequestBody, Stats};
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
