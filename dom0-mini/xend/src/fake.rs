//! A hypervisor of ordinary memory for tests: it counts frames, ports and grant maps, so that a test can prove that
//! nothing leaks, and can refuse any one call.

mod calls;

use crate::hypervisor::{Answer, HostStop};
use crate::ring::{FakePage, SharedPage};
use hv_abi::control::domain::{CreateDomain, DomainInfo, ShutdownReason, state};
use hv_abi::control::vcpu::{StartContext, Usage};
use hv_abi::layout::arm::{CONSOLE_GFN, XENSTORE_GFN};
use hv_abi::{DomId, Errno};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::vec;
use std::vec::Vec;

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
    /// Version of the interrupt controller.
    pub(crate) gic: u32,
    /// What of its CPU guests run by.
    pub(crate) extension: u32,
    pub(crate) cpus: u32,
    /// Wall-clock time at system time 0: seconds and nanoseconds.
    pub(crate) wall_clock: Option<(u64, u32)>,
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
    /// Weight and cap.
    pub(crate) scheduling: (u32, u32),
    /// Where its vCPUs may run.
    pub(crate) affinity: BTreeMap<u32, u64>,
    /// What each of its vCPUs used.
    pub(crate) usage: Usage,
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

    /// The next domain has a domid so much higher.
    pub(crate) fn skip_domids(&mut self, count: u16) {
        self.next_domid += count;
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
        let mut usage = Usage::default();
        (0..self.create.vcpus).for_each(|_| usage += self.usage);
        DomainInfo {
            usage,
            domid: DomId(domid),
            guest_domid: self.create.guest_domid,
            state: bits,
            kind: self.create.kind,
            shutdown_reason: self.shutdown.unwrap_or_default(),
            vcpus: self.create.vcpus,
            vcpus_online: self.create.vcpus,
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
            gic: 3,
            extension: 0,
            cpus: 4,
            wall_clock: None,
            random: 0,
        })))
    }

    fn machine(&self) -> Answer<std::cell::RefMut<'_, Machine>> {
        let mut machine = self.0.borrow_mut();
        machine.may()?;
        Ok(machine)
    }
}
