//! A vCPU's local APIC (Intel SDM, volume 3, chapter "Advanced Programmable Interrupt Controller"), as a value.
//!
//! Guests start with the APIC in x2APIC mode, where its registers are MSRs: an access is an exit with a known length and
//! no instruction to decode. The vCPU owns everything here except requests, which others make:
//! [`crate::platform::Requests`].
//!
//! The timer counts at 100 MHz. It is a deadline on the guest's TSC: what the guest wrote is turned into one when it is
//! written, and the current count is computed from it.

use hv_abi::Errno;
use hv_abi::record::x86::Apic as Record;

/// Bits of IA32_APIC_BASE.
pub(crate) mod base {
    pub(crate) const BOOT_CPU: u64 = 1 << 8;
    pub(crate) const X2APIC: u64 = 1 << 10;
    pub(crate) const ENABLED: u64 = 1 << 11;
    pub(crate) const ADDRESS: u64 = 0xFEE0_0000;
}

/// Registers, by their number: an x2APIC MSR minus 0x800, an xAPIC offset divided by 16.
pub(crate) mod register {
    pub(crate) const ID: u32 = 0x02;
    pub(crate) const VERSION: u32 = 0x03;
    pub(crate) const TPR: u32 = 0x08;
    pub(crate) const PPR: u32 = 0x0A;
    pub(crate) const EOI: u32 = 0x0B;
    pub(crate) const LDR: u32 = 0x0D;
    pub(crate) const SVR: u32 = 0x0F;
    pub(crate) const ISR: u32 = 0x10;
    pub(crate) const TMR: u32 = 0x18;
    pub(crate) const IRR: u32 = 0x20;
    pub(crate) const ESR: u32 = 0x28;
    pub(crate) const LVT_CMCI: u32 = 0x2F;
    pub(crate) const ICR: u32 = 0x30;
    /// Of an xAPIC only.
    pub(crate) const ICR_HIGH: u32 = 0x31;
    pub(crate) const LVT_TIMER: u32 = 0x32;
    pub(crate) const LVT_LINT0: u32 = 0x35;
    pub(crate) const LVT_LINT1: u32 = 0x36;
    pub(crate) const LVT_ERROR: u32 = 0x37;
    pub(crate) const INITIAL_COUNT: u32 = 0x38;
    pub(crate) const CURRENT_COUNT: u32 = 0x39;
    pub(crate) const DIVIDE: u32 = 0x3E;
    pub(crate) const SELF_IPI: u32 = 0x3F;
}

/// Version 0x14, seven LVT entries.
const VERSION: u32 = 0x0006_0014;
/// SVR: the APIC takes interrupts.
const SOFTWARE_ENABLED: u32 = 1 << 8;
/// In an LVT entry.
pub(crate) const MASKED: u32 = 1 << 16;
/// Timer modes in its LVT entry.
const MODE: u32 = 3 << 17;
const PERIODIC: u32 = 1 << 17;
const TSC_DEADLINE: u32 = 2 << 17;
/// Index of the timer's LVT entry.
const TIMER: usize = 1;
/// Index of the error's LVT entry.
const ERROR: usize = 6;
/// Bits of each LVT entry that can be set.
const LVT_BITS: [u32; 7] = [
    0x1_07FF, 0x7_00FF, 0x1_07FF, 0x1_07FF, 0x1_A7FF, 0x1_A7FF, 0x1_00FF,
];
/// ESR: an illegal vector was sent, was received; an illegal register was accessed.
const ERROR_SENT_VECTOR: u32 = 1 << 5;
const ERROR_REGISTER: u32 = 1 << 7;
/// Nanoseconds in a timer tick before division.
const TICK_NS: u64 = 10;
/// Vectors below this are no interrupts.
pub(crate) const FIRST_VECTOR: u8 = 16;

/// 256 bits, one for each vector.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub(crate) struct Vectors(pub(crate) [u64; 4]);

impl Vectors {
    pub(crate) fn highest(&self) -> Option<u8> {
        let (index, word) = self
            .0
            .iter()
            .enumerate()
            .rev()
            .find(|(_, word)| **word != 0)?;
        Some((index as u32 * 64 + 63 - word.leading_zeros()) as u8)
    }

    fn change(&mut self, vector: u8, set: bool) {
        if let Some(word) = self.0.get_mut(usize::from(vector / 64)) {
            let bit = 1 << (vector % 64);
            *word = if set { *word | bit } else { *word & !bit };
        }
    }

    /// One of the eight 32-bit registers.
    fn part(&self, index: u32) -> u32 {
        let word = self.0.get(index as usize / 2).copied().unwrap_or(0);
        (word >> (32 * (index % 2))) as u32
    }
}

/// An interrupt command, decoded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Ipi {
    pub(crate) kind: IpiKind,
    pub(crate) to: Destination,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum IpiKind {
    Fixed(u8),
    Nmi,
    Init,
    Startup(u8),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Destination {
    Itself,
    All,
    Others,
    Physical(u32),
    /// Cluster (bits 16 to 31) and members (bits 0 to 15).
    Logical(u32),
}

/// What a write leads to outside of the APIC.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Effect {
    Nothing,
    /// What can be taken has changed.
    Look,
    /// The timer's deadline has changed.
    Timer,
    Send(Ipi),
}

/// The access is a fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Illegal;

/// Guest time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    pub(crate) tsc: u64,
    pub(crate) tsc_hz: u64,
}

impl Now {
    fn ticks(&self, ns: u64) -> u64 {
        hv_common::time::ns_to_ticks(ns, self.tsc_hz)
    }

    fn ns(&self, ticks: u64) -> u64 {
        hv_common::time::ticks_to_ns(ticks, self.tsc_hz)
    }
}

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Apic {
    pub(crate) id: u32,
    pub(crate) base: u64,
    isr: Vectors,
    tpr: u32,
    svr: u32,
    esr: u32,
    esr_shown: u32,
    lvt: [u32; 7],
    divide: u32,
    initial_count: u32,
    icr: u64,
    /// Guest TSC; 0: none.
    deadline: u64,
}

impl Apic {
    /// One after reset, switched to x2APIC mode by firmware.
    pub(crate) fn new(id: u32) -> Self {
        let boot = if id == 0 { base::BOOT_CPU } else { 0 };
        Self {
            id,
            base: base::ADDRESS | base::ENABLED | base::X2APIC | boot,
            isr: Vectors::default(),
            tpr: 0,
            svr: 0xFF,
            esr: 0,
            esr_shown: 0,
            lvt: [MASKED; 7],
            divide: 0,
            initial_count: 0,
            icr: 0,
            deadline: 0,
        }
    }

    pub(crate) fn is_x2apic(&self) -> bool {
        self.base & base::X2APIC != 0
    }

    /// Whether it takes interrupts at all.
    #[inline]
    pub(crate) fn is_enabled(&self) -> bool {
        self.svr & SOFTWARE_ENABLED != 0 && self.base & base::ENABLED != 0
    }

    fn ppr(&self) -> u32 {
        let service = self.isr.highest().map_or(0, u32::from);
        if self.tpr & 0xF0 >= service & 0xF0 {
            self.tpr
        } else {
            service & 0xF0
        }
    }

    /// Whether a request with that vector would be taken.
    #[inline]
    pub(crate) fn takes(&self, vector: u8) -> bool {
        self.is_enabled() && u32::from(vector & 0xF0) > self.ppr() & 0xF0
    }

    /// The task priority.
    pub(crate) fn task_priority(&self) -> u32 {
        self.tpr
    }

    /// The guest may have written CR8, which is the class of the task priority.
    pub(crate) fn set_priority_class(&mut self, class: u8) {
        let class = u32::from(class & 0xF);
        if self.tpr >> 4 != class {
            self.tpr = class << 4;
        }
    }

    /// A request was put into the CPU.
    pub(crate) fn begin(&mut self, vector: u8) {
        self.isr.change(vector, true);
    }

    #[inline]
    fn end(&mut self) -> Effect {
        if let Some(vector) = self.isr.highest() {
            self.isr.change(vector, false);
        }
        Effect::Look
    }

    /// The timer's vector, if it is to be requested: it is an interrupt's.
    fn timer_vector(&self) -> Option<u8> {
        let entry = self.lvt[TIMER];
        let vector = (entry & 0xFF) as u8;
        (entry & MASKED == 0 && vector >= FIRST_VECTOR).then_some(vector)
    }

    fn is_tsc_deadline(&self) -> bool {
        self.lvt[TIMER] & MODE == TSC_DEADLINE
    }

    /// The guest TSC at which the timer expires.
    pub(crate) fn deadline(&self) -> Option<u64> {
        (self.deadline != 0).then_some(self.deadline)
    }

    /// The timer has expired if its deadline has come. Returns the vector to request.
    pub(crate) fn expire(&mut self, now: Now) -> Option<u8> {
        if self.deadline == 0 || self.deadline > now.tsc {
            return None;
        }
        let is_periodic = self.lvt[TIMER] & MODE == PERIODIC;
        let period = if is_periodic { self.period(now) } else { 0 };
        self.deadline = match period {
            0 => 0,
            // Periods that nobody saw are lost, as on a machine whose interrupts were masked.
            _ => self.deadline + ((now.tsc - self.deadline) / period + 1) * period,
        };
        self.timer_vector()
    }

    fn divisor(&self) -> u64 {
        let code = self.divide & 3 | self.divide >> 1 & 4;
        1 << ((code + 1) & 7)
    }

    /// TSC ticks from the initial count to zero.
    fn period(&self, now: Now) -> u64 {
        now.ticks(u64::from(self.initial_count) * self.divisor() * TICK_NS)
    }

    fn start_timer(&mut self, count: u32, now: Now) -> Effect {
        if self.is_tsc_deadline() {
            return Effect::Nothing;
        }
        self.initial_count = count;
        self.deadline = match count {
            0 => 0,
            _ => now.tsc.wrapping_add(self.period(now).max(1)),
        };
        Effect::Timer
    }

    fn current_count(&self, now: Now) -> u32 {
        if self.is_tsc_deadline() || self.deadline == 0 {
            return 0;
        }
        let left = self.deadline.saturating_sub(now.tsc);
        let count = now.ns(left) / (self.divisor() * TICK_NS);
        u32::try_from(count)
            .unwrap_or(u32::MAX)
            .min(self.initial_count)
    }

    /// IA32_TSC_DEADLINE.
    pub(crate) fn tsc_deadline(&self) -> u64 {
        if self.is_tsc_deadline() {
            self.deadline
        } else {
            0
        }
    }

    /// Writes IA32_TSC_DEADLINE.
    pub(crate) fn set_tsc_deadline(&mut self, value: u64) -> Effect {
        if !self.is_tsc_deadline() {
            return Effect::Nothing;
        }
        self.deadline = value;
        Effect::Timer
    }

    fn set_lvt(&mut self, index: usize, value: u32) -> Effect {
        let (Some(entry), Some(bits)) = (self.lvt.get_mut(index), LVT_BITS.get(index)) else {
            return Effect::Nothing;
        };
        let before = *entry;
        *entry = value & bits;
        if self.svr & SOFTWARE_ENABLED == 0 {
            *entry |= MASKED;
        }
        if index != TIMER {
            return Effect::Nothing;
        }
        if (before ^ *entry) & MODE & TSC_DEADLINE != 0 {
            self.deadline = 0;
        }
        Effect::Timer
    }

    fn set_svr(&mut self, value: u32) -> Effect {
        self.svr = value & 0x1FF;
        if self.svr & SOFTWARE_ENABLED == 0 {
            for entry in &mut self.lvt {
                *entry |= MASKED;
            }
        }
        Effect::Look
    }

    /// Reads a register. `irr`: what is requested.
    pub(crate) fn read(&self, number: u32, irr: &Vectors, now: Now) -> Result<u64, Illegal> {
        let value = match number {
            register::ID => self.id,
            register::VERSION => VERSION,
            register::TPR => self.tpr,
            register::PPR => self.ppr(),
            register::LDR => self.logical_id(),
            register::SVR => self.svr,
            register::ISR..register::TMR => self.isr.part(number - register::ISR),
            // Everything is edge-triggered.
            register::TMR..register::IRR => 0,
            register::IRR..register::ESR => irr.part(number - register::IRR),
            register::ESR => self.esr_shown,
            register::LVT_CMCI => self.lvt[0],
            register::ICR => return Ok(self.icr),
            register::LVT_TIMER..=register::LVT_ERROR => {
                let index = (number - register::LVT_TIMER) as usize + TIMER;
                self.lvt.get(index).copied().unwrap_or(0)
            }
            register::INITIAL_COUNT => self.initial_count,
            register::CURRENT_COUNT => self.current_count(now),
            register::DIVIDE => self.divide,
            _ => return Err(Illegal),
        };
        Ok(u64::from(value))
    }

    /// x2APIC's logical identification, which follows from the other.
    fn logical_id(&self) -> u32 {
        self.id >> 4 << 16 | 1 << (self.id & 0xF)
    }

    /// Writes a register in x2APIC mode.
    pub(crate) fn write(&mut self, number: u32, value: u64, now: Now) -> Result<Effect, Illegal> {
        if number == register::ICR {
            return self.command(value);
        }
        let value = u32::try_from(value).map_err(|_| Illegal)?;
        match number {
            register::EOI if value == 0 => Ok(self.end()),
            register::TPR if value <= 0xFF => {
                self.tpr = value;
                Ok(Effect::Look)
            }
            register::SVR if value & !0x11FF == 0 => Ok(self.set_svr(value)),
            register::ESR if value == 0 => {
                self.esr_shown = core::mem::take(&mut self.esr);
                Ok(Effect::Nothing)
            }
            register::LVT_CMCI => self.checked_lvt(0, value),
            register::LVT_TIMER..=register::LVT_ERROR => {
                self.checked_lvt((number - register::LVT_TIMER) as usize + TIMER, value)
            }
            register::INITIAL_COUNT => Ok(self.start_timer(value, now)),
            register::DIVIDE if value & !0xB == 0 => {
                self.divide = value;
                Ok(Effect::Nothing)
            }
            register::SELF_IPI if value <= 0xFF => Ok(self.send(Ipi {
                kind: IpiKind::Fixed(value as u8),
                to: Destination::Itself,
            })),
            _ => Err(Illegal),
        }
    }

    fn checked_lvt(&mut self, index: usize, value: u32) -> Result<Effect, Illegal> {
        // Delivery status and remote IRR are read-only, not reserved.
        const READ_ONLY: u32 = 1 << 12 | 1 << 14;
        let bits = LVT_BITS.get(index).copied().unwrap_or(0);
        if value & !(bits | READ_ONLY) != 0 || index == TIMER && value & MODE == MODE {
            return Err(Illegal);
        }
        Ok(self.set_lvt(index, value))
    }

    fn command(&mut self, value: u64) -> Result<Effect, Illegal> {
        const BITS: u64 = 0xFFFF_FFFF_000C_DFFF;
        if value & !BITS != 0 {
            return Err(Illegal);
        }
        self.icr = value & !(1 << 12);
        Ok(decode_command(value).map_or(Effect::Nothing, |ipi| self.send(ipi)))
    }

    /// A vector that is no interrupt's is not sent but noted.
    fn send(&mut self, ipi: Ipi) -> Effect {
        match ipi.kind {
            IpiKind::Fixed(vector) if vector < FIRST_VECTOR => {
                self.esr |= ERROR_SENT_VECTOR;
                self.error()
            }
            _ => Effect::Send(ipi),
        }
    }

    /// Requests the error interrupt, if it is wanted.
    fn error(&self) -> Effect {
        let entry = self.lvt[ERROR];
        let vector = (entry & 0xFF) as u8;
        if entry & MASKED != 0 || vector < FIRST_VECTOR {
            return Effect::Nothing;
        }
        Effect::Send(Ipi {
            kind: IpiKind::Fixed(vector),
            to: Destination::Itself,
        })
    }

    /// Whether an IPI's destination is this APIC.
    pub(crate) fn is_addressed(id: u32, from: u32, to: Destination) -> bool {
        match to {
            Destination::Itself => id == from,
            Destination::All => true,
            Destination::Others => id != from,
            Destination::Physical(u32::MAX) => true,
            Destination::Physical(number) => number == id,
            Destination::Logical(u32::MAX) => true,
            Destination::Logical(mask) => mask >> 16 == id >> 4 && mask >> (id & 0xF) & 1 != 0,
        }
    }

    /// Writes IA32_APIC_BASE: modes follow each other as the manual's figure says; the address stays.
    pub(crate) fn set_base(&mut self, value: u64) -> Result<(), Illegal> {
        const FIXED: u64 = !(base::ENABLED | base::X2APIC);
        let mode = |value: u64| (value & base::ENABLED != 0, value & base::X2APIC != 0);
        let is_refused = matches!(
            (mode(self.base), mode(value)),
            (_, (false, true)) | ((true, true), (true, false)) | ((false, false), (true, true))
        );
        if is_refused || (value ^ self.base) & FIXED != 0 {
            return Err(Illegal);
        }
        if mode(value) == (false, false) && self.base != value {
            let fresh = Self::new(self.id);
            *self = fresh;
        }
        self.base = value;
        Ok(())
    }

    /// Its record; what is requested is added by who knows.
    pub(crate) fn save(&self) -> Record {
        Record {
            base: self.base,
            isr: self.isr.0,
            tpr: self.tpr,
            svr: self.svr,
            esr: self.esr,
            esr_shown: self.esr_shown,
            lvt: self.lvt,
            divide: self.divide,
            initial_count: self.initial_count,
            icr: self.icr,
            deadline: self.deadline,
            ..Record::default()
        }
    }

    /// An APIC in the state of a record.
    ///
    /// # Errors
    /// `EINVAL`: no state that a guest could have brought about.
    pub(crate) fn restore(id: u32, record: &Record) -> Result<Self, Errno> {
        let fresh = Self::new(id);
        let modes = [0, base::ENABLED, base::ENABLED | base::X2APIC];
        let fixed = fresh.base & !(base::ENABLED | base::X2APIC);
        let lvt = record
            .lvt
            .iter()
            .zip(LVT_BITS)
            .all(|(entry, bits)| entry & !bits == 0);
        let reachable = modes.iter().any(|mode| record.base == fixed | mode)
            && record.tpr <= 0xFF
            && record.svr & !0x1FF == 0
            && record.esr & !(ERROR_SENT_VECTOR | ERROR_REGISTER) == 0
            && record.esr_shown & !(ERROR_SENT_VECTOR | ERROR_REGISTER) == 0
            && record.divide & !0xB == 0
            && record.isr[0] & 0xFFFF == 0
            && record.lvt[TIMER] & MODE != MODE
            && lvt;
        if !reachable {
            return Err(Errno::EINVAL);
        }
        Ok(Self {
            id,
            base: record.base,
            isr: Vectors(record.isr),
            tpr: record.tpr,
            svr: record.svr,
            esr: record.esr,
            esr_shown: record.esr_shown,
            lvt: record.lvt,
            divide: record.divide,
            initial_count: record.initial_count,
            icr: record.icr,
            deadline: record.deadline,
        })
    }
}

/// An interrupt command. Delivery modes that do nothing here (SMI, lowest priority to nobody) are none.
fn decode_command(value: u64) -> Option<Ipi> {
    const LEVEL_ASSERT: u64 = 1 << 14;
    const LEVEL_TRIGGERED: u64 = 1 << 15;
    let vector = (value & 0xFF) as u8;
    let kind = match value >> 8 & 7 {
        // Lowest priority: any of the addressed may take it; all of them do.
        0 | 1 => IpiKind::Fixed(vector),
        4 => IpiKind::Nmi,
        // The end of an INIT's level is for buses of the last century.
        5 if value & LEVEL_TRIGGERED != 0 && value & LEVEL_ASSERT == 0 => return None,
        5 => IpiKind::Init,
        6 => IpiKind::Startup(vector),
        _ => return None,
    };
    let to = match value >> 18 & 3 {
        1 => Destination::Itself,
        2 => Destination::All,
        3 => Destination::Others,
        _ if value & 1 << 11 != 0 => Destination::Logical((value >> 32) as u32),
        _ => Destination::Physical((value >> 32) as u32),
    };
    Some(Ipi { kind, to })
}

#[cfg(test)]
mod tests;
