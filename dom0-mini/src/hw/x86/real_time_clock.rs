//! The wall clock: an MC146818 behind ports 0x70 and 0x71 (its data sheet; the century is where PCs keep it).

use super::mc146818::Registers;
use hv_abi::start::{Device, DeviceKind};
use x86_64::instructions::port::Port;

const SECONDS: u8 = 0x00;
const MINUTES: u8 = 0x02;
const HOURS: u8 = 0x04;
const DAY: u8 = 0x07;
const MONTH: u8 = 0x08;
const YEAR: u8 = 0x09;
const STATUS_A: u8 = 0x0A;
const STATUS_B: u8 = 0x0B;
const CENTURY: u8 = 0x32;

/// Status A: an update is in progress, or about to begin.
const UPDATE_IN_PROGRESS: u8 = 1 << 7;
/// Readings of status A that take longer than an update (2 ms) on any machine.
const PATIENCE: usize = 100_000;
/// Readings of the whole clock, until two agree.
const TRIES: usize = 8;

/// Seconds since 1970, if there is a clock that is set.
pub(crate) fn wall_clock_s(devices: &[Device]) -> Option<u64> {
    let device = devices
        .iter()
        .find(|device| device.kind == DeviceKind::CMOS)?;
    let mut clock = Clock::at(u16::try_from(device.registers.base).ok()?);
    clock.stable()?.unix_seconds()
}

struct Clock {
    index: Port<u8>,
    data: Port<u8>,
}

impl Clock {
    fn at(base: u16) -> Self {
        Self {
            index: Port::new(base),
            data: Port::new(base + 1),
        }
    }

    fn register(&mut self, number: u8) -> u8 {
        // SAFETY: the start page gives us the clock's two ports; selecting a register changes nothing else.
        unsafe { self.index.write(number) };
        // SAFETY: as above; reading the registers used here has no side effect.
        unsafe { self.data.read() }
    }

    /// Two equal readings with no update between them.
    fn stable(&mut self) -> Option<Registers> {
        let mut last = None;
        for _ in 0..TRIES {
            let idle = (0..PATIENCE).any(|_| self.register(STATUS_A) & UPDATE_IN_PROGRESS == 0);
            let now = idle.then(|| self.registers());
            if now.is_some() && now == last {
                return now;
            }
            last = now;
        }
        None
    }

    fn registers(&mut self) -> Registers {
        Registers {
            seconds: self.register(SECONDS),
            minutes: self.register(MINUTES),
            hours: self.register(HOURS),
            day: self.register(DAY),
            month: self.register(MONTH),
            year: self.register(YEAR),
            century: self.register(CENTURY),
            status_b: self.register(STATUS_B),
        }
    }
}
