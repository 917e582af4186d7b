//! The calls: what the real hypervisor does, on the machine of the parent module.

use super::{AT_ONCE, Data, FREE, Fake, FakeDomain, FakeFrames, Frame, MappedPage, OVERHEAD};
use crate::hypervisor::{
    Answer, HeapUse, HostStop, Hypervisor, LocalPort, LogPiece, RecordPiece, Run, SamplePiece,
};
use crate::ring::FakePage;
use hv_abi::control::domain::{
    CAP_MAX, CreateDomain, DomainInfo, EXTRA_FRAMES, ShutdownReason, WEIGHT_MAX,
};
use hv_abi::control::host::HostInfo;
use hv_abi::control::vcpu::{StartContext, Usage, VcpuInfo};
use hv_abi::layout::arm::{CONSOLE_GFN, XENSTORE_GFN};
use hv_abi::record::{Header, Kind};
use hv_abi::xen::hvm::param;
use hv_abi::{DomId, Errno};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::vec;
use std::vec::Vec;
use zerocopy::{FromBytes, IntoBytes};

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
            interrupt_controller_version: machine.gic,
            extension: machine.extension,
            cpus: machine.cpus,
            counter_hz: machine.counter_hz,
            log_bytes: machine.log.len() as u64,
            ..HostInfo::default()
        })
    }

    fn sample(&mut self, cursor: u64, into: &mut [DomainInfo]) -> Answer<SamplePiece> {
        self.machine()?;
        // As from the real one, the pieces are small enough that there are several.
        let some = into.len().min(2);
        let first = DomId(cursor as u16);
        let count = self.list(first, &mut into[..some])?;
        let next = into[..count]
            .last()
            .map_or(first.0, |info| info.domid.0 + 1);
        let mut beyond = [DomainInfo::default()];
        Ok(SamplePiece {
            next: next.into(),
            count,
            last: self.list(DomId(next), &mut beyond)? == 0,
            host: self.host_info()?,
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

    fn set_wall_clock(&mut self, seconds: u64, nanoseconds: u32) -> Answer<()> {
        self.machine()?.wall_clock = Some((seconds, nanoseconds));
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
            scheduling: (256, 0),
            affinity: BTreeMap::new(),
            usage: Usage::default(),
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
            vcpus_online: 1,
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

    fn set_scheduling(&mut self, domid: DomId, weight: u32, cap: u32) -> Answer<()> {
        if weight == 0 || weight > WEIGHT_MAX || cap > CAP_MAX {
            return Err(Errno::EINVAL);
        }
        if domid != DomId::ZERO {
            self.machine()?.live(domid)?.scheduling = (weight, cap);
        }
        Ok(())
    }

    fn scheduling(&mut self, domid: DomId) -> Answer<(u32, u32)> {
        if domid == DomId::ZERO {
            return Ok((256, 0));
        }
        Ok(self.machine()?.live(domid)?.scheduling)
    }

    fn set_affinity(&mut self, domid: DomId, vcpu: u32, cpus: u64) -> Answer<()> {
        let mut machine = self.machine()?;
        if cpus & ((1 << machine.cpus) - 1) == 0 {
            return Err(Errno::EINVAL);
        }
        if domid != DomId::ZERO {
            machine.live(domid)?.affinity.insert(vcpu, cpus);
        }
        Ok(())
    }

    fn affinity(&mut self, domid: DomId, vcpu: u32) -> Answer<u64> {
        let mut machine = self.machine()?;
        let all = (1 << machine.cpus) - 1;
        if domid == DomId::ZERO {
            return Ok(all);
        }
        let set = machine.live(domid)?.affinity.get(&vcpu).copied();
        Ok(set.unwrap_or(u64::MAX) & all)
    }

    fn vcpu_info(&mut self, domid: DomId, vcpu: u32) -> Answer<VcpuInfo> {
        if domid == DomId::ZERO {
            return Ok(VcpuInfo::default());
        }
        let mut machine = self.machine()?;
        let usage = machine.live(domid)?.usage;
        Ok(VcpuInfo {
            cpu: vcpu,
            usage,
            ..VcpuInfo::default()
        })
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

    fn bundle_names(&self) -> Vec<&'static str> {
        self.0.borrow().bundle.keys().copied().collect()
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
