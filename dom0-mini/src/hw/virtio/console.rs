//! The virtio console that carries the link (virtio 1.2, 5.3). Nobody waits for it.

use super::{Features, IdentityMapped};
use crate::devices::{LinkDevice, Pipe};
use crate::hw::interrupts::Interrupts;
use crate::hw::transports::{Slot, Started, Transports};
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use mgmt_proto::link::LinkParameters;
use virtio_drivers::queue::VirtQueue;
use virtio_drivers::transport::{DeviceType, Transport};

const RECEIVE: u16 = 0;
const TRANSMIT: u16 = 1;
const QUEUE_SIZE: usize = 16;
const BUFFER_SIZE: usize = 4096;

/// The first console that can be used, ready, with its interrupt enabled.
pub(in crate::hw) fn find(
    transports: &mut Transports,
    interrupts: &mut Interrupts,
    name: &'static str,
) -> Option<LinkDevice> {
    transports.take(DeviceType::Console).find_map(|slot| {
        let place = alloc::format!("{slot}");
        start(slot, interrupts, name)
            .map_err(|why| log::warn!("the virtio console at {place} is not used: {why}"))
            .ok()
    })
}

fn start(
    slot: Slot,
    interrupts: &mut Interrupts,
    name: &'static str,
) -> Result<LinkDevice, &'static str> {
    let Started {
        transport,
        vectors,
        line,
    } = slot.start(interrupts)?;
    let console =
        Console::new(transport, |queue| vectors.assign(queue)).map_err(|_| "it does not start")?;
    Ok(LinkDevice {
        pipe: Box::new(console),
        line,
        parameters: LinkParameters::FAST,
        name,
    })
}

/// A buffer that is with the device.
struct Posted {
    token: u16,
    bytes: Box<[u8; BUFFER_SIZE]>,
    length: usize,
}

/// Port 0 of a virtio console: a byte pipe.
struct Console<T: Transport> {
    transport: T,
    receive: VirtQueue<IdentityMapped, QUEUE_SIZE>,
    transmit: VirtQueue<IdentityMapped, QUEUE_SIZE>,
    receiving: VecDeque<Posted>,
    sending: VecDeque<Posted>,
    spare: Vec<Box<[u8; BUFFER_SIZE]>>,
}

impl<T: Transport> Console<T> {
    /// Starts the device. `prepare` is called for each queue once the device is reset and before the queue is in use.
    ///
    /// # Errors
    /// The device's, or `prepare`'s.
    fn new(
        mut transport: T,
        prepare: impl Fn(u16) -> virtio_drivers::Result<()>,
    ) -> virtio_drivers::Result<Self> {
        // Nothing beyond the standard itself: one port, direct descriptors.
        let _: Features = transport.begin_init(Features::VERSION_1);
        prepare(RECEIVE)?;
        let receive = VirtQueue::new(&mut transport, RECEIVE, false, false)?;
        prepare(TRANSMIT)?;
        let transmit = VirtQueue::new(&mut transport, TRANSMIT, false, false)?;
        transport.finish_init();
        let mut console = Self {
            transport,
            receive,
            transmit,
            receiving: VecDeque::new(),
            sending: VecDeque::new(),
            spare: Vec::new(),
        };
        for _ in 0..QUEUE_SIZE / 2 {
            console.post_receive(Box::new([0; BUFFER_SIZE]))?;
        }
        console.transport.notify(RECEIVE);
        Ok(console)
    }

    fn post_receive(&mut self, mut bytes: Box<[u8; BUFFER_SIZE]>) -> virtio_drivers::Result<()> {
        // SAFETY: the buffer is kept in `receiving`, untouched, until `receive` pops its token.
        let token = unsafe { self.receive.add(&[], &mut [&mut bytes[..]]) }?;
        self.receiving.push_back(Posted {
            token,
            bytes,
            length: BUFFER_SIZE,
        });
        Ok(())
    }

    fn reclaim(&mut self) {
        while let Some(token) = self.transmit.peek_used() {
            let Some(posted) = take(&mut self.sending, token) else {
                return;
            };
            // SAFETY: these are token and buffer of the same `add`.
            let popped = unsafe {
                self.transmit
                    .pop_used(token, &[&posted.bytes[..posted.length]], &mut [])
            };
            if popped.is_ok() {
                self.spare.push(posted.bytes);
            }
        }
    }
}

impl<T: Transport> Pipe for Console<T> {
    fn acknowledge(&mut self) {
        self.transport.ack_interrupt();
    }

    fn receive(&mut self, deliver: &mut dyn FnMut(&[u8])) -> bool {
        let Some(token) = self.receive.peek_used() else {
            return false;
        };
        let Some(mut posted) = take(&mut self.receiving, token) else {
            return false;
        };
        // SAFETY: these are token and buffer of the same `add`.
        let length = unsafe {
            self.receive
                .pop_used(token, &[], &mut [&mut posted.bytes[..]])
        };
        if let Ok(length) = length {
            deliver(posted.bytes.get(..length as usize).unwrap_or_default());
        }
        if self.post_receive(posted.bytes).is_ok() && self.receive.should_notify() {
            self.transport.notify(RECEIVE);
        }
        true
    }

    fn send(&mut self, fill: &mut dyn FnMut(&mut [u8]) -> usize) -> bool {
        self.reclaim();
        if self.sending.len() >= QUEUE_SIZE / 2 {
            return false;
        }
        let mut bytes = self
            .spare
            .pop()
            .unwrap_or_else(|| Box::new([0; BUFFER_SIZE]));
        let length = fill(&mut bytes[..]).min(BUFFER_SIZE);
        if length == 0 {
            self.spare.push(bytes);
            return false;
        }
        // SAFETY: the buffer is kept in `sending`, untouched, until `reclaim` pops its token.
        let token = unsafe { self.transmit.add(&[&bytes[..length]], &mut []) };
        let Ok(token) = token else {
            self.spare.push(bytes);
            return false;
        };
        self.sending.push_back(Posted {
            token,
            bytes,
            length,
        });
        if self.transmit.should_notify() {
            self.transport.notify(TRANSMIT);
        }
        true
    }
}

fn take(posted: &mut VecDeque<Posted>, token: u16) -> Option<Posted> {
    let position = posted.iter().position(|posted| posted.token == token)?;
    posted.remove(position)
}
