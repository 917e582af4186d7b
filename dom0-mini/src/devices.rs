//! The devices that the start page gives us.

use crate::hw::interrupts::Interrupts;
use crate::hw::transports::Transports;
use crate::hw::{disk, link, real_time_clock};
use crate::lines::Line;
use alloc::boxed::Box;
use hv_abi::start::{Device, Dom0Start, Range};
use mgmt_proto::link::LinkParameters;

/// A byte pipe that never waits.
pub(crate) trait Pipe {
    /// Tells the device that its interrupt was seen.
    fn acknowledge(&mut self);

    /// Hands over bytes that came. `false`: there are none.
    fn receive(&mut self, deliver: &mut dyn FnMut(&[u8])) -> bool;

    /// Sends what `fill` writes into a buffer, up to the length it returns. `false`: the pipe is full, or there was
    /// nothing.
    fn send(&mut self, fill: &mut dyn FnMut(&mut [u8]) -> usize) -> bool;
}

/// The device that carries the link.
pub(crate) struct LinkDevice {
    /// Its bytes.
    pub(crate) pipe: Box<dyn Pipe>,
    /// Its interrupt.
    pub(crate) line: Line,
    /// How the link is to be used over it.
    pub(crate) parameters: LinkParameters,
    /// What it is, for a report.
    pub(crate) name: &'static str,
}

/// What a block device is asked for. Sectors have 512 bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Request<'a> {
    /// That many bytes from a sector on.
    Read(u64, usize),
    /// These bytes to a sector and those behind it.
    Write(u64, &'a [u8]),
    /// What was written before is to last.
    Flush,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It is with the device.
    NotYet,
    /// It is done.
    Done,
    /// The device could not do it.
    Failed,
    /// The device is out of its mind: what memory it has is not known any more.
    Nonsense,
}

/// What a block device says of itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DiskFacts {
    /// Sectors of 512 bytes.
    pub(crate) sectors: u64,
    /// It takes no writes.
    pub(crate) is_read_only: bool,
    /// What is written lasts only after a flush.
    pub(crate) has_write_cache: bool,
}

/// A block device that has one request at a time and never waits.
pub(crate) trait BlockDevice: Send {
    /// What it says of itself.
    fn facts(&self) -> DiskFacts;

    /// Gives the device a request of at most [`REQUEST_MAX`] bytes. `false`: it takes none.
    fn start(&mut self, request: Request<'_>) -> bool;

    /// Looks whether it has answered, after acknowledging its interrupt. What was read is copied to `into`.
    fn answer(&mut self, into: &mut [u8]) -> Answer;
}

/// Bytes that a request reads or writes at most.
pub(crate) const REQUEST_MAX: usize = 64 * 1024;

/// A block device, and how it interrupts.
pub(crate) struct DiskDevice {
    /// The device.
    pub(crate) device: Box<dyn BlockDevice>,
    /// Its interrupt.
    pub(crate) line: Line,
}

/// What Domain-0 uses.
pub(crate) struct Found {
    /// The device that carries the link.
    pub(crate) link: Option<LinkDevice>,
    /// The disk for the store.
    pub(crate) disk: Option<DiskDevice>,
}

/// The devices in use on the start page.
fn devices(start: &'static Dom0Start) -> &'static [Device] {
    start
        .devices
        .get(..start.device_count as usize)
        .unwrap_or(&start.devices)
}

/// Starts the devices that Domain-0 uses. Call once.
pub(crate) fn find(start: &'static Dom0Start, interrupts: &mut Interrupts) -> Found {
    let devices = devices(start);
    let mut transports = Transports::probe(devices);
    Found {
        link: link::find(devices, &mut transports, interrupts),
        disk: disk::find(&mut transports, interrupts),
    }
}

/// Registers that have to be mapped as device memory.
pub(crate) fn register_ranges(start: &'static Dom0Start) -> impl Iterator<Item = Range> {
    let in_memory = |device: &&Device| !device.kind.is_in_port_space();
    let controller = start.interrupt_controller.into_iter();
    controller.chain(
        devices(start)
            .iter()
            .filter(in_memory)
            .map(|device| device.registers),
    )
}

/// Seconds since 1970, as the real-time clock says.
pub(crate) fn wall_clock_s(start: &'static Dom0Start) -> Option<u64> {
    real_time_clock::wall_clock_s(devices(start))
}
