//! x87, SSE, AVX and what else XSAVE keeps (Intel SDM volume 1, chapter 13). The compiler uses none of it here.
// UNSAFETY: registers that the compiler does not use, and areas that they are kept in.
#![expect(unsafe_code, reason = "XSAVE, XRSTOR and what enables them")]

use core::arch::asm;
use core::arch::x86_64::{__cpuid, __cpuid_count, CpuidResult};
use core::ops::Range;
use core::sync::atomic::{AtomicU64, Ordering};

const XSAVE_LEAF: u32 = 0xD;
/// Of leaf 1 ECX: XSAVE.
const HAS_XSAVE: u32 = 1 << 26;
/// OSFXSR, OSXMMEXCPT, OSXSAVE.
const CR4_BITS: u64 = 1 << 9 | 1 << 10 | 1 << 18;

const AREA: usize = 4096;
const XSTATE_BV: usize = 512;
const HEADER_END: usize = 576;
/// Word of FCW, FSW and the tags.
const X87_CONTROL: usize = 0;
/// Word of MXCSR.
const SSE_CONTROL: usize = 24;
/// FCW 0x37F, the stack empty.
const INITIAL_X87: u64 = 0x37F;
const INITIAL_MXCSR: u64 = 0x1F80;
/// ST0 to ST7: ten bytes each, 16 apart.
const ST: Range<usize> = 32..160;
const XMM: Range<usize> = 160..416;

/// The components that CPUID shows.
#[must_use]
pub fn shown() -> u64 {
    if __cpuid(1).ecx & HAS_XSAVE == 0 {
        return 0;
    }
    let CpuidResult { eax, edx, .. } = __cpuid_count(XSAVE_LEAF, 0);
    u64::from(edx) << 32 | u64::from(eax)
}

/// Lets this CPU use components that are there.
pub fn enable(components: u64) {
    let (low, high) = (components as u32, (components >> 32) as u32);
    // SAFETY: enables instructions that nobody else uses.
    unsafe {
        asm!(
            "mov {cr4}, cr4",
            "or {cr4}, {bits}",
            "mov cr4, {cr4}",
            "xsetbv",
            cr4 = out(reg) _,
            bits = in(reg) CR4_BITS,
            in("ecx") 0,
            in("eax") low,
            in("edx") high,
            options(nostack),
        );
    }
}

/// XCR0.
#[must_use]
pub fn enabled() -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: reads a register, once it is enabled.
    unsafe { asm!("xgetbv", in("ecx") 0, out("eax") low, out("edx") high, options(nostack)) };
    u64::from(high) << 32 | u64::from(low)
}

/// An XSAVE area in standard format.
#[repr(C, align(64))]
pub struct Area([AtomicU64; AREA / 8]);

impl Area {
    /// Nothing in it.
    #[expect(clippy::new_without_default, reason = "only made for statics")]
    #[must_use]
    pub const fn new() -> Self {
        Self([const { AtomicU64::new(0) }; AREA / 8])
    }

    fn word(&self, offset: usize) -> u64 {
        self.0[offset / 8].load(Ordering::Relaxed)
    }

    fn put(&self, offset: usize, value: u64) {
        self.0[offset / 8].store(value, Ordering::Relaxed);
    }

    /// Makes it what the registers are when a CPU starts.
    pub fn make_initial(&self) {
        self.0
            .iter()
            .for_each(|word| word.store(0, Ordering::Relaxed));
        self.put(X87_CONTROL, INITIAL_X87);
        self.put(SSE_CONTROL, INITIAL_MXCSR);
    }

    /// Fills everything that these components have with a pattern.
    pub fn fill(&self, components: u64, pattern: u64) {
        self.make_initial();
        for range in data(components) {
            for offset in range.step_by(8) {
                self.put(offset, mixed(pattern, offset as u64) & mask(offset));
            }
        }
        // No exceptions, precision and rounding by the pattern, TOP anywhere; all of ST in use.
        let (rounding, top) = (pattern & 3, pattern >> 2 & 7);
        self.put(
            X87_CONTROL,
            INITIAL_X87 | rounding << 10 | top << 27 | 0xFF << 32,
        );
        self.put(SSE_CONTROL, INITIAL_MXCSR | rounding << 13);
        self.put(XSTATE_BV, components);
    }

    /// Puts it into the registers.
    pub fn load(&self, components: u64) {
        let (low, high) = (components as u32, (components >> 32) as u32);
        // SAFETY: a valid area; nobody else uses the registers.
        unsafe {
            asm!("xrstor64 [{}]", in(reg) self.0.as_ptr(), in("eax") low, in("edx") high, options(nostack));
        }
    }

    /// Takes it out of the registers.
    pub fn save(&self, components: u64) {
        let (low, high) = (components as u32, (components >> 32) as u32);
        // SAFETY: atomics of an area that is large enough.
        unsafe {
            asm!("xsave64 [{}]", in(reg) self.0.as_ptr(), in("eax") low, in("edx") high, options(nostack));
        }
    }

    /// Where these components differ first, and what is in both.
    pub fn difference(&self, other: &Self, components: u64) -> Option<(usize, u64, u64)> {
        let control = [(X87_CONTROL, 0xFF_FFFF_FFFF), (SSE_CONTROL, 0xFFFF_FFFF)];
        let words = data(components).flat_map(|range| range.step_by(8));
        control
            .into_iter()
            .chain(words.map(|offset| (offset, mask(offset))))
            .map(|(offset, mask)| (offset, self.word(offset) & mask, other.word(offset) & mask))
            .find(|(_, one, two)| one != two)
    }
}

/// Where these components have their data.
fn data(components: u64) -> impl Iterator<Item = Range<usize>> {
    let further = (2..63).filter(move |component| components >> component & 1 != 0);
    let further = further.map(|component| {
        let CpuidResult { eax, ebx, .. } = __cpuid_count(XSAVE_LEAF, component);
        let range = ebx as usize..(ebx + eax) as usize;
        assert!(
            range.start >= HEADER_END && range.end <= AREA,
            "component {component} is at {range:?}"
        );
        range
    });
    [ST, XMM].into_iter().chain(further)
}

/// The bits of a word that are data: an ST register ends within its second one.
const fn mask(offset: usize) -> u64 {
    if offset < ST.end && offset % 16 == 8 {
        0xFFFF
    } else {
        u64::MAX
    }
}

/// A word of a pattern.
const fn mixed(pattern: u64, offset: u64) -> u64 {
    let value = (pattern.wrapping_add(offset)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    value ^ value >> 29
}
