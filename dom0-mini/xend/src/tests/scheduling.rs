//! Weights, caps and where vCPUs run.

use super::world::{World, by_name, config};
use hv_abi::control::domain::ShutdownReason;
use mgmt_proto::messages::{
    DomainRef, ErrorCode, PinVcpu, Reply, RequestBody, RestoreFromStore, SaveToStore,
    SetScheduling, VcpuSummary,
};
use std::vec::Vec;

fn set(weight: Option<u32>, cap: Option<u32>) -> RequestBody {
    RequestBody::SchedulingSet(SetScheduling {
        domain: by_name("guest"),
        weight,
        cap,
    })
}

fn pin(vcpu: Option<u32>, cpus: u64) -> RequestBody {
    RequestBody::VcpuPin(PinVcpu {
        domain: by_name("guest"),
        vcpu,
        cpus,
    })
}

fn vcpus(world: &mut World) -> Vec<VcpuSummary> {
    match world.ask(RequestBody::VcpuList) {
        Ok(Reply::Vcpus(all)) => all.into_iter().filter(|vcpu| vcpu.domid != 0).collect(),
        other => panic!("{other:?}"),
    }
}

fn affinities(world: &mut World) -> Vec<u64> {
    vcpus(world).iter().map(|vcpu| vcpu.affinity).collect()
}

#[test]
fn a_configuration_is_followed() {
    let mut world = World::new();
    let text = "vcpus = 3\ncpu_weight = 512\ncap = 150\ncpus = ['0-1', '3']\n";
    let domid = world.create(config("guest") + text).unwrap();
    assert_eq!(world.machine().domain(domid).scheduling, (512, 150));
    assert_eq!(affinities(&mut world), [0b11, 0b1000, 0b1111]);
    let Ok(Reply::Scheduling(all)) = world.ask(RequestBody::SchedulingList) else {
        panic!("no list");
    };
    assert_eq!((all[0].domid, all[0].weight), (0, 256));
    assert_eq!((all[1].weight, all[1].cap), (512, 150));
}

#[test]
fn cpus_that_are_not_there_are_refused() {
    let mut world = World::new();
    let failure = world.create(config("guest") + "cpus = '7'\n").unwrap_err();
    assert_eq!(failure.code, ErrorCode::BAD_CONFIG);
    assert!(failure.message.contains("it has 0-3"), "{failure}");
    world.create(config("guest")).unwrap();
    for (body, code) in [
        (pin(Some(0), 0b1_0000), ErrorCode::BAD_CONFIG),
        (pin(Some(1), 1), ErrorCode::BAD_REQUEST),
        (set(Some(0), None), ErrorCode::BAD_REQUEST),
        (set(None, Some(1601)), ErrorCode::BAD_REQUEST),
    ] {
        assert_eq!(world.code(body), code);
    }
    let stranger = SetScheduling {
        domain: DomainRef::Id(77),
        weight: Some(1),
        cap: None,
    };
    let code = world.code(RequestBody::SchedulingSet(stranger));
    assert_eq!(code, ErrorCode::UNKNOWN_DOMAIN);
}

#[test]
fn changes_last_through_reboot_save_and_restore() {
    let mut world = World::new();
    let domid = world.create(config("guest") + "vcpus = 2\n").unwrap();
    world.ask(set(Some(100), None)).unwrap();
    world.ask(set(None, Some(30))).unwrap();
    world.ask(pin(Some(1), 0b10)).unwrap();
    assert_eq!(world.machine().domain(domid).scheduling, (100, 30));
    world.stop(domid, ShutdownReason::REBOOT);
    let rebooted = world.machine().made();
    assert!(rebooted > domid);
    assert_eq!(world.machine().domain(rebooted).scheduling, (100, 30));
    assert_eq!(affinities(&mut world), [0b1111, 0b10]);
    let save = SaveToStore {
        domain: by_name("guest"),
        label: "kept".into(),
    };
    world.ask(RequestBody::SaveToStore(save)).unwrap();
    let restore = RestoreFromStore {
        label: "kept".into(),
        paused: false,
        name: None,
    };
    world.ask(RequestBody::RestoreFromStore(restore)).unwrap();
    let restored = world.machine().made();
    assert_eq!(world.machine().domain(restored).scheduling, (100, 30));
    assert_eq!(affinities(&mut world), [0b1111, 0b10]);
}

#[test]
fn domain_0_has_a_weight_too() {
    let mut world = World::new();
    let weight = SetScheduling {
        domain: DomainRef::Name("Domain-0".into()),
        weight: Some(512),
        cap: None,
    };
    let done = world.ask(RequestBody::SchedulingSet(weight));
    assert_eq!(done, Ok(Reply::Done));
    let all = PinVcpu {
        domain: DomainRef::Id(0),
        vcpu: None,
        cpus: 1,
    };
    assert_eq!(world.ask(RequestBody::VcpuPin(all)), Ok(Reply::Done));
}
