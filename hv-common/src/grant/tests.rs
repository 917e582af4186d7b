use super::*;
use crate::arch::Host;
use crate::arch::fake::Fake;
use crate::arch::fake::machine::{Machine, RAM, RAM_GFN};
use crate::domain::DomainRef;
use hv_abi::CallNumber;
use hv_abi::DomId;
use hv_abi::xen::grant::{self as abi, CONSOLE_REFERENCE, EntryV1, QuerySize, flags};
use hv_abi::xen::{hvm, memory};

const CALL: CallNumber = CallNumber::GRANT_TABLE_OP;
/// Where the granter maps its table.
const TABLE: u64 = 0x3800_0000;

/// A domain whose table is mapped.
fn granter(machine: &Machine) -> DomainRef<Fake> {
    let domain = machine.domain(8, 1);
    let mut request = memory::AddToPhysmap {
        domid: DomId::SELF,
        space: u32::from(memory::space::GRANT_TABLE),
        gpfn: TABLE >> 12,
        ..Default::default()
    };
    let call = CallNumber::MEMORY_OP;
    machine
        .call_with(&domain, call, memory::ADD_TO_PHYSMAP, RAM, &mut request)
        .unwrap();
    domain
}

fn table(machine: &Machine, domain: &DomainRef<Fake>) -> Mfn {
    machine.frame(domain, Gfn(TABLE >> 12)).unwrap()
}

fn grant(machine: &Machine, domain: &DomainRef<Fake>, reference: u32, gfn: u64, flags: u16) {
    let entry = EntryV1 {
        flags,
        domid: DomId::ZERO,
        frame: u32::try_from(gfn).unwrap(),
    };
    let offset = 8 * reference as usize;
    let bytes = zerocopy::IntoBytes::as_bytes(&entry);
    machine
        .hypervisor
        .host
        .write(table(machine, domain), offset, bytes);
}

fn entry_flags(machine: &Machine, domain: &DomainRef<Fake>, reference: u32) -> u16 {
    let word = machine
        .hypervisor
        .host
        .word(table(machine, domain), reference as usize);
    (word & 0xFFFF) as u16
}

fn map_for_dom0(
    machine: &Machine,
    domain: &DomainRef<Fake>,
    reference: u32,
    flags: u32,
) -> MapGrantRef {
    let mut request = MapGrantRef {
        flags,
        reference,
        dom: domain.id,
        ..Default::default()
    };
    let at = machine.dom0_ram;
    let result = machine.call_with(&machine.dom0, CALL, abi::MAP_GRANT_REF, at, &mut request);
    assert_eq!(result, Ok(0));
    request
}

fn unmap_for_dom0(machine: &Machine, handle: u32) -> i16 {
    let mut request = UnmapGrantRef {
        handle,
        ..Default::default()
    };
    let at = machine.dom0_ram;
    let result = machine.call_with(&machine.dom0, CALL, abi::UNMAP_GRANT_REF, at, &mut request);
    assert_eq!(result, Ok(0));
    request.status
}

#[test]
fn domain_0_sees_a_granted_frame_at_its_machine_address() {
    let machine = Machine::new(800);
    let domain = granter(&machine);
    let frame = machine.frame(&domain, Gfn(RAM_GFN.0 + 3)).unwrap();
    grant(&machine, &domain, 9, RAM_GFN.0 + 3, flags::PERMIT_ACCESS);
    let overhead = machine.dom0.account.overhead();

    let mapped = map_for_dom0(&machine, &domain, 9, map::HOST_MAP);
    assert_eq!(
        (mapped.status, mapped.dev_bus_addr),
        (status::OKAY, frame.0 << 12)
    );
    assert_eq!(machine.frame(&machine.dom0, Gfn(frame.0)), Some(frame));
    let shown = flags::PERMIT_ACCESS | flags::READING | flags::WRITING;
    assert_eq!(entry_flags(&machine, &domain, 9), shown);

    assert_eq!(unmap_for_dom0(&machine, mapped.handle), status::OKAY);
    assert_eq!(unmap_for_dom0(&machine, mapped.handle), status::BAD_HANDLE);
    assert_eq!(machine.frame(&machine.dom0, Gfn(frame.0)), None);
    assert_eq!(entry_flags(&machine, &domain, 9), flags::PERMIT_ACCESS);
    assert_eq!(machine.dom0.account.overhead(), overhead);
}

#[test]
fn what_is_not_granted_is_not_mapped() {
    let machine = Machine::new(800);
    let domain = granter(&machine);
    let (ram, permit) = (RAM_GFN.0, flags::PERMIT_ACCESS);
    grant(&machine, &domain, 8, ram, permit | flags::READONLY);
    grant(&machine, &domain, 9, ram, flags::INVALID);
    grant(&machine, &domain, 10, 0x7_0000, permit);
    grant(&machine, &domain, 11, TABLE >> 12, permit);
    let cases = [
        (8, map::HOST_MAP, status::PERMISSION_DENIED),
        (9, map::HOST_MAP, status::BAD_GNTREF),
        (10, map::HOST_MAP, status::BAD_PAGE),
        (11, map::HOST_MAP, status::BAD_PAGE),
        (512, map::HOST_MAP, status::BAD_GNTREF),
        (u32::MAX, map::HOST_MAP, status::BAD_GNTREF),
        (8, map::READONLY, status::GENERAL_ERROR),
        (8, map::HOST_MAP | map::READONLY, status::OKAY),
    ];
    for (reference, flags, expected) in cases {
        let mapped = map_for_dom0(&machine, &domain, reference, flags);
        assert_eq!(mapped.status, expected, "{reference} {flags}");
    }
    assert_eq!(
        entry_flags(&machine, &domain, 10),
        permit,
        "no trace of a failure"
    );
    assert_eq!(
        entry_flags(&machine, &domain, 8),
        permit | flags::READONLY | flags::READING
    );
}

#[test]
fn a_frame_mapped_twice_stays_until_the_last_unmapping() {
    let machine = Machine::new(800);
    let domain = granter(&machine);
    let frame = machine.frame(&domain, RAM_GFN).unwrap();
    grant(&machine, &domain, 8, RAM_GFN.0, flags::PERMIT_ACCESS);
    let reader = map_for_dom0(&machine, &domain, 8, map::HOST_MAP | map::READONLY);
    let writer = map_for_dom0(&machine, &domain, 8, map::HOST_MAP);
    assert_eq!((reader.status, writer.status), (status::OKAY, status::OKAY));
    assert_eq!(unmap_for_dom0(&machine, writer.handle), status::OKAY);
    assert_eq!(machine.frame(&machine.dom0, Gfn(frame.0)), Some(frame));
    let shown = flags::PERMIT_ACCESS | flags::READING;
    assert_eq!(entry_flags(&machine, &domain, 8), shown);
    assert_eq!(unmap_for_dom0(&machine, reader.handle), status::OKAY);
    assert_eq!(machine.frame(&machine.dom0, Gfn(frame.0)), None);
}

#[test]
fn a_dying_domains_frames_stay_until_they_are_unmapped() {
    let machine = Machine::new(800);
    let before = machine.usage();
    let domain = granter(&machine);
    grant(&machine, &domain, 8, RAM_GFN.0, flags::PERMIT_ACCESS);
    let mapped = map_for_dom0(&machine, &domain, 8, map::HOST_MAP);
    machine.destroy(domain);
    let frame = Mfn(mapped.dev_bus_addr >> 12);
    assert_eq!(machine.frame(&machine.dom0, Gfn(frame.0)), Some(frame));
    assert_eq!(unmap_for_dom0(&machine, mapped.handle), status::OKAY);
    // What is left are Domain-0's own tables: one for handles, and of stage 2.
    let after = machine.usage();
    assert_eq!(after.domains, before.domains);
    assert!(before.free - after.free <= 3, "{before:?} {after:?}");
}

#[test]
fn a_domain_maps_another_where_it_wants_and_lets_go_when_it_dies() {
    let machine = Machine::new(1200);
    let domain = granter(&machine);
    let mapper = machine.domain(8, 1);
    let entry = EntryV1 {
        flags: flags::PERMIT_ACCESS,
        domid: mapper.id,
        frame: u32::try_from(RAM_GFN.0).unwrap(),
    };
    let bytes = zerocopy::IntoBytes::as_bytes(&entry);
    machine
        .hypervisor
        .host
        .write(table(&machine, &domain), 64, bytes);
    let try_map = |host_addr: u64| {
        let mut request = MapGrantRef {
            host_addr,
            flags: map::HOST_MAP,
            reference: 8,
            dom: domain.id,
            ..Default::default()
        };
        let result = machine.call_with(&mapper, CALL, abi::MAP_GRANT_REF, RAM, &mut request);
        assert_eq!(result, Ok(0));
        request.status
    };
    assert_eq!(try_map(RAM), status::BAD_VIRT_ADDR);
    assert_eq!(try_map(0x2000_0004), status::BAD_VIRT_ADDR);
    assert_eq!(try_map(0xFFFF_FFFF_FFFF_F000), status::BAD_VIRT_ADDR);
    assert_eq!(try_map(0x2000_0000), status::OKAY);
    let frame = machine.frame(&domain, RAM_GFN);
    assert_eq!(machine.frame(&mapper, Gfn(0x2_0000)), frame);
    machine.destroy(mapper);
    assert_eq!(entry_flags(&machine, &domain, 8), flags::PERMIT_ACCESS);
}

#[test]
fn setting_the_console_frame_grants_it_to_domain_0() {
    let machine = Machine::new(800);
    let domain = machine.domain(8, 1);
    let request = hvm::Param {
        domid: domain.id,
        index: hvm::param::CONSOLE_PFN,
        value: RAM_GFN.0 + 1,
        ..Default::default()
    };
    let set = |caller: &DomainRef<Fake>, at: u64| {
        machine.write(caller, at, &request);
        machine.call(caller, CallNumber::HVM_OP, &[hvm::SET_PARAM, at])
    };
    assert_eq!(set(&domain, RAM), Err(Errno::EPERM));
    assert_eq!(set(&machine.dom0, machine.dom0_ram), Ok(0));
    let mapped = map_for_dom0(&machine, &domain, CONSOLE_REFERENCE, map::HOST_MAP);
    assert_eq!(mapped.status, status::OKAY);
    let mut own = hvm::Param {
        domid: DomId::SELF,
        index: hvm::param::CONSOLE_PFN,
        ..Default::default()
    };
    let call = CallNumber::HVM_OP;
    let got = machine.call_with(&domain, call, hvm::GET_PARAM, RAM, &mut own);
    assert_eq!((got, own.value), (Ok(0), RAM_GFN.0 + 1));
}

#[test]
fn a_table_grows_on_demand_up_to_its_limit() {
    let machine = Machine::new(800);
    let domain = granter(&machine);
    let add = |index: u64| {
        let mut request = memory::AddToPhysmap {
            domid: DomId::SELF,
            space: u32::from(memory::space::GRANT_TABLE),
            index,
            gpfn: (TABLE >> 12) + index % 100,
            ..Default::default()
        };
        let call = CallNumber::MEMORY_OP;
        machine.call_with(&domain, call, memory::ADD_TO_PHYSMAP, RAM, &mut request)
    };
    let size = || {
        let mut request = QuerySize {
            dom: DomId::SELF,
            ..Default::default()
        };
        let result = machine.call_with(&domain, CALL, abi::QUERY_SIZE, RAM, &mut request);
        assert_eq!((result, request.status), (Ok(0), status::OKAY));
        (request.frames, request.frames_max)
    };
    assert_eq!(size(), (1, FRAMES_MAX));
    assert_eq!(add(3), Ok(0));
    assert_eq!(size(), (4, FRAMES_MAX));
    assert_eq!(add(63), Ok(0));
    for index in [64, memory::GRANT_INDEX_STATUS, u64::MAX] {
        assert_eq!(add(index), Err(Errno::EINVAL));
    }
    // Mapped again elsewhere, a frame leaves its old place.
    let first = table(&machine, &domain);
    let mut request = memory::AddToPhysmap {
        domid: DomId::SELF,
        space: u32::from(memory::space::GRANT_TABLE),
        gpfn: 0x3_9000,
        ..Default::default()
    };
    let call = CallNumber::MEMORY_OP;
    let moved = machine.call_with(&domain, call, memory::ADD_TO_PHYSMAP, RAM, &mut request);
    assert_eq!(moved, Ok(0));
    assert_eq!(machine.frame(&domain, Gfn(0x3_9000)), Some(first));
    assert_eq!(machine.frame(&domain, Gfn(TABLE >> 12)), None);
}

#[test]
fn a_long_batch_gives_way_and_goes_on() {
    let machine = Machine::new(800);
    let domain = granter(&machine);
    grant(&machine, &domain, 8, RAM_GFN.0, flags::PERMIT_ACCESS);
    let request = MapGrantRef {
        flags: map::HOST_MAP,
        reference: 8,
        dom: domain.id,
        status: status::GENERAL_ERROR,
        ..Default::default()
    };
    let at = machine.dom0_ram;
    for index in 0..300 {
        machine.write(&machine.dom0, at + 32 * index, &request);
    }
    let result = machine.call(&machine.dom0, CALL, &[abi::MAP_GRANT_REF, at, 300]);
    assert_eq!(result, Ok(0));
    let handles: std::collections::BTreeSet<u32> = (0..300)
        .map(|index| {
            let mapped: MapGrantRef = machine.read(&machine.dom0, at + 32 * index);
            assert_eq!(mapped.status, status::OKAY);
            mapped.handle
        })
        .collect();
    assert_eq!(handles.len(), 300);
}
