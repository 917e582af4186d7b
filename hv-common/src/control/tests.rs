use std::vec;

use hv_abi::control::domain::{self as domains, BLOB_MAX, CreateDomain, DomainInfo, DomainKind};
use hv_abi::control::host::{self, HostInfo, LogWindow, Sample};
use hv_abi::control::memory::{self, Copy, Extent};
use hv_abi::control::vcpu::{self, StartContext, VcpuInfo};
use hv_abi::control::{COPY_MAX, VERSION};
use hv_abi::{CallNumber, DomId, Errno, FRAME_SIZE};

use crate::arch::fake::machine::Machine;
use crate::arch::{Gfn, Host};

/// Frames of the machine, and of the domain that tests make.
const FRAMES: usize = 4096;
const RAM: u64 = 1200;
const BASE: u64 = 0x4_0000;

/// Where Domain-0 keeps arguments and buffers.
struct Dom0 {
    machine: Machine,
    argument: u64,
    buffer: u64,
}

fn dom0() -> Dom0 {
    let machine = Machine::new(FRAMES);
    let argument = machine.dom0_ram;
    let buffer = argument + 2 * FRAME_SIZE as u64;
    Dom0 {
        machine,
        argument,
        buffer,
    }
}

impl Dom0 {
    fn create(&self) -> DomId {
        let mut request = CreateDomain {
            uuid: [7; 16],
            vcpus: 2,
            frames_max: RAM,
            ..CreateDomain::default()
        };
        let id = self.create_from(&mut request).expect("room");
        DomId(u16::try_from(id).expect("a domid"))
    }

    fn create_from(&self, request: &mut CreateDomain) -> Result<u64, Errno> {
        let (machine, at) = (&self.machine, self.argument);
        machine.call_with(
            &machine.dom0,
            CallNumber::CONTROL_DOMAIN,
            domains::CREATE,
            at,
            request,
        )
    }

    fn domain(&self, operation: u64, id: DomId) -> Result<u64, Errno> {
        let number = CallNumber::CONTROL_DOMAIN;
        self.machine
            .call(&self.machine.dom0, number, &[operation, u64::from(id.0)])
    }

    fn memory(
        &self,
        operation: u64,
        domid: DomId,
        gfn: u64,
        count: u64,
    ) -> Result<(u64, Extent), Errno> {
        let mut extent = Extent {
            domid,
            gfn,
            count,
            ..Extent::default()
        };
        let (machine, number) = (&self.machine, CallNumber::CONTROL_MEMORY);
        let result =
            machine.call_with(&machine.dom0, number, operation, self.argument, &mut extent)?;
        Ok((result, extent))
    }

    /// Repeats a call until it has done all.
    fn all(&self, operation: u64, id: DomId, gfn: u64, count: u64) {
        let mut done = 0;
        while done < count {
            let (step, _) = self
                .memory(operation, id, gfn + done, count - done)
                .expect("some of it");
            assert!((1..=count - done).contains(&step));
            done += step;
        }
    }

    fn copy(&self, operation: u64, domid: DomId, gpa: u64, length: usize) -> Result<u64, Errno> {
        let mut copy = Copy {
            domid,
            gpa,
            buffer: self.buffer,
            length: length as u64,
            ..Copy::default()
        };
        let (machine, number) = (&self.machine, CallNumber::CONTROL_MEMORY);
        machine.call_with(&machine.dom0, number, operation, self.argument, &mut copy)
    }

    fn info(&self, id: DomId) -> DomainInfo {
        let args = [domains::LIST, u64::from(id.0), self.buffer, 1];
        let number = CallNumber::CONTROL_DOMAIN;
        let written = self.machine.call(&self.machine.dom0, number, &args);
        assert_eq!(written, Ok(1));
        self.machine.read(&self.machine.dom0, self.buffer)
    }

    fn set_context(&self, id: DomId, vcpu: u64) -> Result<u64, Errno> {
        let context = StartContext {
            entry: 0x4008_0000,
            argument: 3,
        };
        self.machine
            .write(&self.machine.dom0, self.argument, &context);
        let length = size_of::<StartContext>() as u64;
        let args = [
            vcpu::SET_CONTEXT,
            u64::from(id.0),
            vcpu,
            self.argument,
            length,
        ];
        self.machine
            .call(&self.machine.dom0, CallNumber::CONTROL_VCPU, &args)
    }

    fn destroy(&self, id: DomId) {
        while self.domain(domains::DESTROY, id) == Ok(1) {}
        assert_eq!(self.domain(domains::DESTROY, id), Err(Errno::ESRCH));
    }
}

#[test]
fn only_domain_0_may() {
    let dom0 = dom0();
    let guest = dom0.machine.domain(4, 1);
    for number in 48..=52 {
        let result = dom0.machine.call(&guest, CallNumber(number), &[0]);
        assert_eq!(result, Err(Errno::EPERM));
    }
    let number = CallNumber::CONTROL_HOST;
    let version = dom0
        .machine
        .call(&dom0.machine.dom0, number, &[host::VERSION]);
    assert_eq!(version, Ok(VERSION));
}

#[test]
fn a_domain_is_built_started_and_taken_away_without_a_trace() {
    let dom0 = dom0();
    let before = dom0.machine.usage();
    let id = dom0.create();
    assert_eq!(dom0.domain(domains::UNPAUSE, id), Err(Errno::EINVAL));
    dom0.all(memory::POPULATE, id, BASE, RAM);
    assert_eq!(dom0.set_context(id, 0), Ok(0));
    assert_eq!(dom0.domain(domains::UNPAUSE, id), Err(Errno::EBUSY));
    assert_eq!(dom0.info(id).frames_uncleared, RAM);
    dom0.all(memory::CLEAR, id, BASE, RAM);
    assert_eq!(dom0.domain(domains::UNPAUSE, id), Ok(0));
    let info = dom0.info(id);
    assert_eq!((info.domid, info.uuid, info.frames), (id, [7; 16], RAM));
    assert_eq!((info.vcpus, info.vcpus_online), (2, 1));
    assert_eq!(info.state, domains::state::RUNNABLE);
    assert_eq!(dom0.set_context(id, 1), Err(Errno::EBUSY), "it has started");
    let late = dom0.memory(memory::POPULATE, id, 0x9_0000, 1);
    assert_eq!(late.map(|_| ()), Err(Errno::EBUSY));
    assert_eq!(dom0.domain(domains::PAUSE, id), Ok(0));
    let paused = dom0.info(id).state & domains::state::PAUSED;
    assert_eq!(paused, domains::state::PAUSED);
    dom0.destroy(id);
    assert_eq!(dom0.machine.usage(), before);
}

#[test]
fn what_cannot_be_promised_is_not_built() {
    let dom0 = dom0();
    let before = dom0.machine.usage();
    let good = CreateDomain {
        vcpus: 1,
        frames_max: RAM,
        ..CreateDomain::default()
    };
    let too_large = CreateDomain {
        frames_max: FRAMES as u64,
        ..good
    };
    assert_eq!(dom0.create_from(&mut { too_large }), Err(Errno::ENOMEM));
    for bad in [
        CreateDomain { vcpus: 0, ..good },
        CreateDomain { vcpus: 17, ..good },
        CreateDomain {
            frames_max: u64::MAX,
            ..good
        },
        CreateDomain {
            kind: DomainKind(9),
            ..good
        },
        CreateDomain {
            guest_domid: DomId::SELF,
            ..good
        },
        CreateDomain {
            reserved: [0, 1, 0],
            ..good
        },
    ] {
        assert_eq!(
            dom0.create_from(&mut { bad }),
            Err(Errno::EINVAL),
            "{bad:?}"
        );
    }
    assert_eq!(dom0.machine.usage(), before);
    let number = CallNumber::CONTROL_DOMAIN;
    let unmapped = dom0
        .machine
        .call(&dom0.machine.dom0, number, &[domains::CREATE, 1 << 50]);
    assert_eq!(unmapped, Err(Errno::EFAULT));
}

#[test]
fn two_domains_share_what_is_promised_to_them_only() {
    let dom0 = dom0();
    let (first, second) = (dom0.create(), dom0.create());
    let third = dom0.create_from(&mut CreateDomain {
        vcpus: 1,
        frames_max: RAM,
        ..CreateDomain::default()
    });
    assert_eq!(third, Err(Errno::ENOMEM), "promised, though not populated");
    dom0.all(memory::POPULATE, first, BASE, RAM);
    dom0.all(memory::POPULATE, second, BASE, RAM);
    dom0.destroy(first);
    assert_ne!(dom0.create(), first, "numbers are not used again soon");
}

#[test]
fn no_byte_of_a_former_owner_is_ever_seen() {
    let dom0 = dom0();
    let (machine, id) = (&dom0.machine, dom0.create());
    dom0.all(memory::POPULATE, id, BASE, 4);
    let domain = machine.hypervisor.domain(id).expect("made");
    let host = machine.hypervisor.host;
    for gfn in BASE..BASE + 4 {
        let frame = machine.frame(&domain, Gfn(gfn)).expect("populated");
        host.write(frame, 0, &[0xEE; FRAME_SIZE]);
    }
    machine.write(
        &machine.dom0,
        dom0.buffer,
        &vec![0x11_u8; 2 * FRAME_SIZE][..],
    );
    // All of one frame, a part of the next: the rest of that is zero, not what was there.
    let gpa = BASE << 12;
    assert_eq!(
        dom0.copy(memory::COPY_TO, id, gpa, FRAME_SIZE + 100),
        Ok(4196)
    );
    assert_eq!(dom0.info(id).frames_uncleared, 2);
    let bytes = |gfn| {
        let frame = machine.frame(&domain, Gfn(gfn)).expect("populated");
        let mut bytes = [0; FRAME_SIZE];
        host.read(frame, 0, &mut bytes);
        bytes
    };
    assert!(bytes(BASE).iter().all(|byte| *byte == 0x11));
    let (written, rest) = (&bytes(BASE + 1)[..100], &bytes(BASE + 1)[100..]);
    assert!(written.iter().all(|byte| *byte == 0x11) && rest.iter().all(|byte| *byte == 0));
    // Reading what was never written gives zero, too.
    assert_eq!(dom0.copy(memory::COPY_FROM, id, gpa + 0x2000, 16), Ok(16));
    let read: [u8; 16] = machine.read(&machine.dom0, dom0.buffer);
    assert_eq!(read, [0; 16]);
    dom0.all(memory::CLEAR, id, BASE, 4);
    assert!(bytes(BASE + 3).iter().all(|byte| *byte == 0));
    assert_eq!(bytes(BASE)[0], 0x11, "what was written stays");
}

#[test]
fn copies_are_bounded_and_stay_within_ram() {
    let dom0 = dom0();
    let id = dom0.create();
    dom0.all(memory::POPULATE, id, BASE, 1);
    let gpa = BASE << 12;
    for operation in [memory::COPY_TO, memory::COPY_FROM] {
        let copy = |id, gpa, length| dom0.copy(operation, id, gpa, length);
        assert_eq!(copy(id, gpa, COPY_MAX + 1), Err(Errno::E2BIG));
        assert_eq!(copy(id, gpa + 4090, 7), Err(Errno::EFAULT));
        assert_eq!(copy(id, u64::MAX - 2, 8), Err(Errno::EFAULT));
        assert_eq!(copy(DomId(99), gpa, 1), Err(Errno::ESRCH));
        assert_eq!(copy(DomId::ZERO, gpa, 1), Err(Errno::EINVAL));
        assert_eq!(copy(id, gpa + 4090, 6), Ok(6));
    }
}

#[test]
fn extents_are_found_in_order_and_joined() {
    let dom0 = dom0();
    let id = dom0.create();
    dom0.all(memory::POPULATE, id, BASE + 3, 700);
    dom0.all(memory::POPULATE, id, 0x8_0000, 2);
    let next = |gfn, count| {
        let (found, extent) = dom0
            .memory(memory::NEXT_EXTENT, id, gfn, count)
            .expect("a domain");
        (found == 1).then_some((extent.gfn, extent.count))
    };
    assert_eq!(next(0, 5), Some((BASE + 3, 5)));
    let mut at = 0;
    let mut seen = vec![];
    while let Some((gfn, count)) = next(at, 0) {
        seen.extend(gfn..gfn + count);
        at = gfn + count;
    }
    let expected: std::vec::Vec<u64> = (BASE + 3..BASE + 703).chain([0x8_0000, 0x8_0001]).collect();
    assert_eq!(seen, expected);
    let overlapping = dom0.memory(memory::POPULATE, id, BASE, 4);
    assert_eq!(overlapping.map(|_| ()), Err(Errno::EEXIST));
    assert_eq!(dom0.info(id).frames, 702, "nothing was added");
    let taken = dom0.memory(memory::POPULATE, id, BASE + 3, 4);
    assert_eq!(taken.map(|_| ()), Err(Errno::EEXIST));
}

#[test]
fn ram_beyond_the_limit_is_refused() {
    let dom0 = dom0();
    let id = dom0.create();
    dom0.all(memory::POPULATE, id, BASE, RAM + domains::EXTRA_FRAMES);
    let more = dom0.memory(memory::POPULATE, id, 0x9_0000, 1);
    assert_eq!(more.map(|_| ()), Err(Errno::ENOMEM));
    let beyond = dom0.memory(memory::POPULATE, id, u64::MAX - 1, 4);
    assert_eq!(beyond.map(|_| ()), Err(Errno::EINVAL));
}

#[test]
fn xends_record_stays_with_its_domain() {
    let dom0 = dom0();
    let (machine, id) = (&dom0.machine, dom0.create());
    let number = CallNumber::CONTROL_DOMAIN;
    let blob = |operation, length| {
        let args = [operation, u64::from(id.0), dom0.buffer, length];
        machine.call(&machine.dom0, number, &args)
    };
    assert_eq!(blob(domains::GET_BLOB, 100), Ok(0));
    machine.write(&machine.dom0, dom0.buffer, b"record");
    assert_eq!(blob(domains::SET_BLOB, 6), Ok(0));
    machine.write(&machine.dom0, dom0.buffer, b"......");
    assert_eq!(blob(domains::GET_BLOB, 3), Ok(6), "its whole length");
    let read: [u8; 6] = machine.read(&machine.dom0, dom0.buffer);
    assert_eq!(&read, b"rec...");
    assert_eq!(
        blob(domains::SET_BLOB, BLOB_MAX as u64 + 1),
        Err(Errno::E2BIG)
    );
    assert_eq!(blob(domains::SET_BLOB, BLOB_MAX as u64), Ok(0));
}

#[test]
fn claimed_frames_are_domain_0s_until_released() {
    let dom0 = dom0();
    let (machine, number) = (&dom0.machine, CallNumber::CONTROL_HOST);
    let before = machine.usage();
    let call = |args: &[u64]| machine.call(&machine.dom0, number, args);
    assert_eq!(call(&[host::CLAIM, 10]), Err(Errno::EINVAL));
    let block = call(&[host::CLAIM, 9]).expect("2 MiB");
    let page = call(&[host::CLAIM, 0]).expect("4 KiB");
    assert_eq!(machine.usage().store, 513);
    machine.write(&machine.dom0, (block << 12) + 5000, b"data");
    assert_eq!(call(&[host::RELEASE, block, 10]), Err(Errno::EINVAL));
    assert_eq!(call(&[host::RELEASE, block + 1, 9]), Err(Errno::EINVAL));
    assert_eq!(
        call(&[host::RELEASE, machine.dom0_ram >> 12, 0]),
        Err(Errno::EINVAL)
    );
    assert_eq!(call(&[host::RELEASE, page, 0]), Ok(0));
    assert_eq!(call(&[host::RELEASE, page, 0]), Err(Errno::EINVAL));
    assert_eq!(call(&[host::RELEASE, block, 9]), Ok(0));
    assert_eq!(machine.frame(&machine.dom0, Gfn(block)), None);
    let after = machine.usage();
    assert_eq!((after.store, after.domains), (0, before.domains));
    let mut claimed = 0;
    while call(&[host::CLAIM, 5]).is_ok() {
        claimed += 1;
    }
    assert!(claimed > 90, "all but fragments: {claimed}");
}

#[test]
fn facts_of_the_host_add_up() {
    let dom0 = dom0();
    let (machine, number) = (&dom0.machine, CallNumber::CONTROL_HOST);
    let id = dom0.create();
    dom0.all(memory::POPULATE, id, BASE, 100);
    let done = machine.call(&machine.dom0, number, &[host::INFO, dom0.buffer]);
    assert_eq!(done, Ok(0));
    let info: HostInfo = machine.read(&machine.dom0, dom0.buffer);
    let parts = info.free_kib
        + info.hypervisor_kib
        + info.dom0_kib
        + info.boot_kib
        + info.store_kib
        + info.domains_kib;
    assert_eq!((parts, info.total_kib), (info.total_kib, FRAMES as u64 * 4));
    assert_eq!((info.domains, info.domains_kib), (2, 400));
    let wrong = machine.call(
        &machine.dom0,
        number,
        &[host::SET_WALL_CLOCK, 5, 1_000_000_000],
    );
    assert_eq!(wrong, Err(Errno::EINVAL));
}

#[test]
fn a_sample_shows_host_and_domains_at_one_moment() {
    let dom0 = dom0();
    let id = dom0.create();
    dom0.all(memory::POPULATE, id, BASE, 100);
    let (machine, number) = (&dom0.machine, CallNumber::CONTROL_HOST);
    let ask = |sample: &mut Sample| {
        machine.call_with(&machine.dom0, number, host::SAMPLE, dom0.argument, sample)
    };
    let whole = Sample {
        buffer: dom0.buffer,
        capacity: 64,
        ..Sample::default()
    };
    let mut sample = whole;
    assert_eq!(ask(&mut sample), Ok(0), "nothing is left");
    assert_eq!((sample.count, sample.host.domains), (2, 2));
    let domains: [DomainInfo; 2] = machine.read(&machine.dom0, dom0.buffer);
    assert_eq!(domains.map(|domain| domain.domid), [DomId::ZERO, id]);
    assert_eq!((domains[1].frames, domains[1].vcpus), (100, 2));
    assert_eq!(sample.host.domains_kib, 400);
    let listed = dom0.info(id);
    assert_eq!(
        (listed.created_ns, listed.uuid),
        (domains[1].created_ns, [7; 16])
    );

    let mut piece = Sample {
        capacity: 1,
        ..whole
    };
    assert_eq!(
        (ask(&mut piece), piece.count),
        (Ok(1), 1),
        "the second is left"
    );
    assert_eq!((ask(&mut piece), piece.count), (Ok(0), 1));
    let second: DomainInfo = machine.read(&machine.dom0, dom0.buffer);
    assert_eq!(second.domid, id);
    for (cursor, buffer, result) in [
        (u64::MAX, dom0.buffer, Ok(0)),
        (0, 1 << 50, Err(Errno::EFAULT)),
        (0, u64::MAX - 7, Err(Errno::EFAULT)),
    ] {
        let mut odd = Sample {
            cursor,
            buffer,
            ..whole
        };
        assert_eq!(ask(&mut odd), result, "{cursor:#x} {buffer:#x}");
    }
}

#[test]
fn the_log_is_read_from_a_position_on() {
    let dom0 = dom0();
    let machine = &dom0.machine;
    crate::log::append(b"a line that is looked for\n");
    let mut window = LogWindow {
        buffer: dom0.buffer,
        capacity: 2 * FRAME_SIZE as u64,
        ..LogWindow::default()
    };
    let number = CallNumber::CONTROL_HOST;
    let read = machine
        .call_with(
            &machine.dom0,
            number,
            host::LOG_READ,
            dom0.argument,
            &mut window,
        )
        .expect("text");
    assert!(read > 0 && window.cursor >= read);
    window.buffer = 1 << 50;
    window.cursor = 0;
    let unmapped = machine.call_with(
        &machine.dom0,
        number,
        host::LOG_READ,
        dom0.argument,
        &mut window,
    );
    assert_eq!(unmapped, Err(Errno::EFAULT));
}

#[test]
fn a_vcpu_tells_about_itself() {
    let dom0 = dom0();
    let (machine, id) = (&dom0.machine, dom0.create());
    assert_eq!(dom0.set_context(id, 0), Ok(0));
    assert_eq!(dom0.set_context(id, 2), Err(Errno::EINVAL));
    assert_eq!(dom0.set_context(DomId::ZERO, 0), Err(Errno::EINVAL));
    let length = size_of::<VcpuInfo>() as u64;
    let args = [vcpu::INFO, u64::from(id.0), 0, dom0.buffer, length];
    let done = machine.call(&machine.dom0, CallNumber::CONTROL_VCPU, &args);
    assert_eq!(done, Ok(0));
    let info: VcpuInfo = machine.read(&machine.dom0, dom0.buffer);
    assert_eq!(info.state, domains::state::RUNNABLE);
    let short = [vcpu::INFO, u64::from(id.0), 0, dom0.buffer, 8];
    let refused = machine.call(&machine.dom0, CallNumber::CONTROL_VCPU, &short);
    assert_eq!(refused, Err(Errno::EINVAL));
}

/// A snapshot says how long its vCPUs ran, and may say anything.
#[test]
fn times_of_a_hostile_snapshot_do_not_overflow() {
    let dom0 = dom0();
    let id = dom0.create();
    let domain = dom0.machine.hypervisor.domain(id).expect("it was made");
    for slot in &domain.vcpus {
        slot.runstate.set_times([u64::MAX; 4]);
    }
    assert_eq!(domain.vcpus.len(), 2);
    let usage = dom0.info(id).usage;
    assert_eq!((usage.cpu_ns, usage.blocked_ns), (u64::MAX, u64::MAX));
}

#[test]
fn domain_0_cannot_end_or_pause_itself_by_mistake() {
    let dom0 = dom0();
    for operation in [domains::DESTROY, domains::PAUSE, domains::UNPAUSE] {
        assert_eq!(dom0.domain(operation, DomId::ZERO), Err(Errno::EINVAL));
        assert_eq!(dom0.domain(operation, DomId(77)), Err(Errno::ESRCH));
    }
}
