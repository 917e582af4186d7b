//! The virtio console that carries the link (virtio 1.2, 5.3), on the rings of virtio-drivers.
//!
//! virtio-drivers' own console spins until the device has taken what was sent; here buffers stay with the device until
//! it gives them back, and nobody waits. Memory is identity-mapped, so a buffer's address is what the device uses.

use alloc::alloc::{alloc_zeroed, dealloc};
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::alloc::Layout;
use core::ptr::NonNull;

use virtio_drivers::queue::VirtQueue;
use virtio_drivers::transport::mmio::{MmioTransport, VirtIOHeader};
use virtio_drivers::transport::{DeviceType, Transport};
use virtio_drivers::{BufferDirection, Hal, PAGE_SIZE, PhysAddr};

use hv_abi::start::Range;

const RECEIVE: u16 = 0;
const TRANSMIT: u16 = 1;
const QUEUE_SIZE: usize = 16;
const BUFFER_SIZE: usize = 4096;

/// Memory and addresses for the device: the heap, identity-mapped.
struct IdentityMapped;

fn pages_layout(pages: usize) -> Layout {
    Layout::from_size_align(pages * PAGE_SIZE, PAGE_SIZE).expect("a few pages")
}

// SAFETY: memory comes zeroed and aligned from the heap and is not handed out twice; virtual, guest-physical and machine
// addresses of Domain-0's memory are equal (design: Domain-0 is identity-mapped).
unsafe impl Hal for IdentityMapped {
    fn dma_alloc(pages: usize, _: BufferDirection) -> (PhysAddr, NonNull<u8>) {
        // SAFETY: the layout has a size above zero.
        let memory = unsafe { alloc_zeroed(pages_layout(pages)) };
        let memory = NonNull::new(memory).expect("heap exhausted");
        (memory.as_ptr() as PhysAddr, memory)
    }

    unsafe fn dma_dealloc(_: PhysAddr, memory: NonNull<u8>, pages: usize) -> i32 {
        // SAFETY: the caller returns what `dma_alloc` gave it, with the same page count.
        unsafe { dealloc(memory.as_ptr(), pages_layout(pages)) };
        0
    }

    unsafe fn mmio_phys_to_virt(address: PhysAddr, _: usize) -> NonNull<u8> {
        NonNull::new(address as *mut u8).expect("device registers are not at address 0")
    }

    unsafe fn share(buffer: NonNull<[u8]>, _: BufferDirection) -> PhysAddr {
        buffer.cast::<u8>().as_ptr() as PhysAddr
    }

    unsafe fn unshare(_: PhysAddr, _: NonNull<[u8]>, _: BufferDirection) {}
}

/// A buffer that is with the device.
struct Posted {
    token: u16,
    bytes: Box<[u8; BUFFER_SIZE]>,
    length: usize,
}

/// Port 0 of a virtio console: a byte pipe.
pub(crate) struct Console {
    transport: MmioTransport<'static>,
    receive: VirtQueue<IdentityMapped, QUEUE_SIZE>,
    transmit: VirtQueue<IdentityMapped, QUEUE_SIZE>,
    receiving: VecDeque<Posted>,
    sending: VecDeque<Posted>,
    spare: Vec<Box<[u8; BUFFER_SIZE]>>,
}

/// Looks at a virtio-mmio transport and takes it if it is a console.
pub(crate) fn probe_console(registers: Range) -> Option<Console> {
    let header = NonNull::new(registers.base as *mut VirtIOHeader)?;
    // SAFETY: the start page names these registers as a virtio-mmio transport of ours, mapped as device memory, and each
    // is probed once.
    let transport = unsafe { MmioTransport::new(header, registers.size as usize) }.ok()?;
    if transport.device_type() != DeviceType::Console {
        // Dropping a transport resets its device, which nobody has started yet.
        return None;
    }
    Console::new(transport)
        .map_err(|error| log::error!("virtio console: {error}"))
        .ok()
}

impl Console {
    fn new(mut transport: MmioTransport<'static>) -> virtio_drivers::Result<Self> {
        // No features: one port, direct descriptors.
        let _: NoFeatures = transport.begin_init(NoFeatures::empty());
        let receive = VirtQueue::new(&mut transport, RECEIVE, false, false)?;
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

    /// Tells the device that its interrupt was seen.
    pub(crate) fn acknowledge(&mut self) {
        self.transport.ack_interrupt();
    }

    /// Hands over the bytes of one buffer that the device filled. `false`: there is none.
    pub(crate) fn receive(&mut self, deliver: impl FnOnce(&[u8])) -> bool {
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

    /// Sends what `fill` writes into a buffer, up to its length. `false`: no buffer is free, or there was nothing.
    pub(crate) fn send(&mut self, fill: impl FnOnce(&mut [u8]) -> usize) -> bool {
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

fn take(posted: &mut VecDeque<Posted>, token: u16) -> Option<Posted> {
    let position = posted.iter().position(|posted| posted.token == token)?;
    posted.remove(position)
}

bitflags::bitflags! {
    /// The features we negotiate: none.
    #[derive(Debug)]
    struct NoFeatures: u64 {}
}
