//! xend's [`Hypervisor`]: each method is one call of `hv_abi`.

use crate::hw::hypercall::{call, call_filling, call_reading, call_reading_at, call_with};
use crate::hw::memory::{ClaimedFrames, GrantedPage};
use crate::hw::{heap, hypercall};
use crate::random::Random;
use alloc::vec::Vec;
use hv_abi::control::domain::{self, CreateDomain, DomainInfo, ShutdownReason};
use hv_abi::control::host::{self, HostInfo, LogWindow, Sample};
use hv_abi::control::memory::{self, Copy, Extent};
use hv_abi::control::state::{self, StateWindow};
use hv_abi::control::vcpu::{self, StartContext, VcpuInfo};
use hv_abi::xen::event::{self, AllocUnbound, BindInterdomain, Port};
use hv_abi::xen::{hvm, sched};
use hv_abi::{CallNumber, DomId, Errno};
use xend::hypervisor::{
    Answer, HeapUse, HostStop, Hypervisor, LocalPort, LogPiece, RecordPiece, Run, SamplePiece,
};
use zerocopy::{FromZeros, IntoBytes};

/// The hypervisor under us, and the boot bundle.
pub(crate) struct Calls {
    bundle: &'static [u8],
    random: Random,
}

impl Calls {
    /// `bundle` is a newc cpio, or empty.
    pub(crate) fn new(bundle: &'static [u8], random: Random) -> Self {
        Self { bundle, random }
    }
}

fn plain(number: CallNumber, operation: u64, domid: DomId) -> Answer<u64> {
    call(number, operation, u64::from(domid.0), 0)
}

fn extent(domid: DomId, run: Run) -> Extent {
    Extent {
        domid,
        gfn: run.gfn,
        count: run.count,
        ..Extent::default()
    }
}

fn length(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

impl Hypervisor for Calls {
    type Page = GrantedPage;
    type Frames = ClaimedFrames;

    fn host_info(&mut self) -> Answer<HostInfo> {
        let mut info = HostInfo::new_zeroed();
        call_with(CallNumber::CONTROL_HOST, host::INFO, &mut info)?;
        Ok(info)
    }

    fn sample(&mut self, cursor: u64, into: &mut [DomainInfo]) -> Answer<SamplePiece> {
        let mut sample = Sample {
            cursor,
            buffer: into.as_mut_ptr() as u64,
            capacity: into.len() as u64,
            ..Sample::default()
        };
        let more = call_with(CallNumber::CONTROL_HOST, host::SAMPLE, &mut sample)?;
        Ok(SamplePiece {
            next: sample.cursor,
            count: length(sample.count),
            last: more == 0,
            host: sample.host,
        })
    }

    fn log_read(&mut self, cursor: u64, into: &mut [u8]) -> Answer<LogPiece> {
        let mut window = LogWindow {
            cursor,
            buffer: into.as_mut_ptr() as u64,
            capacity: into.len() as u64,
            lost: 0,
        };
        let read = call_with(CallNumber::CONTROL_HOST, host::LOG_READ, &mut window)?;
        Ok(LogPiece {
            next: window.cursor,
            lost: window.lost,
            length: length(read),
        })
    }

    fn set_wall_clock(&mut self, seconds: u64, nanoseconds: u32) -> Answer<()> {
        call(
            CallNumber::CONTROL_HOST,
            host::SET_WALL_CLOCK,
            seconds,
            u64::from(nanoseconds),
        )
        .map(drop)
    }

    fn claim(&mut self, order: u32) -> Answer<ClaimedFrames> {
        ClaimedFrames::claim(order)
    }

    fn create(&mut self, domain: &CreateDomain) -> Answer<DomId> {
        let mut argument = *domain;
        let domid = call_with(CallNumber::CONTROL_DOMAIN, domain::CREATE, &mut argument)?;
        u16::try_from(domid).map(DomId).map_err(|_| Errno::EIO)
    }

    fn destroy(&mut self, domid: DomId) -> Answer<bool> {
        plain(CallNumber::CONTROL_DOMAIN, domain::DESTROY, domid).map(|more| more == 0)
    }

    fn pause(&mut self, domid: DomId) -> Answer<()> {
        plain(CallNumber::CONTROL_DOMAIN, domain::PAUSE, domid).map(drop)
    }

    fn unpause(&mut self, domid: DomId) -> Answer<()> {
        plain(CallNumber::CONTROL_DOMAIN, domain::UNPAUSE, domid).map(drop)
    }

    fn list(&mut self, first: DomId, into: &mut [DomainInfo]) -> Answer<usize> {
        let capacity = into.len() as u64;
        let buffer = into.as_mut_bytes();
        call_filling(
            CallNumber::CONTROL_DOMAIN,
            domain::LIST,
            u64::from(first.0),
            buffer,
            capacity,
        )
        .map(length)
    }

    fn set_blob(&mut self, domid: DomId, record: &[u8]) -> Answer<()> {
        call_reading(
            CallNumber::CONTROL_DOMAIN,
            domain::SET_BLOB,
            u64::from(domid.0),
            record,
        )
        .map(drop)
    }

    fn get_blob(&mut self, domid: DomId, into: &mut [u8]) -> Answer<usize> {
        let capacity = into.len() as u64;
        call_filling(
            CallNumber::CONTROL_DOMAIN,
            domain::GET_BLOB,
            u64::from(domid.0),
            into,
            capacity,
        )
        .map(length)
    }

    fn remote_shutdown(&mut self, domid: DomId, reason: ShutdownReason) -> Answer<()> {
        let mut argument = sched::RemoteShutdown {
            domid,
            reserved: 0,
            reason: reason.0,
        };
        call_with(CallNumber::SCHED_OP, sched::REMOTE_SHUTDOWN, &mut argument).map(drop)
    }

    fn populate(&mut self, domid: DomId, run: Run) -> Answer<u64> {
        call_with(
            CallNumber::CONTROL_MEMORY,
            memory::POPULATE,
            &mut extent(domid, run),
        )
    }

    fn clear(&mut self, domid: DomId, run: Run) -> Answer<u64> {
        call_with(
            CallNumber::CONTROL_MEMORY,
            memory::CLEAR,
            &mut extent(domid, run),
        )
    }

    fn next_extent(&mut self, domid: DomId, gfn: u64, count: u64) -> Answer<Option<Run>> {
        let mut argument = extent(domid, Run { gfn, count });
        let found = call_with(
            CallNumber::CONTROL_MEMORY,
            memory::NEXT_EXTENT,
            &mut argument,
        )?;
        Ok((found == 1).then_some(Run {
            gfn: argument.gfn,
            count: argument.count,
        }))
    }

    fn copy_to(&mut self, domid: DomId, gpa: u64, from: &[u8]) -> Answer<usize> {
        let mut argument = Copy {
            domid,
            gpa,
            buffer: from.as_ptr() as u64,
            length: from.len() as u64,
            ..Copy::default()
        };
        call_with(CallNumber::CONTROL_MEMORY, memory::COPY_TO, &mut argument).map(length)
    }

    fn copy_from(&mut self, domid: DomId, gpa: u64, into: &mut [u8]) -> Answer<usize> {
        let mut argument = Copy {
            domid,
            gpa,
            buffer: into.as_mut_ptr() as u64,
            length: into.len() as u64,
            ..Copy::default()
        };
        call_with(CallNumber::CONTROL_MEMORY, memory::COPY_FROM, &mut argument).map(length)
    }

    fn set_context(&mut self, domid: DomId, vcpu: u32, context: &StartContext) -> Answer<()> {
        let number = CallNumber::CONTROL_VCPU;
        call_reading_at(
            number,
            vcpu::SET_CONTEXT,
            u64::from(domid.0),
            u64::from(vcpu),
            context.as_bytes(),
        )
        .map(drop)
    }

    fn set_scheduling(&mut self, domid: DomId, weight: u32, cap: u32) -> Answer<()> {
        let (weight, cap) = (u64::from(weight), u64::from(cap));
        let number = CallNumber::CONTROL_DOMAIN;
        let operation = domain::SET_SCHEDULING;
        hypercall::call_three(number, operation, u64::from(domid.0), weight, cap).map(drop)
    }

    fn scheduling(&mut self, domid: DomId) -> Answer<(u32, u32)> {
        let both = plain(CallNumber::CONTROL_DOMAIN, domain::GET_SCHEDULING, domid)?;
        let small = |value: u64| u32::try_from(value).map_err(|_| Errno::EIO);
        let weight = both & ((1 << domain::CAP_SHIFT) - 1);
        Ok((small(weight)?, small(both >> domain::CAP_SHIFT)?))
    }

    fn set_affinity(&mut self, domid: DomId, vcpu: u32, cpus: u64) -> Answer<()> {
        let number = CallNumber::CONTROL_VCPU;
        let (domid, index) = (u64::from(domid.0), u64::from(vcpu));
        hypercall::call_three(number, vcpu::SET_AFFINITY, domid, index, cpus).map(drop)
    }

    fn affinity(&mut self, domid: DomId, vcpu: u32) -> Answer<u64> {
        let number = CallNumber::CONTROL_VCPU;
        call(
            number,
            vcpu::GET_AFFINITY,
            u64::from(domid.0),
            u64::from(vcpu),
        )
    }

    fn vcpu_info(&mut self, domid: DomId, vcpu: u32) -> Answer<VcpuInfo> {
        let mut info = VcpuInfo::new_zeroed();
        hypercall::call_filling_at(
            CallNumber::CONTROL_VCPU,
            vcpu::INFO,
            u64::from(domid.0),
            u64::from(vcpu),
            info.as_mut_bytes(),
        )?;
        Ok(info)
    }

    fn save_records(&mut self, domid: DomId, cursor: u64, into: &mut [u8]) -> Answer<RecordPiece> {
        let mut window = StateWindow {
            domid,
            cursor,
            buffer: into.as_mut_ptr() as u64,
            capacity: into.len() as u64,
            ..StateWindow::default()
        };
        let more = call_with(CallNumber::CONTROL_STATE, state::SAVE, &mut window)?;
        Ok(RecordPiece {
            next: window.cursor,
            length: length(window.length),
            last: more == 0,
        })
    }

    fn restore_record(&mut self, domid: DomId, record: &[u8]) -> Answer<()> {
        call_reading(
            CallNumber::CONTROL_STATE,
            state::RESTORE,
            u64::from(domid.0),
            record,
        )
        .map(drop)
    }

    fn set_param(&mut self, domid: DomId, index: u32, value: u64) -> Answer<()> {
        let mut argument = hvm::Param {
            domid,
            reserved: 0,
            index,
            value,
        };
        call_with(CallNumber::HVM_OP, hvm::SET_PARAM, &mut argument).map(drop)
    }

    fn get_param(&mut self, domid: DomId, index: u32) -> Answer<u64> {
        let mut argument = hvm::Param {
            domid,
            reserved: 0,
            index,
            value: 0,
        };
        call_with(CallNumber::HVM_OP, hvm::GET_PARAM, &mut argument)?;
        Ok(argument.value)
    }

    fn alloc_unbound(&mut self, domid: DomId) -> Answer<u32> {
        let mut argument = AllocUnbound {
            dom: domid,
            remote_dom: DomId::ZERO,
            port: 0,
        };
        call_with(
            CallNumber::EVENT_CHANNEL_OP,
            event::ALLOC_UNBOUND,
            &mut argument,
        )?;
        Ok(argument.port)
    }

    fn bind_interdomain(&mut self, domid: DomId, remote_port: u32) -> Answer<LocalPort> {
        let mut argument = BindInterdomain {
            remote_dom: domid,
            reserved: 0,
            remote_port,
            local_port: 0,
        };
        call_with(
            CallNumber::EVENT_CHANNEL_OP,
            event::BIND_INTERDOMAIN,
            &mut argument,
        )?;
        crate::events::open(argument.local_port);
        Ok(LocalPort(argument.local_port))
    }

    fn send(&mut self, port: LocalPort) -> Answer<()> {
        call_with(
            CallNumber::EVENT_CHANNEL_OP,
            event::SEND,
            &mut Port { port: port.0 },
        )
        .map(drop)
    }

    fn close(&mut self, port: LocalPort) -> Answer<()> {
        call_with(
            CallNumber::EVENT_CHANNEL_OP,
            event::CLOSE,
            &mut Port { port: port.0 },
        )
        .map(drop)
    }

    fn map_grant(&mut self, domid: DomId, reference: u32) -> Answer<GrantedPage> {
        GrantedPage::map(domid, reference)
    }

    fn bundle_file(&self, name: &str) -> Option<&'static [u8]> {
        crate::bundle::file(self.bundle, name)
    }

    fn bundle_names(&self) -> Vec<&'static str> {
        crate::bundle::files(self.bundle)
            .map(|(name, _)| name)
            .collect()
    }

    fn random(&mut self, into: &mut [u8]) {
        self.random.fill(into);
    }

    fn heap(&self) -> HeapUse {
        heap::usage()
    }

    fn stop_host(&mut self, how: HostStop) -> Answer<()> {
        hypercall::shutdown(match how {
            HostStop::PowerOff => ShutdownReason::POWEROFF,
            HostStop::Restart => ShutdownReason::REBOOT,
        })
    }
}
