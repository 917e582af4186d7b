use super::*;
use crate::arch::Gfn;
use crate::arch::fake::machine::{Machine, RAM, RAM_GFN};
use crate::arch::fake::{CPU_KIND, Fake, PLATFORM_KIND, Registers};
use hv_abi::CallNumber;
use hv_abi::xen::event as abi;
use hv_abi::xen::{assist, hvm, memory as memory_abi, vcpu as vcpu_abi};
use std::vec::Vec;

const CALL: CallNumber = CallNumber::CONTROL_STATE;
const SHARED_INFO_GFN: u64 = 0x2000;
const TABLE_GFN: u64 = 0x3000;

/// All records of a domain, read through windows of that many bytes.
fn save_all(
    machine: &Machine,
    domain: &DomainRef<Fake>,
    capacity: u64,
) -> Result<Vec<Vec<u8>>, Errno> {
    let at = machine.dom0_ram;
    let mut window = StateWindow {
        domid: domain.id,
        buffer: at + 4096,
        capacity,
        ..Default::default()
    };
    let mut records = Vec::new();
    for _ in 0..1000 {
        let more = machine.call_with(&machine.dom0, CALL, SAVE, at, &mut window)?;
        let mut bytes = std::vec![0_u8; usize::try_from(window.length).unwrap()];
        let memory = machine.hypervisor.memory(&machine.dom0);
        memory.read(Gpa(at + 4096), &mut bytes).unwrap();
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let header = Header::read_from_prefix(rest).unwrap().0;
            let length = 16 + usize::try_from(header.length).unwrap().next_multiple_of(8);
            records.push(rest[..length].to_vec());
            rest = &rest[length..];
        }
        if more == 0 {
            return Ok(records);
        }
    }
    panic!("there is no end to the records");
}

fn restore_one(machine: &Machine, domain: &DomainRef<Fake>, record: &[u8]) -> Result<u64, Errno> {
    let at = machine.dom0_ram;
    machine.write(&machine.dom0, at, record);
    let args = [RESTORE, u64::from(domain.id.0), at, record.len() as u64];
    machine.call(&machine.dom0, CALL, &args)
}

fn kind(record: &[u8]) -> Kind {
    Header::read_from_prefix(record).unwrap().0.kind
}

fn place(machine: &Machine, domain: &DomainRef<Fake>, space: u16, gpfn: u64) {
    let mut request = memory_abi::AddToPhysmap {
        domid: DomId::SELF,
        space: u32::from(space),
        gpfn,
        ..Default::default()
    };
    let call = CallNumber::MEMORY_OP;
    machine
        .call_with(domain, call, memory_abi::ADD_TO_PHYSMAP, RAM, &mut request)
        .unwrap();
}

/// A domain that has used everything there is to save.
fn lived(machine: &Machine) -> DomainRef<Fake> {
    let domain = machine.domain(8, 1);
    place(
        machine,
        &domain,
        memory_abi::space::SHARED_INFO,
        SHARED_INFO_GFN,
    );
    place(machine, &domain, memory_abi::space::GRANT_TABLE, TABLE_GFN);
    let events = CallNumber::EVENT_CHANNEL_OP;
    let mut unbound = abi::AllocUnbound {
        dom: DomId::SELF,
        ..Default::default()
    };
    let mut ipi = abi::BindIpi::default();
    let mut timer = abi::BindVirq::default();
    machine
        .call_with(&domain, events, abi::ALLOC_UNBOUND, RAM, &mut unbound)
        .unwrap();
    machine
        .call_with(&domain, events, abi::BIND_IPI, RAM, &mut ipi)
        .unwrap();
    machine
        .call_with(&domain, events, abi::BIND_VIRQ, RAM, &mut timer)
        .unwrap();
    let hypervisor = machine.hypervisor;
    event::bind_interdomain(hypervisor, &machine.dom0, &domain, unbound.port).unwrap();
    event::send(hypervisor, &domain, ipi.port).unwrap();
    grant::seed(hypervisor, &domain, 5, DomId::ZERO, Gfn(RAM_GFN.0 + 2)).unwrap();

    let info = vcpu_abi::RegisterVcpuInfo {
        mfn: RAM_GFN.0 + 1,
        offset: 64,
        reserved: 0,
    };
    machine.write(&domain, RAM, &info);
    let register = [vcpu_abi::REGISTER_VCPU_INFO, 0, RAM];
    machine
        .call(&domain, CallNumber::VCPU_OP, &register)
        .unwrap();
    machine.write(&domain, RAM, &(RAM + 0x3040));
    let register = [vcpu_abi::REGISTER_RUNSTATE_MEMORY_AREA, 0, RAM];
    machine
        .call(&domain, CallNumber::VCPU_OP, &register)
        .unwrap();
    machine.write(&domain, RAM, &(RAM + 0x3080));
    let register = [vcpu_abi::REGISTER_VCPU_TIME_MEMORY_AREA, 0, RAM];
    machine
        .call(&domain, CallNumber::VCPU_OP, &register)
        .unwrap();
    let flag = [assist::ENABLE, assist::RUNSTATE_UPDATE_FLAG];
    machine.call(&domain, CallNumber::VM_ASSIST, &flag).unwrap();
    domain.lock().params[hvm::param::STORE_EVTCHN as usize] = 77;
    machine.hypervisor.host.advance(5_000);
    let at = time::system_time_ns(hypervisor, &domain) + 1_000_000;
    machine
        .call(&domain, CallNumber::SET_TIMER_OP, &[at])
        .unwrap();
    let slot = domain.vcpu(0).unwrap();
    *slot.registers().unwrap().registers() = Registers {
        pc: 0x4000_1234,
        argument: 3,
        scratch: 9,
    };
    domain
}

/// Records that must be the same after a restore; the domain's own differs in time only.
fn without_time(records: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut records = records.to_vec();
    for record in &mut records {
        let body = size_of::<Header>();
        match kind(record) {
            Kind::DOMAIN => {
                let times = core::mem::offset_of!(record::Domain, guest_counter);
                record[body + times..body + times + 16].fill(0);
                let clock = core::mem::offset_of!(record::Domain, shared_info)
                    + Fake::SHARED_INFO.wall_clock;
                record[body + clock..body + clock + 16].fill(0);
                // The version of what says how time comes of the counter: written anew.
                let infos = core::mem::offset_of!(record::Domain, shared_info);
                let time = body + infos + Fake::SHARED_INFO.time;
                record[time..time + 4].fill(0);
            }
            Kind::VCPU => {
                let times = core::mem::offset_of!(record::Vcpu, singleshot_ns);
                record[body + times..body + times + 40].fill(0);
            }
            _ => {}
        }
    }
    records
}

#[test]
fn a_restored_domain_saves_as_the_one_it_was() {
    let machine = Machine::new(2000);
    let domain = lived(&machine);
    let records = save_all(&machine, &domain, 32 * 1024).unwrap();
    let kinds: Vec<Kind> = records.iter().map(|record| kind(record)).collect();
    let expected = [
        Kind::DOMAIN,
        Kind::PLATFORM,
        Kind::EVENTS,
        Kind::GRANTS,
        PLATFORM_KIND,
        Kind::CLOCK,
        Kind::VCPU,
        CPU_KIND,
    ];
    assert_eq!(kinds, expected);
    let counter = domain.platform.guest_counter(machine.hypervisor.host);
    let timer = domain
        .vcpu(0)
        .unwrap()
        .singleshot_ns
        .load(Ordering::Relaxed);

    // A long time on file.
    machine.hypervisor.host.advance(1_000_000_000);
    let copy = machine.domain(8, 1);
    for record in &records {
        restore_one(&machine, &copy, record).unwrap();
    }
    assert_eq!(
        copy.platform.guest_counter(machine.hypervisor.host),
        counter,
        "its time stood still"
    );
    let late = copy.vcpu(0).unwrap().singleshot_ns.load(Ordering::Relaxed);
    assert_eq!(late, timer + 1_000_000_000);
    let again = save_all(&machine, &copy, 32 * 1024).unwrap();
    assert_eq!(without_time(&again), without_time(&records));
    assert_eq!(copy.vcpu(0).unwrap().activity(), Activity::Ready);
    // The tool binds Domain-0's side again, to the same port.
    assert!(event::bind_interdomain(machine.hypervisor, &machine.dom0, &copy, 1).is_ok());
}

#[test]
fn a_small_window_takes_more_calls_and_too_small_a_one_is_refused() {
    let machine = Machine::new(1200);
    let domain = lived(&machine);
    let whole = save_all(&machine, &domain, 32 * 1024).unwrap();
    let pieces = save_all(&machine, &domain, 5120).unwrap();
    assert_eq!(without_time(&whole), without_time(&pieces));
    assert_eq!(save_all(&machine, &domain, 100), Err(Errno::E2BIG));
}

#[test]
fn only_a_paused_domain_is_saved_and_only_a_new_one_restored() {
    let machine = Machine::new(1200);
    let domain = lived(&machine);
    let records = save_all(&machine, &domain, 32 * 1024).unwrap();
    domain.lock().started = true;
    assert_eq!(
        restore_one(&machine, &domain, &records[1]),
        Err(Errno::EBUSY)
    );
    assert_eq!(
        restore_one(&machine, &machine.dom0, &records[1]),
        Err(Errno::EINVAL)
    );
    let mut window = StateWindow {
        domid: domain.id,
        ..Default::default()
    };
    let refused = machine.call_with(&domain, CALL, SAVE, RAM, &mut window);
    assert_eq!(refused, Err(Errno::EPERM));
}

#[test]
fn a_guest_that_needs_another_machine_is_refused() {
    let machine = Machine::new(1200);
    let domain = lived(&machine);
    let mut record = save_all(&machine, &domain, 32 * 1024).unwrap().remove(1);
    // Its counter runs at quite another rate.
    record[19] ^= 0x80;
    assert_eq!(restore_one(&machine, &domain, &record), Err(Errno::EXDEV));
    record[2] = 2;
    assert_eq!(
        restore_one(&machine, &domain, &record),
        Err(Errno::EOPNOTSUPP)
    );
}

/// Every bit of the small records, and of the header and first fields of the large ones.
#[test]
fn no_flipped_bit_makes_a_restore_panic_or_lose_a_frame() {
    let machine = Machine::new(2000);
    let domain = lived(&machine);
    let records = save_all(&machine, &domain, 32 * 1024).unwrap();
    drop(domain);
    let before = machine.usage();
    let mut copy = machine.domain(8, 1);
    for record in &records {
        for bit in 0..8 * record.len().min(160) {
            let mut flipped = record.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let _loaded_or_refused = restore_one(&machine, &copy, &flipped);
            if bit % 256 == 255 {
                machine.destroy(copy);
                assert_eq!(machine.usage(), before);
                copy = machine.domain(8, 1);
            }
        }
    }
    machine.destroy(copy);
    assert_eq!(machine.usage(), before);
}
