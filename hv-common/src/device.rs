//! Emulated devices of a guest that knows nothing of the hypervisor: a serial line and a clock.
//!
//! A device is a value with loads and stores, an interrupt line and a record. [`Devices`] are those of one domain, behind
//! a lock of their own, which comes after the domain's and before its interrupt controller's.
//!
//! # The serial line
//! Its other end is Domain-0's console daemon: the UART fills and empties a page laid out like the PV console's ring, at
//! the frame and with the event channel that the domain's parameters name. Domain-0 sends an event when it has put
//! something there, or made room. It is sent one
//! - when the first byte of output is in the ring, but at most once in [`SERIAL_QUIET_NS`],
//! - when the ring is half full, or the ring of input half empty.
//!
//! So a daemon that looks again [`SERIAL_QUIET_NS`] after each event, and after each look that found something, misses nothing.

use hv_abi::control::domain::DomainKind;
use hv_abi::layout::SERIAL_QUIET_NS;
use hv_abi::record::{Pl011 as UartRecord, Pl031 as RtcRecord};
use hv_abi::xen::hvm::param;
use hv_abi::{Errno, FRAME_SHIFT};

use crate::arch::{Access, Arch, DevicePlace, Gfn, Gpa, GuestInterrupt, Host, Mfn, Platform};
use crate::domain::{Domain, wake};
use crate::event;
use crate::hypervisor::Hypervisor;
use crate::lock::Guard;
use crate::sched;
use crate::time::SECOND_NS;

pub mod pl011;
pub mod pl031;
mod ring;

use pl011::{Moved, Pl011};
use pl031::Pl031;
use ring::Ring;

/// The devices of a domain.
#[derive(Debug)]
pub struct Devices {
    uart: Pl011,
    rtc: Pl031,
    /// The console's page, with a reference to it.
    ring: Option<Mfn>,
    /// When Domain-0 was last told of output, host nanoseconds.
    told_ns: Option<u64>,
    uart_line: Line,
    rtc_line: Line,
}

/// An interrupt line, as the interrupt controller knows it. After a restore that is not known.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Line(Option<bool>);

impl Devices {
    /// Devices at reset.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            uart: Pl011::new(),
            rtc: Pl031::new(),
            ring: None,
            told_ns: None,
            uart_line: Line(Some(false)),
            rtc_line: Line(Some(false)),
        }
    }

    /// Whether nothing follows from an access: the commonest case.
    #[inline]
    fn is_settled(&self, ring: Ring<'_>, moved: Moved) -> bool {
        moved == Moved::Nothing && self.uart_line == Line(Some(self.uart.interrupts(ring)))
    }

    /// Whether Domain-0 is to be told of what moved.
    fn tells<H: Host>(&mut self, host: &H, moved: Moved) -> bool {
        if moved == Moved::Nothing {
            return false;
        }
        let now = host.now_ns();
        let rests = |told: u64| now.saturating_sub(told) < SERIAL_QUIET_NS;
        if moved == Moved::First && self.told_ns.is_some_and(rests) {
            return false;
        }
        self.told_ns = Some(now);
        true
    }
}

impl Default for Devices {
    fn default() -> Self {
        Self::new()
    }
}

/// Bytes of identification registers, at the end of a device's page.
const IDENTIFICATION: u64 = 0xFE0;
/// PCellID0 to 3: a PrimeCell.
const CELL: u32 = 0xB105_F00D;

/// The identification registers of a PrimeCell: a byte of its part, then of what all have in common. Zero elsewhere.
fn identification(offset: u64, part: u32) -> u32 {
    let Some(byte) = offset.checked_sub(IDENTIFICATION) else {
        return 0;
    };
    let shift = |word: u32, register: u64| word >> (8 * (register & 3)) & 0xFF;
    match (byte / 4, byte % 4) {
        (register @ 0..4, 0) => shift(part, register),
        (register @ 4..8, 0) => shift(CELL, register),
        _ => 0,
    }
}

/// Whose register an address is.
enum Register {
    Uart(u64),
    Rtc(u64),
}

#[inline]
fn find<A: Arch>(domain: &Domain<A>, gpa: Gpa) -> Option<Register> {
    if domain.kind != DomainKind::HVM {
        return None;
    }
    let places = A::DEVICES?;
    let offset = gpa.offset() as u64;
    let gfn = gpa.gfn();
    if gfn == places.uart.gfn {
        Some(Register::Uart(offset))
    } else if gfn == places.rtc.gfn {
        Some(Register::Rtc(offset))
    } else {
        None
    }
}

/// A load by a guest, of at most 32 bits. `None`: there is no device.
#[inline(never)]
pub fn load<A: Arch>(hypervisor: &Hypervisor<A>, domain: &Domain<A>, gpa: Gpa) -> Option<u64> {
    match find(domain, gpa)? {
        Register::Uart(offset) => load_uart(hypervisor, domain, offset),
        Register::Rtc(offset) => load_rtc(hypervisor, domain, offset),
    }
}

/// A store by a guest. `None`: there is no device.
#[inline(never)]
pub fn store<A: Arch>(
    hypervisor: &Hypervisor<A>,
    domain: &Domain<A>,
    gpa: Gpa,
    value: u64,
) -> Option<()> {
    #[allow(clippy::cast_possible_truncation, reason = "registers have 32 bits")]
    let value = value as u32;
    match find(domain, gpa)? {
        Register::Uart(offset) => store_uart(hypervisor, domain, offset, value),
        Register::Rtc(offset) => store_rtc(hypervisor, domain, offset, value),
    }
}

#[inline(always)]
fn load_uart<A: Arch>(hypervisor: &Hypervisor<A>, domain: &Domain<A>, offset: u64) -> Option<u64> {
    let devices = domain.devices.lock();
    let ring = Ring(hypervisor.host.words(devices.ring?));
    if offset == pl011::DATA {
        return Some(receive(hypervisor, domain, devices, ring));
    }
    Some(u64::from(devices.uart.read(offset, ring)))
}

/// A load of UARTDR.
#[inline(never)]
fn receive<A: Arch>(
    hypervisor: &Hypervisor<A>,
    domain: &Domain<A>,
    devices: Guard<'_, Devices>,
    ring: Ring<'_>,
) -> u64 {
    let (character, moved) = pl011::receive(ring);
    finish_uart(hypervisor, domain, devices, ring, moved);
    u64::from(character)
}

#[inline(always)]
fn store_uart<A: Arch>(
    hypervisor: &Hypervisor<A>,
    domain: &Domain<A>,
    offset: u64,
    value: u32,
) -> Option<()> {
    let mut devices = domain.devices.lock();
    let ring = Ring(hypervisor.host.words(devices.ring?));
    let moved = devices.uart.write(offset, value, ring);
    if !devices.is_settled(ring, moved) {
        finish_uart(hypervisor, domain, devices, ring, moved);
    }
    Some(())
}

/// Sets the UART's line, and tells Domain-0.
#[inline(never)]
fn finish_uart<A: Arch>(
    hypervisor: &Hypervisor<A>,
    domain: &Domain<A>,
    mut devices: Guard<'_, Devices>,
    ring: Ring<'_>,
    moved: Moved,
) {
    let tells = devices.tells(hypervisor.host, moved);
    let high = devices.uart.interrupts(ring);
    let wakes = devices
        .uart_line
        .set(domain, A::DEVICES.map(|places| places.uart), high);
    drop(devices);
    if let Some(vcpu) = wakes {
        wake(hypervisor, domain, vcpu);
    }
    if tells {
        tell(hypervisor, domain);
    }
}

impl Line {
    /// Sets it. Returns the vCPU to wake.
    #[inline]
    fn set<A: Arch>(
        &mut self,
        domain: &Domain<A>,
        place: Option<DevicePlace>,
        high: bool,
    ) -> Option<u32> {
        if self.0 == Some(high) {
            return None;
        }
        self.0 = Some(high);
        domain.platform.raise(GuestInterrupt::Input {
            number: place?.interrupt,
            high,
        })
    }
}

/// Sends Domain-0 an event through the console's port.
#[inline(never)]
fn tell<A: Arch>(hypervisor: &Hypervisor<A>, domain: &Domain<A>) {
    let port = domain.lock().params[param::CONSOLE_EVTCHN as usize];
    let sent = u32::try_from(port)
        .map_err(|_| Errno::EINVAL)
        .and_then(|port| event::send(hypervisor, domain, port));
    if let Err(errno) = sent {
        log::debug!("d{}: nobody reads its console: {errno:?}", domain.id.0);
    }
}

/// Domain-0 has changed the console's ring: looks at it.
pub fn look<A: Arch>(hypervisor: &Hypervisor<A>, domain: &Domain<A>) {
    let devices = domain.devices.lock();
    let Some(page) = devices.ring else {
        return;
    };
    let ring = Ring(hypervisor.host.words(page));
    finish_uart(hypervisor, domain, devices, ring, Moved::Nothing);
}

/// Puts the serial line's end at a page of the domain.
///
/// # Errors
/// `EFAULT`: not RAM of the domain.
pub fn attach<A: Arch>(
    hypervisor: &Hypervisor<A>,
    domain: &Domain<A>,
    gfn: Gfn,
) -> Result<(), Errno> {
    let gpa = gfn.0.checked_mul(1 << FRAME_SHIFT).ok_or(Errno::EFAULT)?;
    let memory = hypervisor.memory(domain);
    let state = domain.lock();
    let frame = memory.frame_at(&state, Gpa(gpa), Access::Write);
    let frame = frame.ok_or(Errno::EFAULT)?;
    if !hypervisor.frames.add_reference(frame, domain.id) {
        return Err(Errno::EFAULT);
    }
    drop(state);
    let before = domain.devices.lock().ring.replace(frame);
    if let Some(before) = before {
        hypervisor.frames.drop_reference(before);
    }
    look(hypervisor, domain);
    Ok(())
}

/// Takes it away: the domain is dying.
pub fn detach<A: Arch>(hypervisor: &Hypervisor<A>, domain: &Domain<A>) {
    let before = domain.devices.lock().ring.take();
    if let Some(frame) = before {
        hypervisor.frames.drop_reference(frame);
    }
}

fn wall_clock_s<A: Arch>(hypervisor: &Hypervisor<A>) -> u64 {
    let now = hypervisor.now_ns();
    hypervisor.wall_clock.base_ns().saturating_add(now) / SECOND_NS
}

#[inline(never)]
fn load_rtc<A: Arch>(hypervisor: &Hypervisor<A>, domain: &Domain<A>, offset: u64) -> Option<u64> {
    let now = wall_clock_s(hypervisor);
    Some(u64::from(domain.devices.lock().rtc.read(offset, now)))
}

#[inline(never)]
fn store_rtc<A: Arch>(
    hypervisor: &Hypervisor<A>,
    domain: &Domain<A>,
    offset: u64,
    value: u32,
) -> Option<()> {
    let mut devices = domain.devices.lock();
    let moved = devices.rtc.write(offset, value, wall_clock_s(hypervisor));
    finish_rtc(hypervisor, domain, devices, moved);
    Some(())
}

/// The alarm's time has come, or so it seemed: the host's clock may have been set since.
pub fn alarm<A: Arch>(hypervisor: &Hypervisor<A>, domain: &Domain<A>) {
    let mut devices = domain.devices.lock();
    devices.rtc.pass(wall_clock_s(hypervisor));
    finish_rtc(hypervisor, domain, devices, true);
}

/// Sets the clock's line, and the timer of its alarm.
fn finish_rtc<A: Arch>(
    hypervisor: &Hypervisor<A>,
    domain: &Domain<A>,
    mut devices: Guard<'_, Devices>,
    alarm_moved: bool,
) {
    let high = devices.rtc.interrupts();
    let wakes = devices
        .rtc_line
        .set(domain, A::DEVICES.map(|places| places.rtc), high);
    if alarm_moved && let Some(slot) = domain.vcpu(0) {
        let at = devices.rtc.due_s().map(|due_s| {
            let due = due_s.saturating_mul(SECOND_NS);
            due.saturating_sub(hypervisor.wall_clock.base_ns())
        });
        // Such a guest has no other use for this timer.
        sched::set_singleshot(hypervisor, domain, slot, at);
    }
    drop(devices);
    if let Some(vcpu) = wakes {
        wake(hypervisor, domain, vcpu);
    }
}

/// The UART's record.
pub fn save_uart<A: Arch>(domain: &Domain<A>) -> UartRecord {
    domain.devices.lock().uart.save()
}

/// The clock's record.
pub fn save_rtc<A: Arch>(domain: &Domain<A>) -> RtcRecord {
    domain.devices.lock().rtc.save()
}

/// Loads the UART's record, after the interrupt controller's.
///
/// # Errors
/// `EINVAL`: no state that writes could have brought about, or the domain has no such device.
pub fn restore_uart<A: Arch>(
    hypervisor: &Hypervisor<A>,
    domain: &Domain<A>,
    record: &UartRecord,
) -> Result<(), Errno> {
    let uart = Pl011::restore(record)?;
    let mut devices = devices_of(domain)?;
    devices.uart = uart;
    devices.uart_line = Line(None);
    drop(devices);
    look(hypervisor, domain);
    Ok(())
}

/// Loads the clock's record, after the interrupt controller's.
///
/// # Errors
/// As [`restore_uart`].
pub fn restore_rtc<A: Arch>(
    hypervisor: &Hypervisor<A>,
    domain: &Domain<A>,
    record: &RtcRecord,
) -> Result<(), Errno> {
    let mut rtc = Pl031::restore(record)?;
    rtc.pass(wall_clock_s(hypervisor));
    let mut devices = devices_of(domain)?;
    devices.rtc = rtc;
    devices.rtc_line = Line(None);
    finish_rtc(hypervisor, domain, devices, true);
    Ok(())
}

fn devices_of<A: Arch>(domain: &Domain<A>) -> Result<Guard<'_, Devices>, Errno> {
    if domain.kind != DomainKind::HVM {
        return Err(Errno::EINVAL);
    }
    Ok(domain.devices.lock())
}

#[cfg(test)]
mod tests;
