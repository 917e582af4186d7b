//! The smaller calls of the Xen interface, as a guest makes them.

use core::sync::atomic::Ordering;
use std::string::String;
use std::vec::Vec;

use hv_abi::control::domain::ShutdownReason;
use hv_abi::xen::vcpu::RunstateInfo;
use hv_abi::xen::{assist, console, hvm, memory, sched, vcpu, version};
use hv_abi::{CallNumber, DomId, Errno};

use super::After;
use crate::arch::fake::Fake;
use crate::arch::fake::machine::{Machine, RAM, RAM_GFN};
use crate::arch::{Arch, Gfn, Gpa, Mfn};
use crate::domain::DomainRef;
use crate::vcpu::NO_ADDRESS;

fn features(machine: &Machine, domain: &DomainRef<Fake>, at: u64) -> u32 {
    let mut info = version::FeatureInfo::default();
    let call = CallNumber::XEN_VERSION;
    machine
        .call_with(domain, call, version::GET_FEATURES, at, &mut info)
        .unwrap();
    info.submap
}

fn text(machine: &Machine, domain: &DomainRef<Fake>, command: u64) -> String {
    machine
        .call(domain, CallNumber::XEN_VERSION, &[command, RAM])
        .unwrap();
    let bytes: [u8; 16] = machine.read(domain, RAM);
    bytes
        .iter()
        .take_while(|byte| **byte != 0)
        .map(|byte| char::from(*byte))
        .collect()
}

#[test]
fn the_version_is_xens_and_domain_0_is_told_who_it_is() {
    let machine = Machine::new(800);
    let domain = machine.domain(8, 1);
    let call = CallNumber::XEN_VERSION;
    assert_eq!(
        machine.call(&domain, call, &[version::VERSION]),
        Ok(4 << 16 | 17)
    );
    assert_eq!(text(&machine, &domain, version::EXTRAVERSION), "-alcove");
    assert_eq!(
        text(&machine, &domain, version::CAPABILITIES),
        Fake::CAPABILITIES
    );
    let guest = features(&machine, &domain, RAM);
    let dom0 = features(&machine, &machine.dom0, machine.dom0_ram);
    assert_eq!(guest & version::feature::DOM0, 0);
    assert_ne!(guest & version::feature::AUTO_TRANSLATED_PHYSMAP, 0);
    assert_ne!(guest & Fake::FEATURES, 0);
    assert_ne!(dom0 & version::feature::DOM0, 0);
    assert_eq!(machine.call(&domain, call, &[99]), Err(Errno::ENOSYS));
}

#[test]
fn a_balloon_gives_frames_up_and_takes_them_back() {
    let machine = Machine::new(800);
    let domain = machine.domain(100, 1);
    let call = CallNumber::MEMORY_OP;
    let gfns: Vec<u64> = (RAM_GFN.0 + 10..RAM_GFN.0 + 90).collect();
    machine.write(&domain, RAM + 4096, gfns.as_slice());
    let mut request = memory::Reservation {
        extents: RAM + 4096,
        count: 80,
        domid: DomId::SELF,
        ..Default::default()
    };
    let frames = || {
        let mut id = DomId::SELF;
        machine.call_with(&domain, call, memory::CURRENT_RESERVATION, RAM, &mut id)
    };
    let mut op = |command| machine.call_with(&domain, call, command, RAM, &mut request);
    assert_eq!(frames(), Ok(100));
    assert_eq!(
        op(memory::DECREASE_RESERVATION),
        Ok(80),
        "more than one batch"
    );
    assert_eq!(frames(), Ok(20));
    assert_eq!(machine.frame(&domain, Gfn(RAM_GFN.0 + 10)), None);
    assert_eq!(op(memory::DECREASE_RESERVATION), Ok(0), "nothing is there");
    assert_eq!(op(memory::POPULATE_PHYSMAP), Ok(80));
    assert_eq!(op(memory::POPULATE_PHYSMAP), Ok(0), "something is there");
    assert_eq!(frames(), Ok(100));
    let cleared: u64 = machine.read(&domain, RAM + 10 * 4096);
    assert_eq!(cleared, 0);
}

#[test]
fn a_domain_gets_no_more_than_it_was_promised() {
    let machine = Machine::new(800);
    let domain = machine.domain(8, 1);
    let gfns: Vec<u64> = (0x5000..0x5000 + 128).collect();
    machine.write(&domain, RAM + 4096, gfns.as_slice());
    let mut request = memory::Reservation {
        extents: RAM + 4096,
        count: 128,
        domid: DomId::SELF,
        ..Default::default()
    };
    let call = CallNumber::MEMORY_OP;
    let got = machine.call_with(&domain, call, memory::POPULATE_PHYSMAP, RAM, &mut request);
    assert_eq!(got, Ok(hv_abi::control::domain::EXTRA_FRAMES));
    let mut id = DomId::SELF;
    let highest = machine.call_with(&domain, call, memory::MAXIMUM_GPFN, RAM, &mut id);
    assert_eq!(
        highest,
        Ok(0x5000 + hv_abi::control::domain::EXTRA_FRAMES - 1)
    );
    request.order = 9;
    let none = machine.call_with(&domain, call, memory::POPULATE_PHYSMAP, RAM, &mut request);
    assert_eq!(none, Ok(0));
    request.domid = DomId::ZERO;
    let other = machine.call_with(&domain, call, memory::POPULATE_PHYSMAP, RAM, &mut request);
    assert_eq!(other, Err(Errno::EPERM));
}

#[test]
fn a_batch_says_what_became_of_each_element() {
    let machine = Machine::new(800);
    let domain = machine.domain(8, 1);
    machine.write(&domain, RAM + 64, &[0_u64, 1, 64]);
    machine.write(&domain, RAM + 128, &[0x3000_u64, 0x3001, 0x3002]);
    let mut request = memory::AddToPhysmapBatch {
        domid: DomId::SELF,
        space: memory::space::GRANT_TABLE,
        size: 3,
        indices: RAM + 64,
        gpfns: RAM + 128,
        errors: RAM + 192,
        ..Default::default()
    };
    let call = CallNumber::MEMORY_OP;
    let done = machine.call_with(
        &domain,
        call,
        memory::ADD_TO_PHYSMAP_BATCH,
        RAM,
        &mut request,
    );
    assert_eq!(done, Ok(0));
    let errors: [i32; 3] = machine.read(&domain, RAM + 192);
    assert_eq!(errors, [0, 0, -(Errno::EINVAL as i32)]);
    assert!(machine.frame(&domain, Gfn(0x3001)).is_some());
}

#[test]
fn a_special_page_over_ram_frees_the_ram_and_can_be_taken_away() {
    let machine = Machine::new(800);
    let domain = machine.domain(8, 1);
    let before = machine.usage().domains;
    let mut request = memory::AddToPhysmap {
        domid: DomId::SELF,
        gpfn: RAM_GFN.0 + 2,
        ..Default::default()
    };
    let call = CallNumber::MEMORY_OP;
    let placed = machine.call_with(&domain, call, memory::ADD_TO_PHYSMAP, RAM, &mut request);
    assert_eq!(placed, Ok(0));
    assert_eq!(machine.usage().domains, before, "one came, one went");
    assert_eq!(domain.lock().shared_info_gfn, Some(Gfn(RAM_GFN.0 + 2)));
    let mut request = memory::RemoveFromPhysmap {
        domid: DomId::SELF,
        gpfn: RAM_GFN.0 + 2,
        ..Default::default()
    };
    let mut remove = || {
        machine.call_with(
            &domain,
            call,
            memory::REMOVE_FROM_PHYSMAP,
            RAM,
            &mut request,
        )
    };
    assert_eq!(remove(), Ok(0));
    assert_eq!(remove(), Err(Errno::ENOENT));
    assert_eq!(domain.lock().shared_info_gfn, None);
}

#[test]
fn domain_0_sees_special_pages_over_its_own_ram_only() {
    let machine = Machine::new(800);
    let at = machine.dom0_ram;
    let call = CallNumber::MEMORY_OP;
    let add = |gpfn| {
        let mut request = memory::AddToPhysmap {
            domid: DomId::SELF,
            gpfn,
            ..Default::default()
        };
        machine.call_with(
            &machine.dom0,
            call,
            memory::ADD_TO_PHYSMAP,
            at,
            &mut request,
        )
    };
    assert_eq!(add(0x1234), Err(Errno::EINVAL));
    let below = (at >> 12) + 3;
    assert_eq!(add(below), Ok(0));
    let page = machine.dom0.lock().shared_info;
    assert_eq!(machine.frame(&machine.dom0, Gfn(below)), page);
    let memory = machine.hypervisor.memory(&machine.dom0);
    assert!(
        memory.is_own_ram(Mfn(below)),
        "the frame below stays its own"
    );
    assert_eq!(add((at >> 12) + 4), Ok(0), "and the page can move");
}

#[test]
fn a_runstate_area_is_kept_up_to_date() {
    let machine = Machine::new(800);
    let domain = machine.domain(8, 1);
    let area = RAM + 4096 * 2 - 24;
    machine.write(&domain, RAM, &area);
    let register = [vcpu::REGISTER_RUNSTATE_MEMORY_AREA, 0, RAM];
    let call = CallNumber::VCPU_OP;
    assert_eq!(machine.call(&domain, call, &register), Ok(0));
    let flag = [assist::ENABLE, assist::RUNSTATE_UPDATE_FLAG];
    assert_eq!(machine.call(&domain, CallNumber::VM_ASSIST, &flag), Ok(0));
    machine.hypervisor.host.advance(777);
    let slot = domain.vcpu(0).unwrap();
    super::vcpu::publish_runstate(machine.hypervisor, &domain, slot);
    let info: RunstateInfo = machine.read(&domain, area);
    assert_eq!((info.state, info.time[3]), (vcpu::runstate::OFFLINE, 777));
    assert_eq!(info.state_entry_time & vcpu::runstate::UPDATE, 0);
    let got = machine.call(&domain, call, &[vcpu::GET_RUNSTATE_INFO, 0, RAM]);
    assert_eq!(got, Ok(0));
    assert_eq!(machine.read::<RunstateInfo>(&domain, RAM), info);
    assert_eq!(machine.call(&domain, call, &[vcpu::IS_UP, 0]), Ok(1));
    assert_eq!(
        machine.call(&domain, call, &[vcpu::IS_UP, 1]),
        Err(Errno::ENOENT)
    );

    // The area's page goes: the area is forgotten, and nothing else happens.
    let memory = machine.hypervisor.memory(&domain);
    let gone = Gpa(area).gfn();
    memory.unmap(&mut domain.lock(), gone).unwrap();
    super::vcpu::publish_runstate(machine.hypervisor, &domain, slot);
    assert_eq!(slot.runstate_gpa.load(Ordering::Relaxed), NO_ADDRESS);
}

#[test]
fn the_clock_of_a_vcpu_is_copied_where_user_space_reads_it() {
    let machine = Machine::new(800);
    let domain = machine.domain(8, 1);
    let mut request = memory::AddToPhysmap {
        domid: DomId::SELF,
        gpfn: 0x3000,
        ..Default::default()
    };
    let call = CallNumber::MEMORY_OP;
    let placed = machine.call_with(&domain, call, memory::ADD_TO_PHYSMAP, RAM, &mut request);
    assert_eq!(placed, Ok(0));
    let area = RAM + 4096 * 2 - 8;
    let register = |at: u64| {
        machine.write(&domain, RAM, &at);
        let register = [vcpu::REGISTER_VCPU_TIME_MEMORY_AREA, 0, RAM];
        machine.call(&domain, CallNumber::VCPU_OP, &register)
    };
    assert_eq!(register(area), Ok(0));
    let copy: [u8; 32] = machine.read(&domain, area);
    let (version, rest) = copy.split_at(4);
    assert_eq!(version, 2_u32.to_le_bytes(), "even: complete");
    let first = &machine.shared_info(&domain)[Fake::SHARED_INFO.time..][..32];
    assert_eq!(rest, &first[4..]);
    assert_eq!(register(RAM + 8 * 4096), Err(Errno::EFAULT));
    assert_eq!(register(u64::MAX - 8), Err(Errno::EFAULT));
    let slot = domain.vcpu(0).unwrap();
    assert_eq!(slot.clock_gpa.load(Ordering::Relaxed), area);
    let script = domain.platform.script(0);
    script.map(RAM + 2 * 4096, RAM + 5 * 4096, true);
    assert_eq!(register(area), Err(Errno::EINVAL), "in two pieces");
    assert_eq!(register(0), Ok(0));
    assert_eq!(slot.clock_gpa.load(Ordering::Relaxed), NO_ADDRESS);
}

#[test]
fn hints_about_page_tables_are_not_wanted() {
    let machine = Machine::new(800);
    let domain = machine.domain(8, 1);
    let hint = [hvm::PAGETABLE_DYING, RAM];
    let answer = machine.call(&domain, CallNumber::HVM_OP, &hint);
    assert_eq!(answer, Err(Errno::EINVAL));
}

#[test]
fn shutting_down_stops_a_domain_with_its_reason() {
    let machine = Machine::new(800);
    let domain = machine.domain(8, 1);
    let number = CallNumber::SCHED_OP.0;
    let shut = |reason: u32| {
        machine.write(&domain, RAM, &sched::Shutdown { reason });
        machine.call_then(&domain, 0, number, [sched::SHUTDOWN, RAM, 0, 0, 0])
    };
    assert_eq!(shut(77), (Err(Errno::EINVAL), After::Resume));
    assert_eq!(domain.shutdown_reason(), None);
    assert_eq!(shut(1), (Ok(0), After::Yield));
    assert_eq!(domain.shutdown_reason(), Some(ShutdownReason::REBOOT));
    let yielded = machine.call_then(&domain, 0, number, [sched::YIELD, 0, 0, 0, 0]);
    assert_eq!(yielded, (Ok(0), After::Yield));
    let remote = sched::RemoteShutdown::default();
    machine.write(&domain, RAM, &remote);
    let refused = machine.call(
        &domain,
        CallNumber::SCHED_OP,
        &[sched::REMOTE_SHUTDOWN, RAM],
    );
    assert_eq!(refused, Err(Errno::EPERM));
}

#[test]
fn timers_count_in_the_guests_time() {
    let machine = Machine::new(800);
    machine.hypervisor.host.advance(1_000_000);
    let domain = machine.domain(8, 2);
    let timer = || {
        domain
            .vcpu(0)
            .unwrap()
            .singleshot_ns
            .load(Ordering::Relaxed)
    };
    let now = machine.hypervisor.now_ns();
    let set = machine.call(&domain, CallNumber::SET_TIMER_OP, &[5_000]);
    assert_eq!((set, timer()), (Ok(0), now + 5_000));
    let call = CallNumber::VCPU_OP;
    let stop = [vcpu::STOP_SINGLESHOT_TIMER, 0];
    assert_eq!(machine.call(&domain, call, &stop), Ok(0));
    assert_eq!(timer(), crate::time::NEVER);
    machine.hypervisor.host.advance(100);
    let late = vcpu::SetSingleshotTimer {
        timeout_abs_ns: 50,
        flags: 1,
        reserved: 0,
    };
    machine.write(&domain, RAM, &late);
    let set = |vcpu| machine.call(&domain, call, &[vcpu::SET_SINGLESHOT_TIMER, vcpu, RAM]);
    assert_eq!(set(0), Err(Errno::ETIME));
    assert_eq!(set(1), Err(Errno::EINVAL), "another vCPU's");
}

#[test]
fn parameters_are_domain_0s_to_set() {
    let machine = Machine::new(800);
    let domain = machine.domain(8, 1);
    let set = |index, domid| {
        let mut request = hvm::Param {
            domid,
            index,
            value: 5,
            ..Default::default()
        };
        machine.call_with(
            &domain,
            CallNumber::HVM_OP,
            hvm::SET_PARAM,
            RAM,
            &mut request,
        )
    };
    assert_eq!(set(hvm::param::CALLBACK_IRQ, DomId::SELF), Ok(0));
    assert_eq!(
        set(hvm::param::STORE_EVTCHN, DomId::SELF),
        Err(Errno::EPERM)
    );
    assert_eq!(
        set(hvm::param::CALLBACK_IRQ, DomId::ZERO),
        Err(Errno::EPERM)
    );
    let mut request = hvm::Param {
        domid: DomId::SELF,
        index: hvm::param::COUNT,
        ..Default::default()
    };
    let call = CallNumber::HVM_OP;
    let got = machine.call_with(&domain, call, hvm::GET_PARAM, RAM, &mut request);
    assert_eq!(got, Err(Errno::EINVAL));
}

#[test]
fn domain_0_writes_to_the_console_and_others_to_the_log() {
    let machine = Machine::new(800);
    let domain = machine.domain(8, 1);
    let call = CallNumber::CONSOLE_IO;
    let _before = machine.hypervisor.host.take_console();
    machine.write(&machine.dom0, machine.dom0_ram, b"hello\n");
    let args = [console::WRITE, 6, machine.dom0_ram];
    assert_eq!(machine.call(&machine.dom0, call, &args), Ok(6));
    assert_eq!(machine.hypervisor.host.take_console(), "hello\n");
    machine.write(&domain, RAM, b"hello\n");
    assert_eq!(
        machine.call(&domain, call, &[console::WRITE, 6, RAM]),
        Ok(6)
    );
    let beyond = [console::WRITE, u64::MAX, RAM + 7 * 4096 + 4000];
    assert_eq!(machine.call(&domain, call, &beyond), Err(Errno::EFAULT));
    assert_eq!(
        machine.call(&domain, call, &[console::READ, 1, RAM]),
        Err(Errno::EPERM)
    );
}
