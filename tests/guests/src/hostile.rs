//! What hostile guests share: numbers, a way to do things that fault, and addresses that may hurt.
//!
//! A guest that does what it should not gets faults. While [`tolerate`] is in force, a fault is counted and the
//! instruction that caused it skipped, so that the next attempt can be made.
// UNSAFETY: pages that others write.
#![expect(unsafe_code, reason = "pages that others write")]

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

pub use crate::arch::hostile::*;
use crate::arch::place;
use crate::{interrupts, timer};

/// Attempts that each hostile guest makes.
pub const ATTEMPTS: u32 = 100_000;

/// Counted by the vectors of an architecture.
#[unsafe(no_mangle)]
pub(crate) static hostile_faults: AtomicU32 = AtomicU32::new(0);
static GIVEN_UP: AtomicU32 = AtomicU32::new(0);

/// Faults so far.
#[must_use]
pub fn faults() -> u32 {
    hostile_faults.load(Ordering::SeqCst)
}

/// Calls that were given up so far.
#[must_use]
pub fn given_up() -> u32 {
    GIVEN_UP.load(Ordering::SeqCst)
}

/// A call was given up.
pub(crate) fn note_given_up() {
    GIVEN_UP.fetch_add(1, Ordering::SeqCst);
}

/// Makes a hypercall that may take for ever, and gives it up after a moment if it does.
pub fn hypercall_for_a_moment(number: u64, args: [u64; 5]) -> u64 {
    timer::set(timer::now() + timer::frequency() / 2000);
    interrupts::unmask();
    let result = hypercall(number, args);
    interrupts::mask();
    timer::stop();
    result
}

/// A sequence of numbers: SplitMix64.
pub struct Random(u64);

impl Random {
    /// The sequence of this guest: of the seed on its command line, or of the moment.
    #[must_use]
    pub fn of_this_guest() -> Self {
        let seed = crate::options::option("seed=").unwrap_or_else(timer::now);
        crate::log!("seed {seed:#x}");
        Self(seed)
    }

    /// The next number.
    #[inline]
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`.
    #[inline]
    pub fn below(&mut self, end: u64) -> u64 {
        self.number() % end
    }

    /// One of several.
    #[inline]
    pub fn choose<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }

    /// A value of any size, small ones as likely as large ones.
    #[inline]
    pub fn value(&mut self) -> u64 {
        let number = self.number();
        match number & 7 {
            0 => 0,
            1 => u64::MAX,
            2 => 1 << (number >> 3 & 63),
            _ => number >> (number >> 3 & 63),
        }
    }

    /// An address that may be anything: a buffer of ours, its very end, a shared page, a device, nothing at all.
    #[inline]
    pub fn address(&mut self) -> u64 {
        let place = BUFFER.0.as_ptr() as u64;
        match self.below(8) {
            0..=2 => place + self.below(BUFFER_SIZE),
            3 => place + BUFFER_SIZE - 1 - self.below(16),
            4 => place::RINGS_BASE + self.below(0x4000),
            5 => self.choose(&place::DEVICES) + self.below(0x1_0000),
            6 => 0xFFFF_8000_0000_0000 | self.number(),
            _ => spared(self.value()),
        }
    }
}

/// The address, if nothing of ours is there that a call must not write.
#[must_use]
pub fn spared(address: u64) -> u64 {
    let own = place::own();
    if (own.start.saturating_sub(BEHIND)..own.end).contains(&address) {
        return 0;
    }
    address
}

/// What arguments point at.
const BUFFER_SIZE: u64 = 8 * 1024;
/// What a call may write behind that: as many errors as a batch with a 16-bit length can have, or a structure that
/// begins at the very end.
const BEHIND: u64 = 512 << 10;
const WORDS: usize = ((BUFFER_SIZE + BEHIND) / 8) as usize;

#[repr(C, align(4096))]
struct Buffer([AtomicU64; WORDS]);

/// What arguments may point at; the hypervisor may write it at any time.
static BUFFER: Buffer = Buffer([const { AtomicU64::new(0) }; WORDS]);

/// The buffer's words.
#[must_use]
pub fn words() -> &'static [AtomicU64] {
    &BUFFER.0
}

/// Says at the end that we got there. The log takes a few lines at a time from a guest: who flooded it has to wait.
pub fn report(what: core::fmt::Arguments<'_>) {
    let until = timer::now() + timer::frequency() / 2;
    while timer::now() < until {}
    crate::console::log(format_args!("\n{what}"));
}

/// A page that is shared with Domain-0, as words.
#[must_use]
pub fn shared_page(address: u64) -> &'static [AtomicU32] {
    // SAFETY: callers name a ring's page, which is mapped for ever; both sides reach it by atomics only.
    unsafe { core::slice::from_raw_parts(address as *const AtomicU32, 1024) }
}
