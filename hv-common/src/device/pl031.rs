//! A PL031 real-time clock (DDI 0224): seconds, and an alarm at one of them.
//!
//! It counts the host's wall-clock time; what the guest sets is an offset to it. Times here are wall-clock seconds.

use hv_abi::Errno;
use hv_abi::record::Pl031 as Record;

use super::identification;

mod register {
    pub(super) const DR: u64 = 0x00;
    pub(super) const MR: u64 = 0x04;
    pub(super) const LR: u64 = 0x08;
    pub(super) const CR: u64 = 0x0C;
    pub(super) const IMSC: u64 = 0x10;
    pub(super) const RIS: u64 = 0x14;
    pub(super) const MIS: u64 = 0x18;
    pub(super) const ICR: u64 = 0x1C;
}

/// "Never", as a time.
const NEVER: u64 = u64::MAX;
/// RTCPeriphID0 to 3.
const PART: u32 = 0x0004_1031;

/// The clock's registers.
#[derive(Clone, Debug)]
pub(super) struct Pl031 {
    /// RTCDR minus the time, modulo 2^32.
    offset: u32,
    mr: u32,
    lr: u32,
    imsc: bool,
    ris: bool,
    /// When RTCDR reaches RTCMR.
    due_s: u64,
}

#[allow(clippy::cast_possible_truncation, reason = "the register has 32 bits")]
const fn low(seconds: u64) -> u32 {
    seconds as u32
}

impl Pl031 {
    pub(super) const fn new() -> Self {
        Self {
            offset: 0,
            mr: 0,
            lr: 0,
            imsc: false,
            ris: false,
            due_s: NEVER,
        }
    }

    /// A load at a time. Registers that are not there read as zero.
    pub(super) fn read(&self, offset: u64, now_s: u64) -> u32 {
        match offset {
            register::DR => self.shown(now_s),
            register::MR => self.mr,
            register::LR => self.lr,
            // It cannot be switched off.
            register::CR => 1,
            register::IMSC => u32::from(self.imsc),
            register::RIS => u32::from(self.ris),
            register::MIS => u32::from(self.interrupts()),
            offset => identification(offset, PART),
        }
    }

    /// A store at a time. Returns whether the alarm has moved.
    pub(super) fn write(&mut self, offset: u64, value: u32, now_s: u64) -> bool {
        match offset {
            register::MR => self.mr = value,
            register::LR => {
                self.lr = value;
                self.offset = value.wrapping_sub(low(now_s));
            }
            register::IMSC => self.imsc = value & 1 != 0,
            register::ICR => self.ris &= value & 1 == 0,
            _ => {}
        }
        let moved = matches!(offset, register::MR | register::LR);
        if moved {
            let ahead = self.mr.wrapping_sub(self.shown(now_s));
            self.due_s = now_s.saturating_add(u64::from(ahead));
            self.pass(now_s);
        }
        moved
    }

    fn shown(&self, now_s: u64) -> u32 {
        low(now_s).wrapping_add(self.offset)
    }

    /// Time has passed.
    pub(super) fn pass(&mut self, now_s: u64) {
        if self.due_s <= now_s {
            self.ris = true;
            self.due_s = NEVER;
        }
    }

    /// When to call [`Self::pass`].
    pub(super) fn due_s(&self) -> Option<u64> {
        (self.due_s != NEVER).then_some(self.due_s)
    }

    /// Whether its interrupt line is high.
    pub(super) fn interrupts(&self) -> bool {
        self.ris && self.imsc
    }

    pub(super) fn save(&self) -> Record {
        Record {
            offset: self.offset,
            mr: self.mr,
            lr: self.lr,
            imsc: u32::from(self.imsc),
            ris: u32::from(self.ris),
            reserved: 0,
            due_s: self.due_s,
        }
    }

    /// From a record.
    ///
    /// # Errors
    /// `EINVAL` for bits that no write could have set.
    pub(super) fn restore(record: &Record) -> Result<Self, Errno> {
        if record.imsc > 1 || record.ris > 1 || record.reserved != 0 {
            return Err(Errno::EINVAL);
        }
        Ok(Self {
            offset: record.offset,
            mr: record.mr,
            lr: record.lr,
            imsc: record.imsc != 0,
            ris: record.ris != 0,
            due_s: record.due_s,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-26.
    const NOW: u64 = 1_795_651_200;

    #[test]
    fn it_shows_the_time_and_can_be_set() {
        let mut clock = Pl031::new();
        assert_eq!(u64::from(clock.read(register::DR, NOW)), NOW);
        assert!(clock.write(register::LR, 1000, NOW));
        assert_eq!(clock.read(register::DR, NOW + 5), 1005);
        assert_eq!(clock.read(register::LR, NOW + 5), 1000);
        assert_eq!(clock.read(register::CR, NOW), 1);
        let id = |offset| clock.read(offset, NOW);
        assert_eq!([0xFE0, 0xFE4, 0xFE8, 0xFEC].map(id), [0x31, 0x10, 0x04, 0]);
    }

    #[test]
    fn the_alarm_comes_when_it_is_due() {
        let mut clock = Pl031::new();
        assert!(!clock.write(register::IMSC, 1, NOW));
        assert!(clock.write(register::MR, low(NOW) + 10, NOW));
        assert_eq!(clock.due_s(), Some(NOW + 10));
        clock.pass(NOW + 9);
        assert!(!clock.interrupts());
        clock.pass(NOW + 10);
        assert!(clock.interrupts());
        assert_eq!((clock.read(register::MIS, NOW), clock.due_s()), (1, None));
        let _ = clock.write(register::ICR, 1, NOW + 11);
        assert!(!clock.interrupts());
    }

    #[test]
    fn an_alarm_for_now_comes_now_and_one_in_the_past_in_an_age() {
        let mut clock = Pl031::new();
        let _ = clock.write(register::MR, low(NOW), NOW);
        assert_eq!(clock.read(register::RIS, NOW), 1);
        let _ = clock.write(register::ICR, 1, NOW);
        let _ = clock.write(register::MR, low(NOW) - 1, NOW);
        assert_eq!(clock.due_s(), Some(NOW + u64::from(u32::MAX)));
    }

    #[test]
    fn records_round_trip_and_are_checked() {
        let mut clock = Pl031::new();
        let _ = clock.write(register::LR, 7, NOW);
        let _ = clock.write(register::MR, 9, NOW);
        let record = clock.save();
        assert_eq!(Pl031::restore(&record).unwrap().save(), record);
        assert!(Pl031::restore(&Record { ris: 2, ..record }).is_err());
    }
}
