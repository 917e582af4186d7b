//! What CPUs have cached of guests' translations, and whose they are.
//!
//! Each vCPU has a tag (ASID, VPID) of its own on the CPU it runs on; tags are handed out in order, and when they are
//! used up everything is dropped and they start anew.
//!
//! A change of stage 2 that takes rights away ([`invalidate_stage2`]) counts a generation up and makes every CPU that is in
//! a guest of that root leave it. A CPU drops what it has cached before it enters a guest in a newer generation. A walk of
//! stage-2 tables in software counts as a stay in the guest.

use core::sync::atomic::{AtomicU64, Ordering, fence};

use arch_common::cpus::CPUS_MAX;
use hv_common::arch::Mfn;

use super::{cpu, interrupts};
use crate::vendor::Flush;

/// In no guest.
const NOBODY: u64 = u64::MAX;

struct PerCpu {
    /// Root of the guest this CPU is in.
    inside: AtomicU64,
    /// Generation that this CPU has dropped everything for.
    seen: AtomicU64,
    /// The tag given out last, and how often they started anew, in the upper half. Only this CPU writes it.
    tags: AtomicU64,
}

static CPUS: [PerCpu; CPUS_MAX] = [const {
    PerCpu {
        inside: AtomicU64::new(NOBODY),
        seen: AtomicU64::new(0),
        tags: AtomicU64::new(1 << 32),
    }
}; CPUS_MAX];

static GENERATION: AtomicU64 = AtomicU64::new(0);
/// Tags there are; 0 is the hypervisor's.
static TAGS: AtomicU64 = AtomicU64::new(2);

/// A vCPU's tag.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tag {
    /// The CPU it is valid on.
    cpu: usize,
    round: u64,
    pub(crate) number: u32,
}

impl Tag {
    /// None yet.
    pub(crate) const NONE: Self = Self {
        cpu: usize::MAX,
        round: 0,
        number: 0,
    };
}

/// Sets how many tags CPUs have.
pub(crate) fn use_tags(count: u32) {
    TAGS.store(u64::from(count.max(2)), Ordering::Relaxed);
}

fn here() -> &'static PerCpu {
    &CPUS[cpu::this().number]
}

/// A tag for a vCPU on this CPU: the one it had, if that is still its own.
pub(crate) fn tag_for(before: Tag) -> Tag {
    let cpu = cpu::this().number;
    let per_cpu = here();
    let tags = per_cpu.tags.load(Ordering::Relaxed);
    let (round, last) = (tags >> 32, tags & 0xFFFF_FFFF);
    if before.cpu == cpu && before.round == round {
        return before;
    }
    let (round, number) = if last + 1 < TAGS.load(Ordering::Relaxed) {
        (round, last + 1)
    } else {
        // What was cached under old tags goes at the next entry.
        per_cpu.seen.store(u64::MAX, Ordering::Relaxed);
        (round + 1, 1)
    };
    per_cpu.tags.store(round << 32 | number, Ordering::Relaxed);
    Tag {
        cpu,
        round,
        number: number as u32,
    }
}

/// Counts changes of stage 2: what was looked up in an earlier generation may be wrong.
pub(crate) fn generation() -> u64 {
    GENERATION.load(Ordering::Relaxed)
}

/// This CPU enters a guest of that root. Returns what it has to drop first.
#[inline]
pub(crate) fn enter(root: Mfn) -> Flush {
    let per_cpu = here();
    per_cpu.inside.store(root.0, Ordering::Relaxed);
    fence(Ordering::SeqCst);
    let generation = GENERATION.load(Ordering::Relaxed);
    if per_cpu.seen.load(Ordering::Relaxed) == generation {
        return Flush::Nothing;
    }
    per_cpu.seen.store(generation, Ordering::Relaxed);
    Flush::All
}

/// This CPU walks stage-2 tables of that root in software.
#[inline]
pub(crate) fn hold(root: Mfn) {
    here().inside.store(root.0, Ordering::Relaxed);
    fence(Ordering::SeqCst);
}

/// It is out again.
#[inline]
pub(crate) fn leave() {
    here().inside.store(NOBODY, Ordering::Release);
}

/// Makes what was taken away from a stage 2 unreachable everywhere before it returns.
pub(crate) fn invalidate_stage2(root: Mfn) {
    let generation = GENERATION.fetch_add(1, Ordering::SeqCst) + 1;
    fence(Ordering::SeqCst);
    for other in cpu::others() {
        let Some(per_cpu) = CPUS.get(other.number) else {
            continue;
        };
        if per_cpu.inside.load(Ordering::SeqCst) != root.0 {
            continue;
        }
        interrupts::send(interrupts::KICK, other);
        while per_cpu.inside.load(Ordering::Acquire) == root.0
            && per_cpu.seen.load(Ordering::Acquire) < generation
        {
            cpu::give_way();
        }
    }
}
