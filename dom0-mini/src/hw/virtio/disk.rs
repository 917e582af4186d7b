//! A virtio block device (virtio 1.2, 5.2).
//!
//! A request is a header, data and a status byte. All three lie in memory of ours that nobody else uses, and that stays
//! with the device from [`start`](BlockDevice::start) until it has answered: data is copied on its way.

use super::{Features, IdentityMapped};
use crate::devices::DiskDevice;
use crate::disk::{Answer, BlockDevice, DiskFacts, REQUEST_MAX, Request};
use crate::hw::interrupts::Interrupts;
use crate::hw::transports::{Slot, Started, Transports};
use alloc::boxed::Box;
use virtio_drivers::queue::VirtQueue;
use virtio_drivers::transport::{DeviceStatus, DeviceType, Transport};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes};

/// The only queue that is used.
const QUEUE: u16 = 0;
/// A power of two that has room for the three parts of a request.
const QUEUE_SIZE: usize = 4;
/// Of the device's configuration (virtio 1.2, 5.2.4): `capacity`, in sectors of 512 bytes, low half first.
const CAPACITY: usize = 0;

/// `virtio_blk_req.type` (virtio 1.2, 5.2.6).
mod kind {
    pub(super) const IN: u32 = 0;
    pub(super) const OUT: u32 = 1;
    pub(super) const FLUSH: u32 = 4;
}

/// Status of a request that the device has done (5.2.6); others are failures.
const STATUS_OK: u8 = 0;
/// No status: what is there before the device writes one.
const STATUS_NONE: u8 = 0xFF;

/// The first disk, ready, with its interrupt enabled. Others are named in the log.
pub(crate) fn find(transports: &mut Transports, interrupts: &mut Interrupts) -> Option<DiskDevice> {
    let mut slots = transports.take(DeviceType::Block);
    let first = slots.next()?;
    let place = alloc::format!("{first}");
    for other in slots {
        log::warn!("the disk at {other} is not used: the one at {place} comes first");
    }
    let disk = start(first, interrupts)
        .map_err(|why| log::error!("the disk at {place} is not used: {why}"))
        .ok()?;
    let DiskFacts {
        sectors,
        is_read_only,
        has_write_cache,
    } = disk.device.facts();
    log::info!(
        "disk at {place}: {} KiB, {}, {}",
        sectors / 2,
        if is_read_only {
            "write-protected"
        } else {
            "writable"
        },
        if has_write_cache {
            "with a write cache"
        } else {
            "without a write cache"
        },
    );
    Some(disk)
}

fn start(slot: Slot, interrupts: &mut Interrupts) -> Result<DiskDevice, &'static str> {
    let Started {
        transport,
        vectors,
        line,
    } = slot.start(interrupts)?;
    let device = VirtioDisk::new(transport, |queue| vectors.assign(queue))
        .map_err(|_| "it does not start")?;
    Ok(DiskDevice {
        device: Box::new(device),
        line,
    })
}

/// `virtio_blk_req` up to its data.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct Header {
    kind: u32,
    reserved: u32,
    sector: u64,
}

/// The memory that the device gets.
#[derive(FromBytes)]
#[repr(C)]
struct Memory {
    header: Header,
    data: [u8; REQUEST_MAX],
    status: [u8; 8],
}

/// A request that is with the device.
#[derive(Clone, Copy)]
struct Posted {
    token: u16,
    shape: Shape,
}

/// Which memory a request has: what is read or written between header and status.
#[derive(Clone, Copy)]
enum Shape {
    In(usize),
    Out(usize),
    Bare,
}

struct VirtioDisk<T: Transport> {
    /// Dropped first: that resets the device, which then has none of the memory below.
    transport: T,
    queue: VirtQueue<IdentityMapped, QUEUE_SIZE>,
    memory: Box<Memory>,
    posted: Option<Posted>,
    facts: DiskFacts,
}

impl<T: Transport> VirtioDisk<T> {
    /// Starts the device. `prepare` is called for the queue once the device is reset and before the queue is in use.
    ///
    /// # Errors
    /// The device's, or `prepare`'s.
    fn new(
        mut transport: T,
        prepare: impl Fn(u16) -> virtio_drivers::Result<()>,
    ) -> virtio_drivers::Result<Self> {
        let wanted = Features::VERSION_1 | Features::READ_ONLY | Features::FLUSH;
        let features = transport.begin_init(wanted);
        if !transport.get_status().contains(DeviceStatus::FEATURES_OK) {
            return Err(virtio_drivers::Error::Unsupported);
        }
        prepare(QUEUE)?;
        let queue = VirtQueue::new(&mut transport, QUEUE, false, false)?;
        let facts = DiskFacts {
            sectors: capacity(&transport)?,
            is_read_only: features.contains(Features::READ_ONLY),
            has_write_cache: features.contains(Features::FLUSH),
        };
        let memory = Memory::new_box_zeroed().map_err(|_| virtio_drivers::Error::DmaError)?;
        transport.finish_init();
        Ok(Self {
            transport,
            queue,
            memory,
            posted: None,
            facts,
        })
    }
}

fn capacity(transport: &impl Transport) -> virtio_drivers::Result<u64> {
    let half = |offset| transport.read_config_space::<u32>(CAPACITY + offset);
    transport.read_consistent(|| Ok(u64::from(half(4)?) << 32 | u64::from(half(0)?)))
}

impl Memory {
    /// Writes a request. `None`: it is too long.
    fn fill(&mut self, request: Request<'_>) -> Option<Shape> {
        let (kind, sector, shape) = match request {
            Request::Read(sector, length) => (kind::IN, sector, Shape::In(length)),
            Request::Write(sector, bytes) => {
                self.data.get_mut(..bytes.len())?.copy_from_slice(bytes);
                (kind::OUT, sector, Shape::Out(bytes.len()))
            }
            Request::Flush => (kind::FLUSH, 0, Shape::Bare),
        };
        self.header = Header {
            kind: kind.to_le(),
            reserved: 0,
            sector: sector.to_le(),
        };
        self.status = [STATUS_NONE; 8];
        (shape.length() <= REQUEST_MAX).then_some(shape)
    }

    /// The parts of a request, those that the device reads and those that it writes.
    fn parts<R>(
        &mut self,
        shape: Shape,
        with: impl for<'a> FnOnce(&'a [&'a [u8]], &'a mut [&'a mut [u8]]) -> R,
    ) -> R {
        let header = self.header.as_bytes();
        let status = &mut self.status[..1];
        match shape {
            Shape::In(length) => with(&[header], &mut [&mut self.data[..length], status]),
            Shape::Out(length) => with(&[header, &self.data[..length]], &mut [status]),
            Shape::Bare => with(&[header], &mut [status]),
        }
    }

    /// What the device has said, having written so many bytes.
    fn verdict(&self, shape: Shape, written: u32, into: &mut [u8]) -> Answer {
        let read = match shape {
            Shape::In(length) => self.data.get(..length).unwrap_or_default(),
            Shape::Out(_) | Shape::Bare => &[],
        };
        let is_whole = written as usize > read.len();
        if self.status[0] != STATUS_OK || !is_whole || into.len() != read.len() {
            return Answer::Failed;
        }
        into.copy_from_slice(read);
        Answer::Done
    }
}

impl Shape {
    fn length(self) -> usize {
        match self {
            Self::In(length) | Self::Out(length) => length,
            Self::Bare => 0,
        }
    }
}

impl<T: Transport + Send> BlockDevice for VirtioDisk<T> {
    fn facts(&self) -> DiskFacts {
        self.facts
    }

    fn start(&mut self, request: Request<'_>) -> bool {
        if self.posted.is_some() {
            return false;
        }
        let Some(shape) = self.memory.fill(request) else {
            return false;
        };
        let queue = &mut self.queue;
        let token = self.memory.parts(shape, |inputs, outputs| {
            // SAFETY: the parts are in `memory`, which is neither touched nor freed while `posted` says that the device
            // has it: `answer` takes it back, and a disk is dropped by resetting the device first.
            unsafe { queue.add(inputs, outputs) }
        });
        self.posted = token.ok().map(|token| Posted { token, shape });
        if self.posted.is_some() && self.queue.should_notify() {
            self.transport.notify(QUEUE);
        }
        self.posted.is_some()
    }

    fn answer(&mut self, into: &mut [u8]) -> Answer {
        // First, so that what comes after the look interrupts again.
        self.transport.ack_interrupt();
        let Some(Posted { token, shape }) = self.posted else {
            return Answer::Nonsense;
        };
        if !self.queue.can_pop() {
            return Answer::NotYet;
        }
        let queue = &mut self.queue;
        let popped = self.memory.parts(shape, |inputs, outputs| {
            // SAFETY: these are token and parts of the same `add`.
            unsafe { queue.pop_used(token, inputs, outputs) }
        });
        let Ok(written) = popped else {
            return Answer::Nonsense;
        };
        self.posted = None;
        self.memory.verdict(shape, written, into)
    }
}
