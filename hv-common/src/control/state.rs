//! Save and restore: the records of a domain.
//!
//! # Saving
//! The records are numbered by section (`Section`) and place in it; a cursor is both. Each is written straight into
//! the caller's buffer. The domain is paused and off all CPUs, so nothing changes between two calls but time.
//!
//! # Restoring
//! Records come in the order they were saved in, after the domain's memory: what they point at must be RAM. Everything
//! is checked by [`super::record`] first. A vCPU that waited is restored as ready: every wait may end early, and what it
//! waits for is looked at again by whoever waits.
//!
//! # Time
//! The guest's counter goes on from where it was when the domain's record was read.

use core::sync::atomic::Ordering;

use hv_abi::control::domain::DomainKind;
use hv_abi::control::state::{RESTORE, SAVE, StateWindow};
use hv_abi::record::{self, Grants, Header, Kind, NO_FRAME};
use hv_abi::xen::hvm::param;
use hv_abi::{DomId, Errno, FRAME_SHIFT, FRAME_SIZE};
use zerocopy::{FromBytes, IntoBytes};

use super::record as check;
use crate::arch::{Arch, Gfn, Gpa, Host, Platform, RecordSink, Vcpu};
use crate::device;
use crate::domain::{Domain, DomainRef};
use crate::event::{self, Entry, POLL_OVER};
use crate::grant;
use crate::hypercall::memory::place_shared_info;
use crate::hypercall::{self, CallContext, Outcome};
use crate::hypervisor::Hypervisor;
use crate::memory::stage2::Stage2;
use crate::vcpu::{Activity, NO_ADDRESS, NOT_POLLING, VcpuSlot};
use crate::{sched, time};

/// Ports in one record.
const EVENTS_PER_RECORD: usize = 64;
/// Bytes of a body at most.
const BODY_MAX: usize = 5120;
const _: () = assert!(size_of::<record::Domain>() <= BODY_MAX);
const _: () = assert!(size_of::<Grants>() <= BODY_MAX);
const _: () = assert!(BODY_MAX + size_of::<Header>() <= hv_abi::control::state::RECORD_MAX);

/// Serves the call.
pub fn call<A: Arch>(context: &mut CallContext<'_, A>, args: &[u64; 5]) -> Outcome {
    let [operation, first, second, third, _] = *args;
    let result = match operation {
        SAVE => save(context, first),
        RESTORE => restore(context, first, second, third),
        _ => Err(Errno::ENOSYS),
    };
    Outcome::Done(result)
}

/// A domain that is not Domain-0, nor dying.
fn target<A: Arch>(context: &CallContext<'_, A>, id: DomId) -> Result<DomainRef<A>, Errno> {
    let domain = context.hypervisor.domain(id).ok_or(Errno::ESRCH)?;
    if domain.is_dom0() {
        return Err(Errno::EINVAL);
    }
    if domain.is_dying() {
        return Err(Errno::ESRCH);
    }
    if domain.held() == 0 || domain.is_on_cpu() {
        return Err(Errno::EBUSY);
    }
    Ok(domain)
}

// --------------------------------------------------------------------------------------------------------- saving

/// Groups of records, in their order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Section {
    Domain,
    Requirements,
    Events,
    Grants,
    Platform,
    /// After the interrupt controller: a device sets its lines anew.
    Devices,
    Clocks,
    Vcpu(u32),
}

const VCPU_SECTION: u64 = 7;

impl Section {
    fn from_number(number: u64) -> Result<Self, Errno> {
        Ok(match number {
            0 => Self::Domain,
            1 => Self::Requirements,
            2 => Self::Events,
            3 => Self::Grants,
            4 => Self::Platform,
            5 => Self::Devices,
            6 => Self::Clocks,
            number => {
                let vcpu = u32::try_from(number - VCPU_SECTION);
                Self::Vcpu(vcpu.map_err(|_| Errno::EINVAL)?)
            }
        })
    }
}

/// Where the next record comes from: section and place.
#[derive(Clone, Copy)]
struct Cursor {
    section: u64,
    nth: u32,
}

impl Cursor {
    #[allow(clippy::cast_possible_truncation, reason = "the lower half")]
    const fn from_number(number: u64) -> Self {
        Self {
            section: number >> 32,
            nth: number as u32,
        }
    }

    fn to_number(self) -> u64 {
        self.section << 32 | u64::from(self.nth)
    }
}

/// The caller's buffer.
struct Buffer<'c, 'a, A: Arch> {
    context: &'c CallContext<'a, A>,
    at: u64,
    left: u64,
    used: u64,
    refused: Option<Errno>,
}

impl<A: Arch> Buffer<'_, '_, A> {
    fn write(&mut self, kind: Kind, vcpu: u32, body: &[u8]) -> Result<(), Errno> {
        let length = body.len() as u64;
        let padded = length.next_multiple_of(8);
        let whole = padded + size_of::<Header>() as u64;
        if whole > self.left {
            return Err(Errno::E2BIG);
        }
        let header = Header {
            kind,
            version: check::VERSION,
            vcpu,
            length,
        };
        let body_at = self.at.checked_add(size_of::<Header>() as u64);
        let body_at = body_at.ok_or(Errno::EFAULT)?;
        let end = self.at.checked_add(whole).ok_or(Errno::EFAULT)?;
        self.context.write_bytes(self.at, header.as_bytes())?;
        self.context.write_bytes(body_at, body)?;
        let padding = [0; 8];
        let padding = padding.get(..body.len().next_multiple_of(8) - body.len());
        self.context
            .write_bytes(end - (padded - length), padding.unwrap_or_default())?;
        self.at = end;
        self.left -= whole;
        self.used += whole;
        Ok(())
    }
}

impl<A: Arch> RecordSink for Buffer<'_, '_, A> {
    fn put(&mut self, kind: Kind, vcpu: u32, body: &[u8]) -> bool {
        let written = self.write(kind, vcpu, body);
        self.refused = written.err();
        written.is_ok()
    }
}

fn save<A: Arch>(context: &CallContext<'_, A>, window_at: u64) -> Result<u64, Errno> {
    let mut window: StateWindow = context.copy_in(window_at)?;
    let domain = target(context, window.domid)?;
    let mut cursor = Cursor::from_number(window.cursor);
    let mut buffer = Buffer {
        context,
        at: window.buffer,
        left: window.capacity,
        used: 0,
        refused: None,
    };
    let more = fill(context, &domain, &mut cursor, &mut buffer)?;
    window.cursor = cursor.to_number();
    window.length = buffer.used;
    context.copy_out(window_at, &window)?;
    Ok(u64::from(more))
}

/// Writes records from the cursor on until the buffer is full or one call has done enough. Returns whether there are
/// more.
fn fill<A: Arch>(
    context: &CallContext<'_, A>,
    domain: &Domain<A>,
    cursor: &mut Cursor,
    buffer: &mut Buffer<'_, '_, A>,
) -> Result<bool, Errno> {
    for done in 0.. {
        if cursor.section >= VCPU_SECTION + domain.vcpus.len() as u64 {
            return Ok(false);
        }
        if context.should_stop(done) {
            break;
        }
        let found = put_record(context.hypervisor, domain, *cursor, buffer)?;
        match buffer.refused {
            Some(Errno::E2BIG) if buffer.used > 0 => break,
            Some(errno) => return Err(errno),
            None if found => cursor.nth = cursor.nth.saturating_add(1),
            None => {
                cursor.section += 1;
                cursor.nth = 0;
            }
        }
    }
    Ok(true)
}

/// Writes the record at the cursor. `false`: the section has no more.
fn put_record<A: Arch>(
    hypervisor: &Hypervisor<A>,
    domain: &Domain<A>,
    cursor: Cursor,
    out: &mut Buffer<'_, '_, A>,
) -> Result<bool, Errno> {
    let nth = cursor.nth as usize;
    Ok(match Section::from_number(cursor.section)? {
        Section::Domain => nth == 0 && put_domain(hypervisor, domain, out),
        Section::Requirements => nth == 0 && put_requirements(hypervisor, domain, out),
        Section::Events => put_events(hypervisor, domain, nth, out),
        Section::Grants => put_grants(hypervisor, domain, cursor.nth, out),
        Section::Platform => domain.platform.save(nth, out).is_some(),
        Section::Devices => put_device(domain, nth, out),
        Section::Clocks => put_clock(domain, nth, out),
        Section::Vcpu(index) => {
            let slot = domain.vcpu(index).ok_or(Errno::EINVAL)?;
            match nth.checked_sub(1) {
                None => put_vcpu(hypervisor, domain, slot, out),
                Some(nth) => {
                    let registers = slot.registers().ok_or(Errno::EBUSY)?;
                    registers.save(&domain.platform, nth, out).is_some()
                }
            }
        }
    })
}

fn put_domain<A: Arch>(
    hypervisor: &Hypervisor<A>,
    domain: &Domain<A>,
    out: &mut dyn RecordSink,
) -> bool {
    let state = domain.lock();
    let mut saved = record::Domain {
        shared_info_gfn: state.shared_info_gfn.map_or(NO_FRAME, |gfn| gfn.0),
        assists: state.assists,
        guest_counter: domain.platform.guest_counter(hypervisor.host),
        system_time_ns: time::system_time_ns(hypervisor, domain),
        params: state.params,
        shared_info: [0; FRAME_SIZE],
    };
    if let Some(page) = state.shared_info {
        hypervisor.host.read(page, 0, &mut saved.shared_info);
    }
    drop(state);
    let _fitted = out.put(Kind::DOMAIN, 0, saved.as_bytes());
    true
}

fn put_requirements<A: Arch>(
    hypervisor: &Hypervisor<A>,
    domain: &Domain<A>,
    out: &mut dyn RecordSink,
) -> bool {
    let saved = domain.platform.requirements(hypervisor.host);
    let _fitted = out.put(Kind::PLATFORM, 0, saved.as_bytes());
    true
}

fn put_device<A: Arch>(domain: &Domain<A>, nth: usize, out: &mut dyn RecordSink) -> bool {
    if domain.kind != DomainKind::HVM {
        return false;
    }
    let _fitted = match nth {
        0 => out.put(Kind::PL011, 0, device::save_uart(domain).as_bytes()),
        1 => out.put(Kind::PL031, 0, device::save_rtc(domain).as_bytes()),
        _ => return false,
    };
    true
}

fn put_clock<A: Arch>(domain: &Domain<A>, nth: usize, out: &mut dyn RecordSink) -> bool {
    let mut kept = domain.vcpus.iter().filter_map(|slot| {
        let gpa = slot.clock_gpa.load(Ordering::Acquire);
        (gpa != NO_ADDRESS).then_some((slot.index, gpa))
    });
    let Some((vcpu, gpa)) = kept.nth(nth) else {
        return false;
    };
    let _fitted = out.put(Kind::CLOCK, vcpu, record::Clock { gpa }.as_bytes());
    true
}

fn put_events<A: Arch>(
    hypervisor: &Hypervisor<A>,
    domain: &Domain<A>,
    nth: usize,
    out: &mut dyn RecordSink,
) -> bool {
    let mut saved: heapless::Vec<record::Event, EVENTS_PER_RECORD> = heapless::Vec::new();
    {
        let state = domain.lock();
        let next = |after: Option<(u32, Entry)>| {
            let from = after.map_or(1, |(port, _)| port + 1);
            state.events.next(hypervisor.host, from)
        };
        let ports = core::iter::successors(next(None), |last| next(Some(*last)));
        for (port, entry) in ports.skip(nth * EVENTS_PER_RECORD).take(EVENTS_PER_RECORD) {
            let _room = saved.push(entry.to_record(port));
        }
    }
    if saved.is_empty() {
        return false;
    }
    let _fitted = out.put(Kind::EVENTS, 0, saved.as_slice().as_bytes());
    true
}

fn put_grants<A: Arch>(
    hypervisor: &Hypervisor<A>,
    domain: &Domain<A>,
    index: u32,
    out: &mut dyn RecordSink,
) -> bool {
    let saved = grant::saved_frame(hypervisor, &domain.lock(), index);
    let Some(saved) = saved else {
        return false;
    };
    let _fitted = out.put(Kind::GRANTS, 0, saved.as_bytes());
    true
}

fn put_vcpu<A: Arch>(
    hypervisor: &Hypervisor<A>,
    domain: &Domain<A>,
    slot: &VcpuSlot<A>,
    out: &mut dyn RecordSink,
) -> bool {
    let now = hypervisor.now_ns();
    let (_, _, runstate_time) = slot.runstate.read(now);
    let address = |value: u64| (value != NO_ADDRESS).then_some(Gpa(value));
    let info = address(slot.info_gpa.load(Ordering::Acquire));
    let singleshot = slot.singleshot_ns.load(Ordering::Relaxed);
    let singleshot = (singleshot != time::NEVER).then(|| {
        let ahead = i128::from(singleshot) - i128::from(now);
        let at = i128::from(time::system_time_ns(hypervisor, domain)) + ahead;
        u64::try_from(at.max(1)).unwrap_or(0)
    });
    let blocked = slot.activity() == Activity::Blocked;
    let port = match slot.polling.load(Ordering::SeqCst) {
        NOT_POLLING | POLL_OVER => None,
        port => blocked.then_some(port),
    };
    let saved = record::Vcpu {
        online: match (slot.is_online(), slot.has_context.load(Ordering::Acquire)) {
            (true, _) => 1,
            (false, true) => 2,
            (false, false) => 0,
        },
        blocked: u32::from(blocked),
        info_gfn: info.map_or(NO_FRAME, |gpa| gpa.gfn().0),
        info_offset: info.map_or(0, |gpa| gpa.offset() as u64),
        runstate_gpa: address(slot.runstate_gpa.load(Ordering::Acquire))
            .map_or(NO_FRAME, |gpa| gpa.0),
        singleshot_ns: singleshot.unwrap_or(0),
        runstate_time,
        polling: u32::from(port.is_some()),
        poll_port: port.unwrap_or(0),
    };
    let _fitted = out.put(Kind::VCPU, slot.index, saved.as_bytes());
    true
}

// ------------------------------------------------------------------------------------------------------ restoring

/// A record in the hypervisor's own memory, aligned for every body.
#[repr(C, align(8))]
struct Copied {
    bytes: [u8; size_of::<Header>() + BODY_MAX],
}

fn restore<A: Arch>(
    context: &CallContext<'_, A>,
    id: u64,
    from: u64,
    length: u64,
) -> Result<u64, Errno> {
    let id = u16::try_from(id).map_err(|_| Errno::ESRCH)?;
    let domain = target(context, DomId(id))?;
    if domain.lock().started {
        return Err(Errno::EBUSY);
    }
    let mut copied = Copied {
        bytes: [0; size_of::<Header>() + BODY_MAX],
    };
    let length = usize::try_from(length).map_err(|_| Errno::EINVAL)?;
    let bytes = copied.bytes.get_mut(..length).ok_or(Errno::E2BIG)?;
    context.read_bytes(from, bytes)?;
    let (header, body) = check::split(bytes)?;
    load(context.hypervisor, &domain, &header, body)?;
    Ok(0)
}

/// Loads one record into a domain that has never run.
///
/// # Errors
/// `EINVAL` for a state no guest could reach, `EOPNOTSUPP` for a kind or version that is not known, `EXDEV` if the guest
/// needs what this machine does not have, `ENOMEM`.
pub fn load<A: Arch>(
    hypervisor: &Hypervisor<A>,
    domain: &Domain<A>,
    header: &Header,
    body: &[u8],
) -> Result<(), Errno> {
    if header.version != check::VERSION {
        return Err(Errno::EOPNOTSUPP);
    }
    if !header.kind.is_per_vcpu() && header.vcpu != 0 {
        return Err(Errno::EINVAL);
    }
    match header.kind {
        Kind::DOMAIN => load_domain(hypervisor, domain, body),
        Kind::EVENTS => load_events(hypervisor, domain, body),
        Kind::GRANTS => {
            let saved = Grants::ref_from_bytes(body).map_err(|_| Errno::EINVAL)?;
            grant::restore_frame(hypervisor, domain, saved)
        }
        Kind::PLATFORM => check_requirements(hypervisor, domain, body),
        Kind::PL011 => {
            let saved = record::Pl011::ref_from_bytes(body).map_err(|_| Errno::EINVAL)?;
            device::restore_uart(hypervisor, domain, saved)
        }
        Kind::PL031 => {
            let saved = record::Pl031::ref_from_bytes(body).map_err(|_| Errno::EINVAL)?;
            device::restore_rtc(hypervisor, domain, saved)
        }
        kind if !kind.is_per_vcpu() => domain.platform.restore(header, body),
        kind => {
            let slot = domain.vcpu(header.vcpu).ok_or(Errno::EINVAL)?;
            match kind {
                Kind::VCPU => return load_vcpu(hypervisor, domain, slot, body),
                Kind::CLOCK => return load_clock(hypervisor, domain, slot, body),
                _ => {}
            }
            let mut registers = slot.registers().ok_or(Errno::EBUSY)?;
            registers.restore(&domain.platform, header, body)
        }
    }
}

fn load_domain<A: Arch>(
    hypervisor: &Hypervisor<A>,
    domain: &Domain<A>,
    body: &[u8],
) -> Result<(), Errno> {
    let saved = record::Domain::ref_from_bytes(body).map_err(|_| Errno::EINVAL)?;
    let facts = check::domain(saved, Stage2::<A::Pte>::limit())?;
    let memory = hypervisor.memory(domain);
    let mut state = domain.lock();
    if let Some(gfn) = facts.shared_info {
        if memory.lookup(&state, gfn).is_some() {
            return Err(Errno::EEXIST);
        }
        place_shared_info(hypervisor, domain, &mut state, gfn)?;
    }
    let page = event::ensure_shared_info(hypervisor, domain, &mut state)?;
    hypervisor.host.write(page, 0, &saved.shared_info);
    state.params = saved.params;
    state.assists = facts.assists;
    time::set_guest_counter(hypervisor, domain, saved);
    time::publish_wall_clock(hypervisor, domain, page);
    event::publish_clocks(hypervisor, domain);
    drop(state);
    let callback = saved.params[param::CALLBACK_IRQ as usize];
    if let Some(vector) = hypercall::hvm::callback_vector(callback) {
        // Where upcalls have a fixed interrupt the parameter means nothing.
        let _fixed = domain.platform.set_upcall(None, vector);
    }
    if domain.kind == DomainKind::HVM {
        let ring = saved.params[param::CONSOLE_PFN as usize];
        device::attach(hypervisor, domain, Gfn(ring))?;
    }
    Ok(())
}

fn load_events<A: Arch>(
    hypervisor: &Hypervisor<A>,
    domain: &Domain<A>,
    body: &[u8],
) -> Result<(), Errno> {
    let saved = <[record::Event]>::ref_from_bytes(body).map_err(|_| Errno::EINVAL)?;
    let vcpus = u32::try_from(domain.vcpus.len()).map_err(|_| Errno::EINVAL)?;
    for record in saved {
        let (port, entry) = Entry::from_record(record, vcpus).ok_or(Errno::EINVAL)?;
        event::restore(hypervisor, domain, port, entry)?;
    }
    Ok(())
}

fn check_requirements<A: Arch>(
    hypervisor: &Hypervisor<A>,
    domain: &Domain<A>,
    body: &[u8],
) -> Result<(), Errno> {
    let saved = record::Platform::ref_from_bytes(body).map_err(|_| Errno::EINVAL)?;
    let here = domain.platform.requirements(hypervisor.host);
    check::requirements(saved, &here).map_err(|mismatch| {
        let DomId(id) = domain.id;
        log::warn!("d{id}: saved on another kind of machine: {mismatch:?}");
        Errno::EXDEV
    })
}

/// The copy was saved with the guest's memory; this machine's counter may have another rate.
fn load_clock<A: Arch>(
    hypervisor: &Hypervisor<A>,
    domain: &Domain<A>,
    slot: &VcpuSlot<A>,
    body: &[u8],
) -> Result<(), Errno> {
    let saved = record::Clock::ref_from_bytes(body).map_err(|_| Errno::EINVAL)?;
    if saved.gpa >> FRAME_SHIFT >= Stage2::<A::Pte>::limit() {
        return Err(Errno::EINVAL);
    }
    // A guest that took the page away meanwhile keeps nothing there any more.
    match time::publish_clock_area(hypervisor, domain, Gpa(saved.gpa)) {
        Err(Errno::ENOSYS) => return Err(Errno::EINVAL),
        Err(_) => {}
        Ok(()) => slot.clock_gpa.store(saved.gpa, Ordering::Release),
    }
    Ok(())
}

fn load_vcpu<A: Arch>(
    hypervisor: &Hypervisor<A>,
    domain: &Domain<A>,
    slot: &VcpuSlot<A>,
    body: &[u8],
) -> Result<(), Errno> {
    let saved = record::Vcpu::ref_from_bytes(body).map_err(|_| Errno::EINVAL)?;
    let facts = check::vcpu(saved, Stage2::<A::Pte>::limit())?;
    if let Some(gpa) = facts.info {
        event::place_vcpu_info(hypervisor, domain, slot, gpa)?;
    }
    let runstate = facts.runstate.map_or(NO_ADDRESS, |gpa| gpa.0);
    slot.runstate_gpa.store(runstate, Ordering::Release);
    slot.runstate.set_times(facts.runstate_time);
    slot.has_context.store(facts.has_context, Ordering::Relaxed);
    if facts.online {
        slot.set_activity(Activity::Ready);
    }
    if let Some(at) = facts.singleshot_ns {
        let at = time::host_time_ns(hypervisor, domain, at);
        sched::set_singleshot(hypervisor, domain, slot, Some(at));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
