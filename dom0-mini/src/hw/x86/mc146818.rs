//! What an MC146818 real-time clock shows, as time (Motorola MC146818A data sheet, "Time, calendar, and alarm
//! locations" and "Register B"). It is taken to run on UTC.

/// The registers, as they were read between two updates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Registers {
    /// 0 to 59.
    pub(crate) seconds: u8,
    /// 0 to 59.
    pub(crate) minutes: u8,
    /// 0 to 23, or 1 to 12 with bit 7 for the afternoon.
    pub(crate) hours: u8,
    /// Day of the month.
    pub(crate) day: u8,
    /// 1 to 12.
    pub(crate) month: u8,
    /// 0 to 99.
    pub(crate) year: u8,
    /// Not the clock's own: RAM in which a PC keeps the century, or something else.
    pub(crate) century: u8,
    /// Register B: the formats.
    pub(crate) status_b: u8,
}

/// Register B: binary numbers, else BCD.
const BINARY: u8 = 1 << 2;
/// Register B: hours from 0 to 23.
const HOURS_24: u8 = 1 << 1;
/// In 12-hour mode: the afternoon.
const AFTERNOON: u8 = 1 << 7;

const DAY_S: u64 = 86_400;

impl Registers {
    /// Seconds since 1970, unless the clock shows no time.
    pub(crate) fn unix_seconds(&self) -> Option<u64> {
        let number = |value| number(value, self.status_b);
        let (seconds, minutes) = (number(self.seconds)?, number(self.minutes)?);
        let (day, month) = (number(self.day)?, number(self.month)?);
        let hours = self.hours()?;
        let plausible = seconds <= 59
            && minutes <= 59
            && hours <= 23
            && (1..=31).contains(&day)
            && (1..=12).contains(&month);
        let days = days_since_1970(self.full_year()?, month, day)?;
        plausible.then(|| days * DAY_S + hours * 3_600 + minutes * 60 + seconds)
    }

    fn hours(&self) -> Option<u64> {
        if self.status_b & HOURS_24 != 0 {
            return number(self.hours, self.status_b);
        }
        let hours = number(self.hours & !AFTERNOON, self.status_b)?;
        let afternoon = if self.hours & AFTERNOON != 0 { 12 } else { 0 };
        (1..=12).contains(&hours).then_some(hours % 12 + afternoon)
    }

    /// A century that is none is passed over: the clock then is of this one.
    fn full_year(&self) -> Option<u64> {
        let year = number(self.year, self.status_b).filter(|year| *year <= 99)?;
        let century = number(self.century, self.status_b);
        let century = century.filter(|century| (19..=21).contains(century));
        Some(century.unwrap_or(20) * 100 + year)
    }
}

/// A value as register B says it is written.
fn number(value: u8, status_b: u8) -> Option<u64> {
    let (tens, ones) = (u64::from(value >> 4), u64::from(value & 0xF));
    if status_b & BINARY != 0 {
        Some(u64::from(value))
    } else {
        (tens <= 9 && ones <= 9).then_some(tens * 10 + ones)
    }
}

/// Days from 1 January 1970 to a day of the Gregorian calendar; `None` before that.
fn days_since_1970(year: u64, month: u64, day: u64) -> Option<u64> {
    // Years that begin in March have their leap day at the end, and months of 153 days for each five.
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year.checked_sub(1)?, month + 9)
    };
    let leap_days = year / 4 - year / 100 + year / 400;
    let days = year * 365 + leap_days + (month * 153 + 2) / 5 + day.checked_sub(1)?;
    // 1 March of year 0 to 1 January 1970.
    days.checked_sub(719_468)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 27 November 2026, 15:42:54, as most PCs have it: BCD, 24 hours.
    const BCD: Registers = Registers {
        seconds: 0x54,
        minutes: 0x42,
        hours: 0x15,
        day: 0x27,
        month: 0x11,
        year: 0x26,
        century: 0x20,
        status_b: HOURS_24,
    };
    const BCD_S: u64 = 1_795_794_174;

    #[test]
    fn a_bcd_clock_is_read() {
        assert_eq!(BCD.unix_seconds(), Some(BCD_S));
    }

    #[test]
    fn a_binary_clock_says_the_same() {
        let binary = Registers {
            seconds: 54,
            minutes: 42,
            hours: 15,
            day: 27,
            month: 11,
            year: 26,
            century: 20,
            status_b: HOURS_24 | BINARY,
        };
        assert_eq!(binary.unix_seconds(), Some(BCD_S));
    }

    #[test]
    fn twelve_hours_have_two_halves() {
        let at = |hours| {
            Registers {
                hours,
                status_b: 0,
                ..BCD
            }
            .unix_seconds()
            .map(|s| s % DAY_S / 3_600)
        };
        assert_eq!(at(0x12), Some(0));
        assert_eq!(at(0x01), Some(1));
        assert_eq!(at(0x12 | AFTERNOON), Some(12));
        assert_eq!(at(0x11 | AFTERNOON), Some(23));
        assert_eq!(at(0x00), None);
        assert_eq!(at(0x13), None);
    }

    #[test]
    fn a_century_that_is_none_does_not_matter() {
        for century in [0, 0x18, 0x22, 0xFF] {
            assert_eq!(Registers { century, ..BCD }.unix_seconds(), Some(BCD_S));
        }
        let last = Registers {
            century: 0x19,
            year: 0x70,
            month: 0x01,
            day: 0x01,
            hours: 0,
            minutes: 0,
            seconds: 0x01,
            ..BCD
        };
        assert_eq!(last.unix_seconds(), Some(1));
        assert_eq!(Registers { year: 0x69, ..last }.unix_seconds(), None);
    }

    #[test]
    fn leap_days_count() {
        let on = |year, month, day| {
            Registers {
                year,
                month,
                day,
                ..BCD
            }
            .unix_seconds()
            .map(|s| s / DAY_S)
        };
        assert_eq!(on(0x00, 0x02, 0x29), Some(11_016));
        assert_eq!(on(0x00, 0x03, 0x01), Some(11_017));
        assert_eq!(on(0x24, 0x12, 0x31), Some(20_088));
        assert_eq!(on(0x25, 0x01, 0x01), Some(20_089));
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for wrong in [
            Registers {
                seconds: 0x60,
                ..BCD
            },
            Registers {
                minutes: 0x5A,
                ..BCD
            },
            Registers { hours: 0x24, ..BCD },
            Registers { day: 0, ..BCD },
            Registers { day: 0x32, ..BCD },
            Registers { month: 0x13, ..BCD },
            Registers { month: 0, ..BCD },
            Registers { year: 0xFF, ..BCD },
        ] {
            assert_eq!(wrong.unix_seconds(), None, "{wrong:?}");
        }
    }
}
