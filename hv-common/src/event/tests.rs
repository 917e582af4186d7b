use super::*;
use crate::arch::fake::Fake;
use crate::arch::fake::machine::{Machine, RAM};
use crate::domain::DomainRef;
use crate::hypercall::After;
use hv_abi::CallNumber;
use hv_abi::xen::{event as abi, memory, sched, vcpu};

const CALL: CallNumber = CallNumber::EVENT_CHANNEL_OP;
const SHARED: &hv_abi::xen::shared_info::SharedInfoLayout = &Fake::SHARED_INFO;

fn port_call(
    machine: &Machine,
    domain: &DomainRef<Fake>,
    command: u64,
    port: u32,
) -> Result<u64, Errno> {
    let at = if domain.is_dom0() {
        machine.dom0_ram
    } else {
        RAM
    };
    machine.call_with(domain, CALL, command, at, &mut abi::Port { port })
}

fn bind_ipi(machine: &Machine, domain: &DomainRef<Fake>, vcpu: u32) -> u32 {
    let mut request = abi::BindIpi { vcpu, port: 0 };
    machine
        .call_with(domain, CALL, abi::BIND_IPI, RAM, &mut request)
        .unwrap();
    request.port
}

fn alloc_unbound(machine: &Machine, domain: &DomainRef<Fake>, remote: DomId) -> u32 {
    let mut request = abi::AllocUnbound {
        dom: DomId::SELF,
        remote_dom: remote,
        port: 0,
    };
    machine
        .call_with(domain, CALL, abi::ALLOC_UNBOUND, RAM, &mut request)
        .unwrap();
    request.port
}

fn bind_interdomain(machine: &Machine, remote_dom: DomId, remote_port: u32) -> Result<u32, Errno> {
    let mut request = abi::BindInterdomain {
        remote_dom,
        remote_port,
        ..Default::default()
    };
    let at = machine.dom0_ram;
    machine.call_with(&machine.dom0, CALL, abi::BIND_INTERDOMAIN, at, &mut request)?;
    Ok(request.local_port)
}

fn word(bytes: &[u8], offset: usize) -> u64 {
    u64::from_le_bytes(bytes[offset..offset + 8].try_into().unwrap())
}

fn is_pending(machine: &Machine, domain: &DomainRef<Fake>, port: u32) -> bool {
    let page = machine.shared_info(domain);
    word(&page, SHARED.pending + 8 * (port / 64) as usize) >> (port % 64) & 1 != 0
}

#[test]
fn an_event_to_self_sets_every_bit_once_and_makes_one_upcall() {
    let machine = Machine::new(800);
    let domain = machine.domain(8, 1);
    let port = bind_ipi(&machine, &domain, 0);
    assert_eq!(port, 1);
    port_call(&machine, &domain, abi::SEND, port).unwrap();
    port_call(&machine, &domain, abi::SEND, port).unwrap();
    let page = machine.shared_info(&domain);
    assert_eq!(word(&page, SHARED.pending), 1 << port);
    assert_eq!(word(&page, SHARED.pending_sel), 1);
    assert_eq!(page[SHARED.upcall_pending], 1);
    assert_eq!(machine.upcalls(&domain, 0), 1);
}

#[test]
fn what_arrives_before_shared_info_is_mapped_is_found_there() {
    let machine = Machine::new(800);
    let domain = machine.domain(8, 1);
    let port = bind_ipi(&machine, &domain, 0);
    port_call(&machine, &domain, abi::SEND, port).unwrap();
    let mut request = memory::AddToPhysmap {
        domid: DomId::SELF,
        space: u32::from(memory::space::SHARED_INFO),
        gpfn: 0x2000,
        ..Default::default()
    };
    let call = CallNumber::MEMORY_OP;
    machine
        .call_with(&domain, call, memory::ADD_TO_PHYSMAP, RAM, &mut request)
        .unwrap();
    let page = domain.lock().shared_info;
    assert_eq!(machine.frame(&domain, crate::arch::Gfn(0x2000)), page);
    assert!(is_pending(&machine, &domain, port));
}

#[test]
fn a_masked_event_waits_for_its_unmasking() {
    let machine = Machine::new(800);
    let domain = machine.domain(8, 1);
    let port = bind_ipi(&machine, &domain, 0);
    let page = domain.lock().shared_info.unwrap();
    let host = machine.hypervisor.host;
    host.write(page, SHARED.mask, &(1_u64 << port).to_le_bytes());
    port_call(&machine, &domain, abi::SEND, port).unwrap();
    assert!(is_pending(&machine, &domain, port));
    assert_eq!(machine.upcalls(&domain, 0), 0);
    port_call(&machine, &domain, abi::UNMASK, port).unwrap();
    assert_eq!(machine.upcalls(&domain, 0), 1);
}

#[test]
fn two_domains_are_connected_and_cut_again() {
    let machine = Machine::new(800);
    let domain = machine.domain(8, 1);
    let theirs = alloc_unbound(&machine, &domain, DomId::ZERO);
    let ours = bind_interdomain(&machine, domain.id, theirs).unwrap();
    assert!(is_pending(&machine, &machine.dom0, ours));
    assert_eq!(
        bind_interdomain(&machine, domain.id, theirs),
        Err(Errno::EINVAL)
    );

    port_call(&machine, &machine.dom0, abi::SEND, ours).unwrap();
    assert!(is_pending(&machine, &domain, theirs));
    port_call(&machine, &machine.dom0, abi::CLOSE, ours).unwrap();
    let mut status = abi::Status {
        dom: DomId::SELF,
        port: theirs,
        ..Default::default()
    };
    machine
        .call_with(&domain, CALL, abi::STATUS, RAM, &mut status)
        .unwrap();
    assert_eq!((status.status, status.detail[0]), (abi::status::UNBOUND, 0));
    assert!(bind_interdomain(&machine, domain.id, theirs).is_ok());
}

#[test]
fn a_port_is_bound_by_the_domain_it_was_left_for_only() {
    let machine = Machine::new(1200);
    let (first, second) = (machine.domain(8, 1), machine.domain(8, 1));
    let port = alloc_unbound(&machine, &first, second.id);
    assert_eq!(
        bind_interdomain(&machine, first.id, port),
        Err(Errno::EINVAL)
    );
    let mut request = abi::BindInterdomain {
        remote_dom: first.id,
        remote_port: port,
        ..Default::default()
    };
    assert_eq!(
        machine.call_with(&second, CALL, abi::BIND_INTERDOMAIN, RAM, &mut request),
        Ok(0)
    );
    let mut foreign = abi::AllocUnbound {
        dom: first.id,
        ..Default::default()
    };
    let refused = machine.call_with(&second, CALL, abi::ALLOC_UNBOUND, RAM, &mut foreign);
    assert_eq!(refused, Err(Errno::EPERM));
}

#[test]
fn ports_run_out_at_4095_and_all_come_back() {
    let machine = Machine::new(800);
    let before = machine.usage();
    let domain = machine.domain(8, 1);
    for port in 1..PORTS {
        assert_eq!(bind_ipi(&machine, &domain, 0), port);
    }
    let mut request = abi::BindIpi::default();
    let full = machine.call_with(&domain, CALL, abi::BIND_IPI, RAM, &mut request);
    assert_eq!(full, Err(Errno::ENOSPC));
    let mut reset = DomId::SELF;
    assert_eq!(
        machine.call_with(&domain, CALL, abi::RESET, RAM, &mut reset),
        Ok(0)
    );
    assert_eq!(domain.lock().events.in_use(), 0);
    assert_eq!(bind_ipi(&machine, &domain, 0), 1);
    machine.destroy(domain);
    assert_eq!(machine.usage(), before);
}

#[test]
fn a_virtual_interrupt_has_one_port_per_vcpu() {
    let machine = Machine::new(800);
    let domain = machine.domain(8, 2);
    let bind = |virq, vcpu| {
        let mut request = abi::BindVirq {
            virq,
            vcpu,
            port: 0,
        };
        machine
            .call_with(&domain, CALL, abi::BIND_VIRQ, RAM, &mut request)
            .map(|_| request.port)
    };
    let port = bind(virq::TIMER, 1).unwrap();
    assert_eq!(bind(virq::TIMER, 1), Err(Errno::EEXIST));
    assert_eq!(bind(virq::TIMER, 2), Err(Errno::ENOENT));
    assert_eq!(bind(virq::CONSOLE, 1), Err(Errno::EINVAL));
    assert_eq!(bind(99, 0), Err(Errno::EINVAL));
    send_virq(machine.hypervisor, &domain, virq::TIMER, 0);
    assert!(!is_pending(&machine, &domain, port));
    send_virq(machine.hypervisor, &domain, virq::TIMER, 1);
    assert!(is_pending(&machine, &domain, port));
    assert_eq!(machine.upcalls(&domain, 1), 1);
    port_call(&machine, &domain, abi::CLOSE, port).unwrap();
    assert!(!is_pending(&machine, &domain, port));
    assert!(bind(virq::TIMER, 1).is_ok());
}

#[test]
fn a_registered_vcpu_info_is_where_the_upcall_goes() {
    let machine = Machine::new(800);
    let domain = machine.domain(8, 3);
    let port = bind_ipi(&machine, &domain, 2);
    port_call(&machine, &domain, abi::SEND, port).unwrap();
    assert_eq!(machine.upcalls(&domain, 2), 0, "it has no vcpu_info yet");

    let register = |offset: u32, vcpu: u64| {
        let request = vcpu::RegisterVcpuInfo {
            mfn: (RAM >> 12) + 1,
            offset,
            reserved: 0,
        };
        machine.write(&domain, RAM, &request);
        machine.call(
            &domain,
            CallNumber::VCPU_OP,
            &[vcpu::REGISTER_VCPU_INFO, vcpu, RAM],
        )
    };
    assert_eq!(register(4096 - 40, 2), Err(Errno::EINVAL));
    assert_eq!(register(4, 2), Err(Errno::EINVAL));
    assert_eq!(register(64, 9), Err(Errno::ENOENT));
    assert_eq!(register(64, 2), Ok(0));
    assert_eq!(register(128, 2), Err(Errno::EINVAL));
    assert_eq!(machine.upcalls(&domain, 2), 1, "nothing got lost");
    let selector: u64 = machine.read(&domain, RAM + 4096 + 64 + SHARED.pending_sel as u64);
    assert_eq!(selector, u64::MAX);
    assert!(super::is_pending(machine.hypervisor, &domain, 2));
}

#[test]
fn a_poll_ends_at_once_or_with_the_event_it_waits_for() {
    let machine = Machine::new(800);
    let domain = machine.domain(8, 1);
    let port = bind_ipi(&machine, &domain, 0);
    let other = bind_ipi(&machine, &domain, 0);
    let poll = || {
        let request = sched::Poll {
            ports: RAM + 64,
            count: 1,
            ..Default::default()
        };
        machine.write(&domain, RAM, &request);
        machine.write(&domain, RAM + 64, &port);
        machine.call_then(
            &domain,
            0,
            CallNumber::SCHED_OP.0,
            [sched::POLL, RAM, 0, 0, 0],
        )
    };
    assert_eq!(poll(), (Ok(0), After::Block { until_ns: None }));
    assert_eq!(machine.polling(&domain, 0), Some(port));
    send(machine.hypervisor, &domain, other).unwrap();
    assert!(!is_poll_over(machine.hypervisor, &domain, 0));
    send(machine.hypervisor, &domain, port).unwrap();
    assert!(is_poll_over(machine.hypervisor, &domain, 0));
    assert_eq!(poll(), (Ok(0), After::Resume));
}

#[test]
fn bad_pointers_and_numbers_are_refused() {
    let machine = Machine::new(800);
    let domain = machine.domain(8, 1);
    for command in 0..11 {
        let result = machine.call(&domain, CALL, &[command, RAM - 4]);
        assert!(
            matches!(result, Err(Errno::EFAULT | Errno::ENOSYS)),
            "{command}"
        );
    }
    for port in [0, 1, 4095, 4096, u32::MAX] {
        let refused = port_call(&machine, &domain, abi::SEND, port);
        assert_eq!(refused, Err(Errno::EINVAL), "{port}");
        assert_eq!(
            port_call(&machine, &domain, abi::CLOSE, port),
            Err(Errno::EINVAL)
        );
    }
}
