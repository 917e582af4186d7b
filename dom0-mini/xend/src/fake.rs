//! A hypervisor of ordinary memory for tests: it counts frames, ports and grant maps, so that a test can prove that
//! nothing leaks, and can refuse any one call.

use crate::hypervisor::{
    Answer, HeapUse, HostStop, Hypervisor, LocalPort, LogPiece, RecordPiece, Run,
};
use crate::ring::{FakePage, SharedPage};
use hv_abi::control::domain::{CreateDomain, DomainInfo, EXTRA_FRAMES, ShutdownReason, state};
use hv_abi::control::host::HostInfo;
use hv_abi::control::vcpu::{StartContext, VcpuInfo};
use hv_abi::layout::arm::{CONSOLE_GFN, XENSTORE_GFN};
use hv_abi::record::{Header, Kind};
use hv_abi::xen::hvm::param;
use hv_abi::{DomId, Errno};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::vec;
use std::vec::Vec;
use zerocopy::{FromBytes, IntoBytes};

/// Frames of the machine that domains and the store can have.
pub(crate) const FREE: u64 = 16 * 1024;
/// Frames the hypervisor needs for a domain.
const OVERHEAD: u64 = 12;
/// What memory holds before it is cleared.
const SOMEBODY_ELSES: u8 = 0xee;
/// Frames a populate or clear does at most, so that callers must ask again.
const AT_ONCE: u64 = 100;

/// The machine, shared between the hypervisor that xend has and the test.
#[derive(Clone)]
pub(crate) struct Fake(pub(crate) Rc<RefCell<Machine>>);

pub(crate) struct Machine {
    pub(crate) free: u64,
    pub(crate) claimed: u64,
    pub(crate) mapped: u64,
    pub(crate) domains: BTreeMap<u16, FakeDomain>,
    /// Ports of Domain-0: the peer and its port.
    pub(crate) ports: BTreeMap<u32, (u16, u32)>,
    next_domid: u16,
    next_port: u32,
    /// Calls so far that could have been refused.
    pub(crate) calls: u64,
    /// The call that is refused, and how.
    pub(crate) refuse: Option<(u64, Errno)>,
    /// Notifications sent: domain and its port.
    pub(crate) sent: Vec<(u16, u32)>,
    pub(crate) log: Vec<u8>,
    pub(crate) bundle: BTreeMap<&'static str, &'static [u8]>,
    pub(crate) stopped: Option<HostStop>,
    pub(crate) counter_hz: u64,
    random: u8,
}

pub(crate) struct FakeDomain {
    pub(crate) create: CreateDomain,
    pub(crate) frames: BTreeMap<u64, Frame>,
    /// Its ports; bound ones with Domain-0's.
    pub(crate) ports: BTreeMap<u32, Option<u32>>,
    pub(crate) params: BTreeMap<u32, u64>,
    pub(crate) blob: Vec<u8>,
    pub(crate) context: Option<StartContext>,
    pub(crate) paused: bool,
    pub(crate) started: bool,
    pub(crate) shutdown: Option<ShutdownReason>,
    /// Stands for its registers.
    pub(crate) registers: u64,
    dying: bool,
}

pub(crate) struct Frame {
    data: Data,
    cleared: bool,
}

enum Data {
    Zero,
    Bytes(Vec<u8>),
    Page(FakePage),
}

impl Frame {
    fn read(&self, offset: usize, into: &mut [u8]) {
        match &self.data {
            Data::Zero => into.fill(if self.cleared { 0 } else { SOMEBODY_ELSES }),
            Data::Bytes(bytes) => into.copy_from_slice(&bytes[offset..offset + into.len()]),
            Data::Page(page) => page.read(offset, into),
        }
    }

    fn write(&mut self, offset: usize, from: &[u8]) {
        if let Data::Zero = self.data {
            let fill = if self.cleared { 0 } else { SOMEBODY_ELSES };
            self.data = Data::Bytes(vec![fill; 4096]);
        }
        match &mut self.data {
            Data::Zero => {}
            Data::Bytes(bytes) => bytes[offset..offset + from.len()].copy_from_slice(from),
            Data::Page(page) => page.write(offset, from),
        }
        self.cleared |= from.len() == 4096;
    }

    fn clear(&mut self) {
        if !self.cleared {
            match &self.data {
                Data::Page(page) => page.write(0, &[0; 4096]),
                _ => self.data = Data::Zero,
            }
            self.cleared = true;
        }
    }
}

impl Machine {
    pub(crate) fn domain(&mut self, domid: u16) -> &mut FakeDomain {
        self.domains.get_mut(&domid).expect("the domain exists")
    }

    fn live(&mut self, domid: DomId) -> Answer<&mut FakeDomain> {
        let domain = self.domains.get_mut(&domid.0).ok_or(Errno::ESRCH)?;
        if domain.dying {
            Err(Errno::ESRCH)
        } else {
            Ok(domain)
        }
    }

    fn may(&mut self) -> Answer<()> {
        self.calls += 1;
        match self.refuse {
            Some((call, errno)) if call == self.calls => Err(errno),
            _ => Ok(()),
        }
    }

    /// Domain-0's port to a domain's port.
    pub(crate) fn port_to(&self, domid: u16, remote: u32) -> u32 {
        let found = self
            .ports
            .iter()
            .find(|(_, peer)| **peer == (domid, remote));
        *found.expect("the port is bound").0
    }

    /// Domains made so far.
    pub(crate) fn made(&self) -> u16 {
        self.next_domid - 1
    }

    /// What Domain-0 holds: free frames, claimed frames, maps, ports, domains.
    pub(crate) fn held(&self) -> (u64, u64, u64, usize, usize) {
        (
            self.free,
            self.claimed,
            self.mapped,
            self.ports.len(),
            self.domains.len(),
        )
    }
}

impl FakeDomain {
    pub(crate) fn page(&self, gfn: u64) -> FakePage {
        match &self.frames[&gfn].data {
            Data::Page(page) => page.clone(),
            _ => panic!("not a shared page"),
        }
    }

    pub(crate) fn console(&self) -> FakePage {
        self.page(CONSOLE_GFN)
    }

    pub(crate) fn xenstore(&self) -> FakePage {
        self.page(XENSTORE_GFN)
    }

    pub(crate) fn read(&self, gpa: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        for (offset, byte) in bytes.iter_mut().enumerate() {
            let at = gpa + offset as u64;
            let frame = &self.frames[&(at / 4096)];
            frame.read((at % 4096) as usize, core::slice::from_mut(byte));
        }
        bytes
    }

    pub(crate) fn write(&mut self, gpa: u64, bytes: &[u8]) {
        for (offset, byte) in bytes.iter().enumerate() {
            let at = gpa + offset as u64;
            let frame = self.frames.get_mut(&(at / 4096)).expect("populated");
            frame.write((at % 4096) as usize, &[*byte]);
        }
    }

    fn info(&self, domid: u16) -> DomainInfo {
        let mut bits = if self.paused {
            state::PAUSED
        } else {
            state::BLOCKED
        };
        if self.shutdown.is_some() {
            bits |= state::SHUTDOWN;
        }
        if self.dying {
            bits |= state::DYING;
        }
        DomainInfo {
            domid: DomId(domid),
            guest_domid: self.create.guest_domid,
            state: bits,
            shutdown_reason: self.shutdown.unwrap_or_default(),
            vcpus: self.create.vcpus,
            uuid: self.create.uuid,
            frames: self.frames.len() as u64,
            frames_max: self.create.frames_max,
            ..DomainInfo::default()
        }
    }

    fn extra_frames(&self) -> u64 {
        (self.frames.len() as u64).saturating_sub(self.create.frames_max)
    }
}

/// Claimed frames.
pub(crate) struct FakeFrames {
    bytes: Vec<u8>,
    machine: Rc<RefCell<Machine>>,
}

impl AsRef<[u8]> for FakeFrames {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl AsMut<[u8]> for FakeFrames {
    fn as_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}

impl Drop for FakeFrames {
    fn drop(&mut self) {
        let mut machine = self.machine.borrow_mut();
        machine.free += self.bytes.len() as u64 / 4096;
        machine.claimed -= self.bytes.len() as u64 / 4096;
    }
}

/// A mapped grant.
pub(crate) struct MappedPage {
    page: FakePage,
    machine: Rc<RefCell<Machine>>,
}

impl Drop for MappedPage {
    fn drop(&mut self) {
        self.machine.borrow_mut().mapped -= 1;
    }
}

impl SharedPage for MappedPage {
    fn load_u32(&self, offset: usize) -> u32 {
        self.page.load_u32(offset)
    }
    fn store_u32(&self, offset: usize, value: u32) {
        self.page.store_u32(offset, value);
    }
    fn load_u8(&self, offset: usize) -> u8 {
        self.page.load_u8(offset)
    }
    fn store_u8(&self, offset: usize, value: u8) {
        self.page.store_u8(offset, value);
    }
    fn read(&self, offset: usize, into: &mut [u8]) {
        self.page.read(offset, into);
    }
    fn write(&self, offset: usize, from: &[u8]) {
        self.page.write(offset, from);
    }
}

impl Fake {
    pub(crate) fn new() -> Self {
        Self(Rc::new(RefCell::new(Machine {
            free: FREE,
            claimed: 0,
            mapped: 0,
            domains: BTreeMap::new(),
            ports: BTreeMap::new(),
            next_domid: 1,
            next_port: 8,
            calls: 0,
            refuse: None,
            sent: Vec::new(),
            log: b"the hypervisor says hello\n".to_vec(),
            bundle: BTreeMap::new(),
            stopped: None,
            counter_hz: 62_500_000,
            random: 0,
        })))
    }

    fn machine(&self) -> Answer<std::cell::RefMut<'_, Machine>> {
        let mut machine = self.0.borrow_mut();
        machine.may()?;
        Ok(machine)
    }
}

const PARAMS: usize = param::COUNT as usize;

impl Hypervisor for Fake {
    type Page = MappedPage;
    type Frames = FakeFrames;

    fn host_info(&mut self) -> Answer<HostInfo> {
        let machine = self.0.borrow();
        Ok(HostInfo {
            total_kib: FREE * 4,
            free_kib: machine.free * 4,
            store_kib: machine.claimed * 4,
            domains: machine.domains.len() as u32 + 1,
            gic_version: 3,
            counter_hz: machine.counter_hz,
            ..HostInfo::default()
        })
    }

    fn log_read(&mut self, cursor: u64, into: &mut [u8]) -> Answer<LogPiece> {
        let machine = self.machine()?;
        let from = (cursor as usize).min(machine.log.len());
        let length = into.len().min(machine.log.len() - from);
        into[..length].copy_from_slice(&machine.log[from..from + length]);
        Ok(LogPiece {
            next: (from + length) as u64,
            lost: 0,
            length,
        })
    }

    fn set_wall_clock(&mut self, _: u64, _: u32) -> Answer<()> {
        Ok(())
    }

    fn claim(&mut self, order: u32) -> Answer<FakeFrames> {
        let mut machine = self.machine()?;
        let frames = 1 << order;
        machine.free = machine.free.checked_sub(frames).ok_or(Errno::ENOMEM)?;
        machine.claimed += frames;
        Ok(FakeFrames {
            bytes: vec![0; frames as usize * 4096],
            machine: Rc::clone(&self.0),
        })
    }

    fn create(&mut self, create: &CreateDomain) -> Answer<DomId> {
        let mut machine = self.machine()?;
        let frames = create.frames_max + OVERHEAD;
        machine.free = machine.free.checked_sub(frames).ok_or(Errno::ENOMEM)?;
        let domid = machine.next_domid;
        machine.next_domid += 1;
        let mut create = *create;
        if create.guest_domid.0 == 0 {
            create.guest_domid = DomId(domid);
        }
        let domain = FakeDomain {
            create,
            frames: BTreeMap::new(),
            ports: BTreeMap::new(),
            params: BTreeMap::new(),
            blob: Vec::new(),
            context: None,
            paused: true,
            started: false,
            shutdown: None,
            registers: 0,
            dying: false,
        };
        machine.domains.insert(domid, domain);
        Ok(DomId(domid))
    }

    fn destroy(&mut self, domid: DomId) -> Answer<bool> {
        let mut machine = self.machine()?;
        let domain = machine.domains.get_mut(&domid.0).ok_or(Errno::ESRCH)?;
        if !domain.dying {
            domain.dying = true;
            return Ok(false);
        }
        let returned = domain.create.frames_max + OVERHEAD + domain.extra_frames();
        machine.domains.remove(&domid.0);
        machine.free += returned;
        Ok(true)
    }

    fn pause(&mut self, domid: DomId) -> Answer<()> {
        self.machine()?.live(domid)?.paused = true;
        Ok(())
    }

    fn unpause(&mut self, domid: DomId) -> Answer<()> {
        let mut machine = self.machine()?;
        let domain = machine.live(domid)?;
        if domain.frames.values().any(|frame| !frame.cleared) {
            return Err(Errno::EBUSY);
        }
        if domain.context.is_none() && domain.registers == 0 {
            return Err(Errno::EINVAL);
        }
        domain.paused = false;
        domain.started = true;
        domain.registers += 1;
        Ok(())
    }

    fn list(&mut self, first: DomId, into: &mut [DomainInfo]) -> Answer<usize> {
        let machine = self.0.borrow();
        let dom0 = DomainInfo {
            vcpus: 1,
            ..DomainInfo::default()
        };
        let guests = machine
            .domains
            .iter()
            .map(|(domid, domain)| domain.info(*domid));
        let all = core::iter::once(dom0).chain(guests);
        let wanted = all.filter(|info| info.domid >= first);
        Ok(into
            .iter_mut()
            .zip(wanted)
            .map(|(to, from)| *to = from)
            .count())
    }

    fn set_blob(&mut self, domid: DomId, record: &[u8]) -> Answer<()> {
        self.machine()?.live(domid)?.blob = record.to_vec();
        Ok(())
    }

    fn get_blob(&mut self, domid: DomId, into: &mut [u8]) -> Answer<usize> {
        let mut machine = self.machine()?;
        let blob = &machine.live(domid)?.blob;
        into[..blob.len()].copy_from_slice(blob);
        Ok(blob.len())
    }

    fn remote_shutdown(&mut self, domid: DomId, reason: ShutdownReason) -> Answer<()> {
        self.machine()?.live(domid)?.shutdown = Some(reason);
        Ok(())
    }

    fn populate(&mut self, domid: DomId, run: Run) -> Answer<u64> {
        let mut machine = self.machine()?;
        let mut free = machine.free;
        let domain = machine.live(domid)?;
        let count = run.count.min(AT_ONCE);
        for gfn in run.gfn..run.gfn + count {
            if domain.frames.contains_key(&gfn) {
                return Err(Errno::EEXIST);
            }
            if domain.extra_frames() >= EXTRA_FRAMES {
                return Err(Errno::ENOMEM);
            }
            let before = domain.extra_frames();
            let data = if gfn == CONSOLE_GFN || gfn == XENSTORE_GFN {
                Data::Page(FakePage::new())
            } else {
                Data::Zero
            };
            domain.frames.insert(
                gfn,
                Frame {
                    data,
                    cleared: false,
                },
            );
            free -= domain.extra_frames() - before;
        }
        machine.free = free;
        Ok(count)
    }

    fn clear(&mut self, domid: DomId, run: Run) -> Answer<u64> {
        let mut machine = self.machine()?;
        let domain = machine.live(domid)?;
        let count = run.count.min(AT_ONCE);
        for gfn in run.gfn..run.gfn + count {
            if let Some(frame) = domain.frames.get_mut(&gfn) {
                frame.clear();
            }
        }
        Ok(count)
    }

    fn next_extent(&mut self, domid: DomId, gfn: u64, _: u64) -> Answer<Option<Run>> {
        let mut machine = self.machine()?;
        let domain = machine.live(domid)?;
        let mut gfns = domain.frames.range(gfn..).map(|(gfn, _)| *gfn);
        let Some(first) = gfns.next() else {
            return Ok(None);
        };
        let count = 1 + gfns.zip(first + 1..).take_while(|(a, b)| a == b).count() as u64;
        Ok(Some(Run {
            gfn: first,
            count: count.min(300),
        }))
    }

    fn copy_to(&mut self, domid: DomId, gpa: u64, from: &[u8]) -> Answer<usize> {
        assert!(from.len() <= hv_abi::control::COPY_MAX);
        let mut machine = self.machine()?;
        let domain = machine.live(domid)?;
        let mut done = 0;
        while done < from.len() {
            let at = gpa + done as u64;
            let offset = (at % 4096) as usize;
            let count = (4096 - offset).min(from.len() - done);
            let frame = domain.frames.get_mut(&(at / 4096)).ok_or(Errno::EFAULT)?;
            frame.write(offset, &from[done..done + count]);
            done += count;
        }
        Ok(done)
    }

    fn copy_from(&mut self, domid: DomId, gpa: u64, into: &mut [u8]) -> Answer<usize> {
        let mut machine = self.machine()?;
        let domain = machine.live(domid)?;
        let mut done = 0;
        while done < into.len() {
            let at = gpa + done as u64;
            let offset = (at % 4096) as usize;
            let count = (4096 - offset).min(into.len() - done);
            let frame = domain.frames.get(&(at / 4096)).ok_or(Errno::EFAULT)?;
            frame.read(offset, &mut into[done..done + count]);
            done += count;
        }
        Ok(done)
    }

    fn set_context(&mut self, domid: DomId, _: u32, context: &StartContext) -> Answer<()> {
        self.machine()?.live(domid)?.context = Some(*context);
        Ok(())
    }

    fn vcpu_info(&mut self, _: DomId, _: u32) -> Answer<VcpuInfo> {
        Ok(VcpuInfo::default())
    }

    fn save_records(&mut self, domid: DomId, cursor: u64, into: &mut [u8]) -> Answer<RecordPiece> {
        let mut machine = self.machine()?;
        let domain = machine.live(domid)?;
        if !domain.paused {
            return Err(Errno::EBUSY);
        }
        let mut params = [0_u64; PARAMS];
        for (index, value) in &domain.params {
            params[*index as usize] = *value;
        }
        let ports: Vec<u32> = domain.ports.keys().copied().collect();
        let (kind, vcpu, body) = match cursor {
            0 => (Kind::DOMAIN, 0, params.as_bytes().to_vec()),
            1 => (Kind::EVENTS, 0, ports.as_slice().as_bytes().to_vec()),
            _ => (Kind::VCPU, 0, domain.registers.as_bytes().to_vec()),
        };
        let header = Header {
            kind,
            version: 1,
            vcpu,
            length: body.len() as u64,
        };
        let mut record = [header.as_bytes(), &body].concat();
        record.resize(record.len().next_multiple_of(8), 0);
        into[..record.len()].copy_from_slice(&record);
        Ok(RecordPiece {
            next: cursor + 1,
            length: record.len(),
            last: cursor == 2,
        })
    }

    fn restore_record(&mut self, domid: DomId, record: &[u8]) -> Answer<()> {
        let mut machine = self.machine()?;
        let domain = machine.live(domid)?;
        let (header, body) = Header::read_from_prefix(record).map_err(|_| Errno::EINVAL)?;
        if header.version != 1 {
            return Err(Errno::EOPNOTSUPP);
        }
        match header.kind {
            Kind::DOMAIN => {
                let params = <[u64; PARAMS]>::read_from_bytes(body).map_err(|_| Errno::EINVAL)?;
                domain.params = params
                    .into_iter()
                    .enumerate()
                    .map(|(index, value)| (index as u32, value))
                    .collect();
            }
            Kind::EVENTS => {
                let (words, rest) = body.as_chunks::<4>();
                if !rest.is_empty() {
                    return Err(Errno::EINVAL);
                }
                let ports = words.iter().map(|word| (u32::from_le_bytes(*word), None));
                domain.ports = ports.collect();
            }
            Kind::VCPU => {
                domain.registers = u64::read_from_bytes(body).map_err(|_| Errno::EINVAL)?;
            }
            _ => return Err(Errno::EOPNOTSUPP),
        }
        Ok(())
    }

    fn set_param(&mut self, domid: DomId, index: u32, value: u64) -> Answer<()> {
        self.machine()?.live(domid)?.params.insert(index, value);
        Ok(())
    }

    fn get_param(&mut self, domid: DomId, index: u32) -> Answer<u64> {
        let mut machine = self.machine()?;
        let domain = machine.live(domid)?;
        Ok(domain.params.get(&index).copied().unwrap_or(0))
    }

    fn alloc_unbound(&mut self, domid: DomId) -> Answer<u32> {
        let mut machine = self.machine()?;
        let domain = machine.live(domid)?;
        let port = domain.ports.keys().last().map_or(1, |port| port + 1);
        domain.ports.insert(port, None);
        Ok(port)
    }

    fn bind_interdomain(&mut self, domid: DomId, remote: u32) -> Answer<LocalPort> {
        let mut machine = self.machine()?;
        let local = machine.next_port;
        let domain = machine.live(domid)?;
        match domain.ports.get_mut(&remote) {
            Some(peer) if peer.is_none() => *peer = Some(local),
            _ => return Err(Errno::EINVAL),
        }
        machine.next_port += 1;
        machine.ports.insert(local, (domid.0, remote));
        Ok(LocalPort(local))
    }

    fn send(&mut self, port: LocalPort) -> Answer<()> {
        let mut machine = self.machine()?;
        let peer = *machine.ports.get(&port.0).ok_or(Errno::EINVAL)?;
        machine.sent.push(peer);
        Ok(())
    }

    fn close(&mut self, port: LocalPort) -> Answer<()> {
        let mut machine = self.machine()?;
        let (domid, remote) = machine.ports.remove(&port.0).ok_or(Errno::EINVAL)?;
        if let Some(domain) = machine.domains.get_mut(&domid) {
            domain.ports.insert(remote, None);
        }
        Ok(())
    }

    fn map_grant(&mut self, domid: DomId, reference: u32) -> Answer<MappedPage> {
        let mut machine = self.machine()?;
        let domain = machine.live(domid)?;
        let gfn = if reference == 0 {
            CONSOLE_GFN
        } else {
            XENSTORE_GFN
        };
        if !domain.frames.contains_key(&gfn) {
            return Err(Errno::EINVAL);
        }
        let page = domain.page(gfn);
        machine.mapped += 1;
        Ok(MappedPage {
            page,
            machine: Rc::clone(&self.0),
        })
    }

    fn bundle_file(&self, name: &str) -> Option<&'static [u8]> {
        self.0.borrow().bundle.get(name).copied()
    }

    fn random(&mut self, into: &mut [u8]) {
        let mut machine = self.0.borrow_mut();
        machine.random = machine.random.wrapping_add(1);
        into.fill(machine.random);
    }

    fn heap(&self) -> HeapUse {
        HeapUse::default()
    }

    fn stop_host(&mut self, how: HostStop) -> Answer<()> {
        self.0.borrow_mut().stopped = Some(how);
        Ok(())
    }
}
