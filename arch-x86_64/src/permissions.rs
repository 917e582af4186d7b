//! Permission maps: which ports and MSRs do not exit, as VMCBs and VMCSs refer to them.
//!
//! A bit is set where the guest exits. Maps of ports are the same for both vendors (AMD APM, volume 2, "I/O Intercepts";
//! Intel SDM, volume 3, "I/O-Bitmap Addresses"), but for a third page that only AMD has, for accesses that go beyond the
//! last port. Maps of MSRs are laid out differently: [`MsrLayout`].

use crate::{msr, ports};

/// Machine addresses of a domain's maps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Maps {
    pub(crate) io: u64,
    pub(crate) msr: u64,
}

impl Maps {
    /// A domain's; `hardware`: Domain-0's.
    pub(crate) fn new<const SIZE: usize>(hardware: bool, msrs: &'static Map<SIZE>) -> Self {
        let io = if hardware { &DOM0_PORTS } else { &NO_PORTS };
        Self {
            io: io.address(),
            msr: msrs.address(),
        }
    }
}

/// A map. The CPU finds it by its machine address, which is where it lies.
#[repr(C, align(4096))]
#[derive(Debug)]
pub(crate) struct Map<const SIZE: usize>([u8; SIZE]);

impl<const SIZE: usize> Map<SIZE> {
    /// Everything exits.
    const fn closed() -> Self {
        Self([0xFF; SIZE])
    }

    const fn open(&mut self, bit: usize) {
        self.0[bit / 8] &= !(1 << (bit % 8));
    }

    fn address(&'static self) -> u64 {
        core::ptr::from_ref(self).addr() as u64
    }
}

/// Every port exits.
static NO_PORTS: Map<0x3000> = Map::closed();
/// Domain-0's ports do not: what it drives is its own ([`ports`]).
static DOM0_PORTS: Map<0x3000> = dom0_ports();

const fn dom0_ports() -> Map<0x3000> {
    let mut map = Map::closed();
    let mut index = 0;
    while index < ports::DOM0.len() {
        let (first, count) = ports::DOM0[index];
        let mut port = first as usize;
        while port < first as usize + count as usize {
            map.open(port);
            port += 1;
        }
        index += 1;
    }
    map
}

/// Where the bits of an MSR are. The first is for reading MSR 0.
pub(crate) struct MsrLayout {
    /// From one MSR to the next.
    pub(crate) stride: usize,
    /// From reading to writing.
    pub(crate) write: usize,
    /// From the low MSRs to those from 0xC000_0000 on.
    pub(crate) high: usize,
}

/// A map in which the MSRs that the hardware switches do not exit ([`msr::DIRECT`]).
pub(crate) const fn msrs<const SIZE: usize>(layout: &MsrLayout) -> Map<SIZE> {
    const HIGH: u32 = 0xC000_0000;
    let mut map = Map::closed();
    let mut index = 0;
    while index < msr::DIRECT.len() {
        let number = msr::DIRECT[index];
        let read = if number >= HIGH {
            layout.high + (number - HIGH) as usize * layout.stride
        } else {
            number as usize * layout.stride
        };
        map.open(read);
        map.open(read + layout.write);
        index += 1;
    }
    map
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_open<const SIZE: usize>(map: &Map<SIZE>, bit: usize) -> bool {
        map.0[bit / 8] & 1 << (bit % 8) == 0
    }

    #[test]
    fn only_domain_0_reaches_its_ports() {
        for port in 0..0x1_0000 {
            let is_its = ports::DOM0.iter().any(|(first, count)| {
                (usize::from(*first)..usize::from(first + count)).contains(&port)
            });
            assert_eq!(is_open(&DOM0_PORTS, port), is_its, "{port:#x}");
            assert!(!is_open(&NO_PORTS, port));
        }
    }

    fn open_bits<const SIZE: usize>(map: &Map<SIZE>) -> usize {
        map.0.iter().map(|byte| byte.count_zeros() as usize).sum()
    }

    #[test]
    fn msrs_are_where_the_manuals_say() {
        let svm = &crate::svm::MSRS;
        let vmx = &crate::vmx::MSRS;
        for (number, in_svm, in_vmx) in [
            (0x174, 0x174 * 2, 0x174),
            (0xC000_0081, 0x800 * 8 + 0x81 * 2, 0x400 * 8 + 0x81),
            (0xC000_0102, 0x800 * 8 + 0x102 * 2, 0x400 * 8 + 0x102),
        ] {
            assert!(msr::DIRECT.contains(&number));
            assert!(is_open(svm, in_svm) && is_open(svm, in_svm + 1));
            assert!(is_open(vmx, in_vmx) && is_open(vmx, 0x800 * 8 + in_vmx));
        }
        assert_eq!(open_bits(svm), 2 * msr::DIRECT.len(), "no others");
        assert_eq!(open_bits(vmx), 2 * msr::DIRECT.len(), "no others");
    }
}
