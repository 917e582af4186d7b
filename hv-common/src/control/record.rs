//! Records as their reader sees them: pure checks of every field, as if the guest had written it.
//!
//! What passes here is a state that the guest could have brought about by itself.

use hv_abi::record::{Domain, Header, NO_FRAME, Platform, Vcpu};
use hv_abi::xen::assist;
use hv_abi::{Errno, FRAME_SHIFT, FRAME_SIZE};
use zerocopy::FromBytes;

use crate::arch::{Gfn, Gpa};

/// Version of all layouts.
pub const VERSION: u16 = 1;
/// Counters beyond this are refused: sums with them would overflow, and no machine runs that long.
const COUNTER_MAX: u64 = 1 << 62;

/// Splits a record into header and body.
///
/// # Errors
/// `EINVAL`: the length is not that of the body, padded or not.
pub fn split(bytes: &[u8]) -> Result<(Header, &[u8]), Errno> {
    let (header, rest) = Header::read_from_prefix(bytes).map_err(|_| Errno::EINVAL)?;
    let length = usize::try_from(header.length).map_err(|_| Errno::EINVAL)?;
    let padded = length.checked_next_multiple_of(8);
    let body = rest.get(..length).ok_or(Errno::EINVAL)?;
    let whole = rest.len() == length || Some(rest.len()) == padded;
    whole.then_some((header, body)).ok_or(Errno::EINVAL)
}

/// A guest frame, if the record names one that can be.
fn frame(number: u64, limit: u64) -> Result<Option<Gfn>, Errno> {
    match number {
        NO_FRAME => Ok(None),
        number if number < limit => Ok(Some(Gfn(number))),
        _ => Err(Errno::EINVAL),
    }
}

fn flag(value: u32) -> Result<bool, Errno> {
    match value {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(Errno::EINVAL),
    }
}

/// What a [`Domain`] record says, apart from pages and parameters, which may be anything.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DomainFacts {
    /// Where `shared_info` is mapped.
    pub shared_info: Option<Gfn>,
    /// Enabled assists.
    pub assists: u64,
    /// Guest counter, ticks.
    pub guest_counter: u64,
}

/// Checks a [`Domain`] record against a memory of `limit` guest frames.
///
/// # Errors
/// `EINVAL`.
pub fn domain(record: &Domain, limit: u64) -> Result<DomainFacts, Errno> {
    let known = 1 << assist::RUNSTATE_UPDATE_FLAG;
    let plausible = record.assists & !known == 0
        && record.guest_counter < COUNTER_MAX
        && record.system_time_ns < COUNTER_MAX;
    if !plausible {
        return Err(Errno::EINVAL);
    }
    Ok(DomainFacts {
        shared_info: frame(record.shared_info_gfn, limit)?,
        assists: record.assists,
        guest_counter: record.guest_counter,
    })
}

/// What a [`Vcpu`] record says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct VcpuFacts {
    /// It is switched on.
    pub online: bool,
    /// It has registers that it was, or can be, switched on with.
    pub has_context: bool,
    /// Where its `vcpu_info` is, if not in `shared_info`.
    pub info: Option<Gpa>,
    /// Where its runstate area is.
    pub runstate: Option<Gpa>,
    /// Singleshot timer, guest system time.
    pub singleshot_ns: Option<u64>,
    /// Times spent in each run state.
    pub runstate_time: [u64; 4],
}

/// Checks a [`Vcpu`] record against a memory of `limit` guest frames.
///
/// # Errors
/// `EINVAL`.
pub fn vcpu(record: &Vcpu, limit: u64) -> Result<VcpuFacts, Errno> {
    let (online, has_context) = match record.online {
        0 => (false, false),
        1 => (true, true),
        2 => (false, true),
        _ => return Err(Errno::EINVAL),
    };
    let blocked = flag(record.blocked)?;
    let polling = flag(record.polling)?;
    let times = record.runstate_time.iter().all(|time| *time < COUNTER_MAX);
    let states = online || !(blocked || polling);
    let port = record.poll_port < hv_abi::xen::event::PORTS && (polling || record.poll_port == 0);
    if !(times && states && port && record.singleshot_ns < COUNTER_MAX) {
        return Err(Errno::EINVAL);
    }
    let info = match frame(record.info_gfn, limit)? {
        None if record.info_offset == 0 => None,
        Some(gfn) if record.info_offset < FRAME_SIZE as u64 => {
            Some(Gpa((gfn.0 << FRAME_SHIFT) + record.info_offset))
        }
        _ => return Err(Errno::EINVAL),
    };
    let runstate = match record.runstate_gpa {
        NO_FRAME => None,
        gpa if gpa >> FRAME_SHIFT < limit => Some(Gpa(gpa)),
        _ => return Err(Errno::EINVAL),
    };
    Ok(VcpuFacts {
        online,
        has_context,
        info,
        runstate,
        singleshot_ns: (record.singleshot_ns != 0).then_some(record.singleshot_ns),
        runstate_time: record.runstate_time,
    })
}

/// Why a guest cannot go on here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mismatch {
    /// The counter runs at another rate.
    CounterRate,
    /// The guest-physical address space is smaller here.
    AddressBits,
    /// Another interrupt controller.
    InterruptController,
    /// The CPU differs in a feature word that the guest was shown.
    Features,
}

/// Compares what a guest was shown with what is here.
///
/// # Errors
/// The first difference that matters.
pub fn requirements(saved: &Platform, here: &Platform) -> Result<(), Mismatch> {
    if !hv_abi::record::do_rates_agree(saved.counter_hz, here.counter_hz) {
        return Err(Mismatch::CounterRate);
    }
    if saved.ipa_bits > here.ipa_bits {
        return Err(Mismatch::AddressBits);
    }
    if saved.interrupt_controller_version != here.interrupt_controller_version {
        return Err(Mismatch::InterruptController);
    }
    if saved.features != here.features {
        return Err(Mismatch::Features);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use zerocopy::IntoBytes;

    const LIMIT: u64 = 1 << 27;

    fn good_vcpu() -> Vcpu {
        Vcpu {
            online: 1,
            info_gfn: 0x4_0123,
            info_offset: 0x80,
            runstate_gpa: 0x4012_3040,
            singleshot_ns: 5,
            ..Vcpu::default()
        }
    }

    #[test]
    fn facts_are_what_the_record_says() {
        let facts = vcpu(&good_vcpu(), LIMIT).unwrap();
        assert!(facts.online);
        assert_eq!(facts.info, Some(Gpa(0x4012_3080)));
        assert_eq!(facts.runstate, Some(Gpa(0x4012_3040)));
        assert_eq!(facts.singleshot_ns, Some(5));
    }

    #[test]
    fn what_no_guest_can_do_is_refused() {
        let good = good_vcpu();
        let bad = [
            Vcpu { online: 3, ..good },
            Vcpu {
                online: 0,
                blocked: 1,
                ..good
            },
            Vcpu {
                online: 2,
                polling: 1,
                ..good
            },
            Vcpu {
                info_gfn: LIMIT,
                ..good
            },
            Vcpu {
                info_offset: 4096,
                ..good
            },
            Vcpu {
                info_gfn: NO_FRAME,
                ..good
            },
            Vcpu {
                runstate_gpa: LIMIT << 12,
                ..good
            },
            Vcpu {
                poll_port: 1,
                ..good
            },
            Vcpu {
                polling: 1,
                poll_port: 4096,
                ..good
            },
            Vcpu {
                singleshot_ns: u64::MAX,
                ..good
            },
            Vcpu {
                runstate_time: [0, 0, 0, u64::MAX],
                ..good
            },
        ];
        for record in bad {
            assert_eq!(vcpu(&record, LIMIT), Err(Errno::EINVAL), "{record:?}");
        }
    }

    #[test]
    fn no_flipped_bit_makes_a_reader_panic() {
        for bit in 0..8 * size_of::<Vcpu>() {
            let mut record = good_vcpu();
            record.as_mut_bytes()[bit / 8] ^= 1 << (bit % 8);
            let _checked = vcpu(&record, LIMIT);
        }
        let good = Platform {
            counter_hz: 62_500_000,
            ipa_bits: 40,
            interrupt_controller_version: 3,
            ..Platform::default()
        };
        for bit in 0..8 * size_of::<Platform>() {
            let mut record = good;
            record.as_mut_bytes()[bit / 8] ^= 1 << (bit % 8);
            let _checked = requirements(&record, &good);
        }
    }

    #[test]
    fn a_guest_needs_what_it_was_shown() {
        let here = Platform {
            counter_hz: 62_500_000,
            ipa_bits: 40,
            interrupt_controller_version: 3,
            ..Platform::default()
        };
        assert_eq!(requirements(&here, &here), Ok(()));
        assert_eq!(
            requirements(
                &Platform {
                    ipa_bits: 39,
                    ..here
                },
                &here
            ),
            Ok(())
        );
        let cases = [
            (
                Platform {
                    counter_hz: 1,
                    ..here
                },
                Mismatch::CounterRate,
            ),
            (
                Platform {
                    ipa_bits: 48,
                    ..here
                },
                Mismatch::AddressBits,
            ),
            (
                Platform {
                    interrupt_controller_version: 2,
                    ..here
                },
                Mismatch::InterruptController,
            ),
            (
                Platform {
                    features: [1; 16],
                    ..here
                },
                Mismatch::Features,
            ),
        ];
        for (saved, why) in cases {
            assert_eq!(requirements(&saved, &here), Err(why));
        }
    }

    #[test]
    fn a_record_has_the_length_it_says() {
        let mut bytes = [0; 32];
        bytes[8] = 9;
        assert_eq!(split(&bytes[..25]).unwrap().1.len(), 9);
        assert_eq!(split(&bytes[..32]).unwrap().1.len(), 9);
        for length in [0, 15, 16, 24, 26, 31] {
            assert_eq!(split(&bytes[..length]), Err(Errno::EINVAL), "{length}");
        }
        bytes[8..16].fill(0xFF);
        assert_eq!(split(&bytes), Err(Errno::EINVAL));
    }
}
